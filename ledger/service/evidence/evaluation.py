"""Measure versions: run the images through the weights, hand the answers to the evaluators, keep the evidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.digest import json_digest
from ledger.domain.evidence import BASE, FILE, Evidence, Provenance, WeightsEvidence
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Model
from ledger.domain.versions import Version, not_known_before
from ledger.errors import ConflictError
from ledger.evaluator_input import NetworkRole
from ledger.service.computation.environment import computation_environment
from ledger.service.computation.measured_images import ImageBounds
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.few_images import measurement_note
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, counted
from ledger.service.versions.recording import append_evidence

from .evaluators import Offered, chosen_evaluators, needs_features
from .examination import Examination, NamedWeights
from .measuring import measure
from .retrained import DeclaredRetrained, own_version, read_retrained, read_weights, require_unknown

TRAIN_PER_CLASS = 200
"""Training images per class that are measured by default; test images are measured all."""


@dataclass(frozen=True)
class Evaluation:
    """The evidence on one version."""

    model: Model
    version: Version
    evidence: dict[str, Evidence]
    """What was measured, by evaluator."""
    not_known_before: frozenset[int] = frozenset()
    """Forgotten classes of which the model knew nothing before: that it does not recognise them says nothing."""
    compared: tuple[Evidence, ...] = ()
    """The same against what else somebody asked to compare with."""
    standing: WeightsEvidence = field(default_factory=lambda: WeightsEvidence(()))
    """All evidence on these weights, this measurement included."""
    measured_before: bool = False
    """Nothing was measured: what the version would be compared with is gone, and this is what was measured before."""


@dataclass(frozen=True)
class Counterpart:
    """What weights are compared with."""

    role: NetworkRole
    against: str
    """``base``, a version's number, or ``file``."""


def evaluate(
    ledger: Ledger,
    model_name: str,
    number: int | None,
    progress: Progress,
    *,
    only: Sequence[str] = (),
    level: EvidenceLevel | None = None,
    against: str = BASE,
    retrained: DeclaredRetrained | None = None,
    train_per_class: int | None = TRAIN_PER_CLASS,
    time_limit: float | None = None,
) -> Evaluation:
    """Measure a version and record the evidence.

    Args:
        ledger: The ledger.
        model_name: The model.
        number: The version; None for the live one.
        progress: Told about phases.
        only: Names of evaluators.
        level: Level of evidence to reach; without it and without names, what runs by default.
        against: What to compare with besides the original: ``base`` for nothing else, a version number, or the path of
            a safetensors file. That comparison is recorded beside the one with the original.
        retrained: Weights declared to be trained without the classes that the version has forgotten.
        train_per_class: Training images per class; None for all.
        time_limit: Most seconds that one evaluator may take; None takes what ``unledger.toml`` says, if anything.

    Raises:
        UsageError: An evaluator is unknown.
        RefusedError: The weights declared as retrained are the model's own, or know a forgotten class.
        ConflictError: The original was purged, this version is what is left of it, and nothing was measured before.
        PluginError: An evaluator failed, took too long, or returned something other than JSON values. Then nothing is
            recorded, of the other evaluators neither.
    """
    bench = open_workbench(ledger, model_name)
    evaluators = chosen_evaluators(ledger.plugins.evaluators(), only, level)
    with ledger.database.read() as tx:
        version = tx.versions.live(bench.model) if number is None else tx.versions.get(bench.model, number)
        tx.trusted.versions(bench.model.name, frozenset({version.number}))
        tx.trusted.evidence(bench.model.name)
        unknown = not_known_before(tx.versions.all(bench.model), version.forgotten, len(bench.model.labels))
    original_gone = not bench.starts_from_registered and version.weights == bench.anchor.weights
    if original_gone and against == BASE and retrained is None:
        return _measured_before(bench, version, unknown)
    weights = {NetworkRole.VERSION: NamedWeights(version.weights, bench.weights(version))}
    counterparts = []
    if not original_gone:
        weights[NetworkRole.ORIGINAL] = original_weights(bench)
        counterparts.append(original_counterpart(bench))
    if retrained is not None:
        weights[NetworkRole.RETRAINED] = read_retrained(bench, retrained)
        if original_gone:
            counterparts.append(Counterpart(NetworkRole.RETRAINED, FILE))
    if against != BASE:
        weights[NetworkRole.COMPARED] = _compared(bench, against)
        counterparts.append(Counterpart(NetworkRole.COMPARED, against if against.isdecimal() else FILE))
    examination = Examination(bench, weights, ImageBounds(train_per_class), progress)
    measured = [
        tuple(
            measurements(
                examination, version.forgotten, evaluators, counterpart, progress, retrained=retrained, limit=time_limit
            )
        )
        for counterpart in counterparts
    ]
    found = [one for each in measured for one in each]
    with ledger.database.write() as tx:
        for evidence in found:
            append_evidence(tx, bench.model, version, evidence, actor=ledger.actor)
    with ledger.database.read() as tx:
        standing = tx.versions.weights_evidence(version)
    first = {one.evaluator: one for one in measured[0]}
    return Evaluation(bench.model, version, first, unknown, tuple(found[len(measured[0]) :]), standing)


