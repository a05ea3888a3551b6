"""Measure computed weights before they become a version, and hold the figures against the model's gates.

Nothing is recorded here: what was measured travels with the proposal and is committed with the version, or not at all.
Importing this module does not import torch.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.gate_policy import GatePolicy
from ledger.domain.missed_gates import missed_conditions
from ledger.service.computation.compute import Compute, unlearning_on
from ledger.service.gates import gates_digest, gates_of, sections_of_no_model
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal

if TYPE_CHECKING:
    from ledger.plugin_manager import PluginInfo
    from ledger.service.computation.workbench import Workbench

    from .evaluators import Offered
    from .examination import Examination
    from .retrained import DeclaredRetrained


def open_gated(ledger: Ledger, model_name: str) -> Compute:
    """Open a model for computing weights, measuring them, and judging them by the model's gates.

    The workbench is shared, so that images and network are read once for both.

    Raises:
        NotFoundError: There is no such model.
    """
    # Imported here: importing torch takes seconds, and a worker without work does not need it.
    from ledger.service.computation.workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    for name in sections_of_no_model(ledger):
        ledger.tell(f"note: no model is called {name!r}, so that what [gates.models] says of it holds for none")
    compute = unlearning_on(workbench)

    def gated(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
        # Before anything is computed: an evaluator or a class that is not there would be missed at the end.
        evaluators = _evaluators(workbench)
        _declared(workbench, gates_of(workbench.ledger, workbench.model).policy, forgotten)
        return judged(workbench, compute(forgotten, progress, solvers), evaluators, progress)

    return gated


def judged(workbench: "Workbench", proposal: Proposal, evaluators: "Offered", progress: Progress) -> Proposal:
    """Return a proposal with what was measured of it, and with the conditions that it misses.

    Where nothing is to be forgotten that computations do not start from, nothing is measured: the weights would be
    compared with themselves.

    Raises:
        RefusedError: The weights declared as retrained know a forgotten class.
        PluginError: An evaluator failed, took too long, or returned something other than JSON values.
    """
    gates = gates_of(workbench.ledger, workbench.model)
    proposal = replace(proposal, gates=gates_digest(gates))
    if proposal.forgotten == workbench.anchor.forgotten:
        return proposal
    known = _known(workbench, proposal)
    fresh = _measured(workbench, proposal, gates.policy, evaluators, known, progress)
    evidence = WeightsEvidence((*known, *fresh), workbench.anchor.number)
    missed = missed_conditions(gates.policy, evidence, workbench.model.labels.labels)
    return replace(proposal, measured=fresh, evidence=evidence, missed_gates=(*proposal.missed_gates, *missed))


def _evaluators(workbench: "Workbench") -> "Offered":
    from .evaluators import chosen_evaluators

    names = sorted(gates_of(workbench.ledger, workbench.model).policy.evaluators)
    # Not what else runs by default: a plugin's evaluator should not decide whether a request can be carried out. At
    # level 0 without conditions, nothing is asked for.
    return chosen_evaluators(workbench.ledger.plugins.evaluators(), names) if names else {}


def _known(workbench: "Workbench", proposal: Proposal) -> tuple[Evidence, ...]:
    """Return the evidence that versions with the same weights and forgotten classes have."""
    model = workbench.model
    with workbench.ledger.database.read() as tx:
        same = [
            version
            for version in tx.versions.all(model)
            if version.weights == proposal.weights and version.forgotten == proposal.forgotten
        ]
        if not same:
            return ()
        tx.trusted.evidence(model.name)
        return tx.versions.weights_evidence(same[-1]).measured


def _measured(
    workbench: "Workbench",
    proposal: Proposal,
    policy: GatePolicy,
    evaluators: "Offered",
    known: tuple[Evidence, ...],
    progress: Progress,
) -> tuple[Evidence, ...]:
    """Ask those evaluators that have not said yet what they are asked now."""
    from ledger.evaluator_input import NetworkRole
    from ledger.service.computation.measured_images import ImageBounds
    from ledger.weights import tensor_files

    from .evaluation import measurements, original_counterpart, original_weights
    from .examination import Examination, NamedWeights
    from .retrained import read_retrained

    state = tensor_files.parse(workbench.ledger.objects.get(proposal.weights), "the new weights")
    weights = {
        NetworkRole.VERSION: NamedWeights(proposal.weights, state),
        NetworkRole.ORIGINAL: original_weights(workbench),
    }
    declared = _declared(workbench, policy, proposal.forgotten)
    if declared is not None:
        weights[NetworkRole.RETRAINED] = read_retrained(workbench, declared)
    bounds = ImageBounds.of_gates(policy, proposal.forgotten)
    examination = Examination(workbench, weights, bounds, progress, keep=True)
    # Gates look at what stands, the newest. Where somebody measured fewer images since, it is measured anew.
    standing = WeightsEvidence(known, workbench.anchor.number).standing
    needed = {
        name: pair
        for name, pair in evaluators.items()
        if name not in standing or not _says_enough(standing[name], examination, pair[1])
    }
    if not needed:
        return ()
    counterpart = original_counterpart(workbench)
    return tuple(measurements(examination, proposal.forgotten, needed, counterpart, progress, retrained=declared))


def _says_enough(one: Evidence, examination: "Examination", plugin: "PluginInfo") -> bool:
    """Whether evidence tells of the same comparison, on at least as many images."""
    from ledger.evaluator_input import NetworkRole

    networks, source = examination.networks, one.provenance
    retrained = networks.get(NetworkRole.RETRAINED)
    return (
        (one.plugin, one.plugin_version) == (plugin.name, plugin.version)
        and source.weights == networks[NetworkRole.VERSION].digest
        and source.compared == networks[NetworkRole.ORIGINAL].digest
        and source.retrained == (None if retrained is None else retrained.digest)
        and all(one.samples.get(name, 0) >= count for name, count in examination.counts.items())
    )


def _declared(workbench: "Workbench", policy: GatePolicy, forgotten: frozenset[int]) -> "DeclaredRetrained | None":
    """Return the weights that the policy declares to be trained without just these classes, if it does.

    Raises:
        UnknownClassError: It names a class that the model has not.
    """
    from .retrained import DeclaredRetrained

    labels = workbench.model.labels
    # All of them, so that a misspelt class is told of whichever request comes first.
    without = [(labels.resolve_all(sorted(one.without)), one) for one in policy.retrained]
    for classes, reference in without:
        if classes == forgotten:
            return DeclaredRetrained(workbench.ledger.config.root / reference.weights, reference.by)
    return None
