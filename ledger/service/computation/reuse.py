"""A set of classes that was computed before is not computed again.

The result is a function of the set, but its last bits also depend on what cannot all be pinned: the processor, and the
versions of libraries. So where an earlier version of the model still has the weights for the set, they are the result:
with their recipe, so that bytes and recipe belong together.
"""

from collections.abc import Iterator

from ledger.domain.missed_gates import MissedGate
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version
from ledger.errors import ObjectError
from ledger.plugin_manager import PluginInfo
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal
from ledger.weights import tensor_files

from .unlearning import missed_by_figures
from .workbench import Workbench, registered_code

WITHOUT_EFFECT = frozenset({"unledger_evaluators", "unledger_executor"})
"""Hooks that no weights depend on."""


def earlier_result(workbench: Workbench, forgotten: frozenset[int], progress: Progress) -> Proposal | None:
    """Return what an earlier version was made of, if it has forgotten just this set; None if it has to be computed.

    The version must have been computed from the same weights, images, settings, solvers, plugins and code; it must be
    neither purged nor quarantined, and its stored weights must verify. Of several the oldest counts.

    Raises:
        AuditError: The audit log does not verify.
        RowError: A row of the model is not as the audit log says.
    """
    for version in _candidates(workbench, forgotten):
        missed = _missed_gates(workbench, version.recipe, forgotten)
        if missed is None:
            continue
        try:
            data = workbench.ledger.objects.get(version.weights)
        except ObjectError:
            continue
        tensor_files.parse(data, f"version {version.number} of {workbench.model.name}")
        with workbench.ledger.database.read() as tx:
            terms = tuple(tx.versions.basis(version))
        progress.phase(f"reuse version {version.number}", 1)
        progress.step()
        return Proposal(
            forgotten=forgotten,
            weights=version.weights,
            size=len(data),
            recipe=version.recipe,
            terms=terms,
            missed_gates=missed,
            anchor=workbench.anchor.number,
        )
    return None


def _candidates(workbench: Workbench, forgotten: frozenset[int]) -> Iterator[Version]:
    """Yield the versions that were computed for the set from what would be used now, oldest first."""
    model, anchor = workbench.model, workbench.anchor
    with workbench.ledger.database.read() as tx:
        tx.trusted.forgetting(model.name, forgotten)
        versions = [
            version
            for version in tx.versions.all(model)
            if version.number > anchor.number
            and version.number >= model.data.reusable_from
            and version.forgotten == forgotten
            and version.recipe.computed
            and version.quarantined is None
            and version.purged_at is None
        ]
        if not versions:
            return
        tx.trusted.versions(model.name, frozenset({0, *(version.number for version in versions)}))
        registered = registered_code(tx, model)
    for version in versions:
        recipe = version.recipe
        if (
            recipe.base == anchor.weights
            and recipe.data in (model.data_digest, *model.data.earlier)
            and (recipe.named_solvers or model.settings.solvers) == workbench.settings.solvers
            and recipe.solver in workbench.settings.solvers
            and same_plugins(recipe, workbench.ledger.plugins.infos)
            # Last, since it builds the network.
            and registered in (None, workbench.network.code_digest)
        ):
            yield version


def same_plugins(recipe: VersionRecipe, infos: tuple[PluginInfo, ...]) -> bool:
    """Whether a recipe names just the plugins of now, in their versions.

    Those that only evaluate, or run units, do not matter.
    """
    loaded = [info for info in infos if info.error is None]
    others = {info.name for info in loaded if info.hooks and WITHOUT_EFFECT.issuperset(info.hooks)}
    now = {info.name: info.version for info in loaded if info.name not in others}
    return {name: version for name, version in recipe.plugins.items() if name not in others} == now


def _missed_gates(
    workbench: Workbench, recipe: VersionRecipe, forgotten: frozenset[int]
) -> tuple[MissedGate, ...] | None:
    """Return which gates a recipe's figures miss; None if it does not hold all of them.

    Recipes of earlier releases do not say what the masked original answers, so nobody can tell what their weights lose
    against it, and they are computed again.
    """
    each = {k: scores.accuracy for k, scores in recipe.forgotten.items()}
    before, after = recipe.mask_retained.accuracy, recipe.retained.accuracy
    accuracies = {k: accuracy for k, accuracy in each.items() if accuracy is not None}
    counts = recipe.base_forgotten
    if not accuracies.keys() <= counts.keys():
        return None
    wanted = forgotten - workbench.anchor.forgotten
    # Of a class whose images are gone, only what was computed before has figures.
    if not wanted - workbench.gone <= accuracies.keys() <= wanted or before is None or after is None:
        return None
    return tuple(missed_by_figures(workbench, accuracies, counts, before - after))