def original_weights(bench: Workbench) -> NamedWeights:
    """Return what versions are compared with: the registered weights, or what a purge left to start from."""
    return NamedWeights(bench.anchor.weights, bench.anchor_state)


def original_counterpart(bench: Workbench) -> Counterpart:
    """Return how the comparison with :func:`original_weights` is called."""
    return Counterpart(NetworkRole.ORIGINAL, BASE if bench.starts_from_registered else str(bench.anchor.number))


def measurements(
    examination: Examination,
    forgotten: frozenset[int],
    evaluators: Offered,
    counterpart: Counterpart,
    progress: Progress,
    *,
    retrained: DeclaredRetrained | None = None,
    limit: float | None = None,
) -> Iterator[Evidence]:
    """Ask evaluators about weights under examination; nothing is recorded.

    Args:
        examination: The weights and images.
        forgotten: The classes that the weights should have forgotten.
        evaluators: By name.
        counterpart: What to compare with.
        progress: Told about phases.
        retrained: The declaration, where one of the examined networks is a retrained one.
        limit: Most seconds that one evaluator may take; None takes what ``unledger.toml`` says, if anything.

    Raises:
        RefusedError: The weights declared as retrained know a forgotten class.
        PluginError: An evaluator failed, took too long, or returned something other than JSON values.
    """
    bench, networks = examination.bench, examination.networks
    if note := measurement_note(bench.model.labels, bench.source.test.labels, forgotten):
        bench.ledger.tell(f"note: {note}")
    if retrained is not None:
        require_unknown(bench, networks[NetworkRole.RETRAINED].test, forgotten, retrained)
    seconds = bench.ledger.config.plugins.evaluator_seconds if limit is None else limit
    data = examination.input(forgotten, counterpart.role)
    if seconds is not None and any(needs_features(one) for one, _ in evaluators.values()):
        examination.read_features()
    provenance = Provenance(
        weights=networks[NetworkRole.VERSION].digest,
        against=counterpart.against,
        compared=networks[counterpart.role].digest,
        retrained=None if retrained is None else networks[NetworkRole.RETRAINED].digest,
        declared_by=None if retrained is None else retrained.declared_by,
        seed=bench.model.settings.seed,
        environment=computation_environment(bench.device, bench.ledger.engine),
    )
    inputs = json_digest(_inputs(examination, provenance))
    progress.phase("evaluators", len(evaluators))
    now = bench.ledger.clock()
    for name, (evaluator, info) in counted(progress, sorted(evaluators.items())):
        yield Evidence(
            evaluator=name,
            plugin=info.name,
            plugin_version=info.version,
            metrics=measure(evaluator, info, data, name=name, seconds=seconds),
            samples=examination.counts,
            inputs_digest=inputs,
            created_at=now,
            provenance=provenance,
        )


def _inputs(examination: Examination, provenance: Provenance) -> dict[str, object]:
    bench = examination.bench
    inputs: dict[str, object] = {
        "version": provenance.weights,
        "against": provenance.compared,
        "data": bench.model.data_digest,
        "samples": examination.counts,
    }
    if provenance.compared != bench.anchor.weights:
        inputs["anchor"] = bench.anchor.weights
    if provenance.retrained is not None:
        inputs["retrained"] = provenance.retrained
    return inputs


def _measured_before(bench: Workbench, version: Version, unknown: frozenset[int]) -> Evaluation:
    """Return what was measured before a purge took away what the version would be compared with."""
    with bench.ledger.database.read() as tx:
        standing = tx.versions.weights_evidence(version)
    if not standing.standing:
        raise ConflictError(
            f"nothing is left to compare version {version.number} of {bench.model.name} with: the weights that it was "
            "made from were purged, and nothing was measured before",
            f"compare with other weights: unledger evaluate {bench.model.name}:{version.number} --against FILE, or "
            "--retrained FILE",
        )
    return Evaluation(
        bench.model, version, standing.standing, unknown, standing.compared, standing, measured_before=True
    )


def _compared(bench: Workbench, against: str) -> NamedWeights:
    if not against.isdecimal():
        found = read_weights(bench, Path(against))
        own = own_version(bench, found)
        # Under the version's digest everybody can see that this is no foreign network.
        return found if own is None else NamedWeights(own.weights, found.state)
    with bench.ledger.database.read() as tx:
        version = tx.versions.get(bench.model, int(against))
        tx.trusted.versions(bench.model.name, frozenset({version.number}))
    return NamedWeights(version.weights, bench.weights(version))
