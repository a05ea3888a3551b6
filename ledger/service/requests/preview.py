"""What forgetting some classes would cost, measured before anybody files a request. Nothing is written."""

from dataclasses import dataclass
from typing import Any

from ledger.domain.chance import was_known
from ledger.domain.models import Model
from ledger.evaluator_input import NetworkRole
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.unlearning import missed_gates, search
from ledger.service.computation.workbench import open_workbench
from ledger.service.evidence.evaluation import measurements, original_counterpart, original_weights
from ledger.service.evidence.evaluators import chosen_evaluators
from ledger.service.evidence.examination import Examination, ImageBounds, NamedWeights
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress

from .filing import check_retained


@dataclass(frozen=True)
class Preview:
    """The model as it would be with some more classes forgotten."""

    model: Model
    forgotten: frozenset[int]
    """Everything that would be forgotten, earlier requests included."""
    solver: str
    depth: int
    """Number of layers edited, counted from the output."""
    alpha_r: float
    alpha_f: float
    accuracy: dict[str, Any]
    """Metrics of the ``accuracy`` evaluator, against the anchor weights."""
    confusion: dict[str, Any]
    """Metrics of the ``confusion`` evaluator."""
    missed_gates: tuple[str, ...]
    not_known_before: frozenset[int]
    """Classes that the anchor weights recognise no better than chance: nothing can be forgotten of them."""


def preview(ledger: Ledger, model_name: str, texts: tuple[str, ...], progress: Progress) -> Preview:
    """Compute what a request for some classes would do now, on test images.

    Args:
        ledger: The ledger; left as it is.
        model_name: The model.
        texts: Classes, by label or index.
        progress: Told about phases.

    Raises:
        UnknownClassError: A class is not the model's.
        TooFewRetainedError: Too few classes would be left.
    """
    bench = open_workbench(ledger, model_name)
    with ledger.database.read() as tx:
        live = tx.versions.live(bench.model)
    forgotten = live.forgotten | bench.model.labels.resolve_all(texts)
    check_retained(bench.model, forgotten)
    result = search(bench, ClassSpaceCache(bench).collect_only(forgotten, progress), forgotten, progress)
    recipe = result.candidate.recipe
    weights = {
        NetworkRole.VERSION: NamedWeights("candidate", result.candidate.state),
        NetworkRole.ORIGINAL: original_weights(bench),
    }
    examination = Examination(bench, weights, ImageBounds(train=1), progress)
    measured = measurements(
        examination,
        forgotten,
        chosen_evaluators(ledger.plugins.evaluators(), ("accuracy", "confusion")),
        original_counterpart(bench),
        progress,
    )
    figures = {one.evaluator: one.metrics for one in measured}
    return Preview(
        model=bench.model,
        forgotten=forgotten,
        solver=recipe.solver,
        depth=recipe.depth,
        alpha_r=recipe.strength.alpha_r,
        alpha_f=recipe.strength.alpha_f,
        accuracy=figures["accuracy"],
        confusion=figures["confusion"],
        missed_gates=tuple(missed.told for missed in missed_gates(bench, result)),
        not_known_before=frozenset(
            k
            for k, count in result.anchor_forgotten.items()
            if not was_known(count.correct, count.images, len(bench.model.labels))
        ),
    )
