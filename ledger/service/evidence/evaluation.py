"""Measure versions: run the images through the weights, hand the answers to the evaluators, keep the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ledger.digest import json_digest, sha256_hex
from ledger.domain.evidence import Evidence
from ledger.domain.models import Model
from ledger.domain.versions import Version, not_known_before
from ledger.errors import UsageError
from ledger.hookspecs import EvaluationInput, Evaluator, Outputs, Split
from ledger.images.sampling import evaluation_samples
from ledger.networks.inference import logits
from ledger.plugin_manager import PluginInfo
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.few_images import measurement_note
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, counted
from ledger.service.versions.recording import append_evidence
from ledger.weights import tensor_files

from .measuring import measure, read_only_outputs

TRAIN_PER_CLASS = 200
"""Training images per class that are measured by default; test images are measured all."""


@dataclass(frozen=True)
class Evaluation:
    """The evidence on one version."""

    model: Model
    version: Version
    evidence: dict[str, Evidence]
    not_known_before: frozenset[int] = frozenset()
    """Forgotten classes of which the model knew nothing before: that it does not recognise them says nothing."""


def evaluate(
    ledger: Ledger,
    model_name: str,
    number: int | None,
    progress: Progress,
    *,
    only: Sequence[str] = (),
    against: str = "base",
    train_per_class: int | None = TRAIN_PER_CLASS,
    time_limit: float | None = None,
) -> Evaluation:
    """Measure a version and record the evidence.

    Args:
        ledger: The ledger.
        model_name: The model.
        number: The version; None for the live one.
        progress: Told about phases.
        only: Names of evaluators; empty runs all.
        against: What to compare with: ``base`` (the version that computations start from), a version number, or the
            path of a safetensors file, for example of a model retrained without the forgotten classes.
        train_per_class: Training images per class; None for all.
        time_limit: Most seconds that one evaluator may take; None takes what ``unledger.toml`` says, if anything.

    Raises:
        UsageError: An evaluator is unknown.
        PluginError: An evaluator failed, took too long, or returned something other than JSON values. Then nothing is
            recorded, of the other evaluators neither.
    """
    bench = open_workbench(ledger, model_name)
    evaluators = _chosen(ledger.plugins.evaluators(), only)
    with ledger.database.read() as tx:
        version = tx.versions.live(bench.model) if number is None else tx.versions.get(bench.model, number)
        tx.trusted.versions(bench.model.name, frozenset({version.number}))
        unknown = not_known_before(tx.versions.all(bench.model), version.forgotten, len(bench.model.labels))
    compared, state = _compared(bench, against)
    data, samples = answers(
        bench, bench.weights(version), state, version.forgotten, progress, train_per_class=train_per_class
    )
    inputs = {"version": version.weights, "against": compared, "data": bench.model.data_digest, "samples": samples}
    if data.anchor_test is not None:
        inputs["anchor"] = bench.anchor.weights
    inputs_digest = json_digest(inputs)
    progress.phase("evaluators", len(evaluators))
    seconds = ledger.config.plugins.evaluator_seconds if time_limit is None else time_limit
    now = ledger.clock()
    measured = {
        name: Evidence(
            evaluator=name,
            plugin=info.name,
            plugin_version=info.version,
            metrics=measure(evaluator, info, data, name=name, seconds=seconds),
            samples=samples,
            inputs_digest=inputs_digest,
            created_at=now,
        )
        for name, (evaluator, info) in counted(progress, sorted(evaluators.items()))
    }
    _record(ledger, bench, version, measured, against)
    return Evaluation(bench.model, version, measured, unknown)


def _chosen(
    known: Mapping[str, tuple[Evaluator, PluginInfo]], only: Sequence[str]
) -> dict[str, tuple[Evaluator, PluginInfo]]:
    unknown = sorted(set(only) - known.keys())
    if unknown:
        raise UsageError(f"no evaluator is called {', '.join(unknown)}", f"evaluators: {', '.join(sorted(known))}")
    return {name: pair for name, pair in known.items() if not only or name in only}


def _compared(bench: Workbench, against: str) -> tuple[str, dict[str, Tensor]]:
    """Return the digest and the weights to compare with."""
    if against.isdecimal() or against == "base":
        with bench.ledger.database.read() as tx:
            version = bench.anchor if against == "base" else tx.versions.get(bench.model, int(against))
            tx.trusted.versions(bench.model.name, frozenset({version.number}))
        return version.weights, bench.weights(version)
    data = tensor_files.read_file(Path(against))
    state = tensor_files.parse(data, against)
    bench.network.require_fit(state, against)
    return sha256_hex(data), state


def answers(
    bench: Workbench,
    state: Mapping[str, Tensor],
    compared: Mapping[str, Tensor],
    forgotten: frozenset[int],
    progress: Progress,
    *,
    train_per_class: int | None = TRAIN_PER_CLASS,
) -> tuple[EvaluationInput, dict[str, int]]:
    """Run training and test images through two sets of weights; return what evaluators get, and image counts.

    Where the anchor weights are neither of the compared ones, the images pass through them too: losses are measured
    against them, with the forgotten classes masked.
    """
    source, seed = bench.source, bench.model.settings.seed
    if note := measurement_note(bench.model.labels, source.test.labels, forgotten):
        bench.ledger.tell(f"note: {note}")
    chosen = {
        "train": (source.train, evaluation_samples(source.train.labels, train_per_class, seed)),
        "test": (source.test, evaluation_samples(source.test.labels, None, seed)),
    }
    states = {"": state, "base_": compared}
    if not _same(compared, bench.anchor_state):
        states["anchor_"] = bench.anchor_state
    size = bench.model.settings.batch_size
    progress.phase("forward passes", sum(-(-len(indices) // size) for _, indices in chosen.values()))
    outputs = {}
    for name, (split, indices) in chosen.items():
        # All weights see a batch while it is at hand: decoding images costs more than the network often does.
        parts_of: dict[str, list[Tensor]] = {prefix: [] for prefix in states}
        for batch in counted(progress, bench.batches(split, indices)):
            for prefix, weights in states.items():
                parts_of[prefix].append(logits(bench.network, weights, [batch]))
        for prefix, parts in parts_of.items():
            outputs[prefix + name] = _outputs(split, indices, torch.cat(parts))
    counts = {f"{name} images": len(indices) for name, (_, indices) in chosen.items()}
    data = EvaluationInput(
        bench.model.labels.labels,
        forgotten,
        train=outputs["train"],
        test=outputs["test"],
        base_train=outputs["base_train"],
        base_test=outputs["base_test"],
        seed=seed,
        anchor_train=outputs.get("anchor_train"),
        anchor_test=outputs.get("anchor_test"),
    )
    return data, counts


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first is second or (first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first))


def _outputs(split: Split, indices: Sequence[int], answers: Tensor) -> Outputs:
    return read_only_outputs(np.asarray(split.labels, dtype=np.int64)[list(indices)], answers)


def _record(ledger: Ledger, bench: Workbench, version: Version, measured: Mapping[str, Evidence], against: str) -> None:
    if against == "base" and bench.anchor.number:
        # After a purge, what computations start from is no longer the registered weights.
        against = str(bench.anchor.number)
    compared = against if against.isdecimal() or against == "base" else "file"
    with ledger.database.write() as tx:
        for evidence in measured.values():
            append_evidence(tx, bench.model, version, evidence, actor=ledger.actor, against=compared)
