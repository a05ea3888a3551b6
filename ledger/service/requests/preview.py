"""What forgetting some classes would cost, measured before anybody files a request. Nothing is written."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ledger.digest import sha256_hex
from ledger.domain.chance import was_known
from ledger.domain.models import Model
from ledger.domain.previews import MOST_RETAINED, PreviewedClass, PreviewRecord, most_affected, together
from ledger.evaluator_input import NetworkRole, Outputs
from ledger.service.computation.measured_images import ImageBounds
from ledger.service.computation.unlearning import missed_gates, search_stored
from ledger.service.computation.workbench import open_workbench
from ledger.service.evidence.evaluation import measurements, original_counterpart, original_weights
from ledger.service.evidence.evaluators import chosen_evaluators
from ledger.service.evidence.examination import Examination, NamedWeights
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.weights import tensor_files

from .foretelling import digest_of
from .retention import check_retained


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
    record: PreviewRecord
    """The counts behind it, which a request can be bound to."""
    digest: str
    """Names the preview: of its record."""
    classes: tuple[PreviewedClass, ...]
    """Every class: the forgotten ones, then the retained ones, those that lose most first."""
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
    result, _ = search_stored(bench, forgotten, progress, store=False)
    recipe = result.candidate.recipe
    data = tensor_files.serialise(result.candidate.state)
    weights = {
        NetworkRole.VERSION: NamedWeights(sha256_hex(data), result.candidate.state),
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
    classes = most_affected(_counts(examination, forgotten), forgotten)
    record = PreviewRecord(
        model=bench.model.name,
        forgotten=tuple(sorted(forgotten)),
        data=bench.model.data_digest,
        anchor=bench.anchor.weights,
        weights=examination.networks[NetworkRole.VERSION].digest,
        solver=recipe.solver,
        depth=recipe.depth,
        classes=tuple(classes[: len(forgotten) + MOST_RETAINED]),
        retained=together([one for one in classes if one.class_index not in forgotten]),
    )
    return Preview(
        model=bench.model,
        forgotten=forgotten,
        solver=recipe.solver,
        depth=recipe.depth,
        alpha_r=recipe.strength.alpha_r,
        alpha_f=recipe.strength.alpha_f,
        record=record,
        digest=digest_of(record),
        classes=tuple(classes),
        accuracy=figures["accuracy"],
        confusion=figures["confusion"],
        missed_gates=tuple(missed.told for missed in missed_gates(bench, result)),
        not_known_before=frozenset(
            k
            for k, count in result.anchor_forgotten.items()
            if not was_known(count.correct, count.images, len(bench.model.labels))
        ),
    )


def _counts(examination: Examination, forgotten: frozenset[int]) -> list[PreviewedClass]:
    """Count on the test images what each class loses, image by image."""
    original, after = (examination.networks[role].test for role in (NetworkRole.ORIGINAL, NetworkRole.VERSION))
    recognised = [
        original.probabilities.argmax(axis=1) == original.labels,
        _masked_answers(original, forgotten) == original.labels,
        after.probabilities.argmax(axis=1) == after.labels,
    ]
    columns = [np.ones_like(recognised[0]), *recognised, recognised[1] & recognised[2]]
    classes = original.probabilities.shape[1]
    counts = [np.bincount(original.labels[column], minlength=classes).tolist() for column in columns]
    return [PreviewedClass(k, *(count[k] for count in counts)) for k in range(classes)]


def _masked_answers(outputs: Outputs, forgotten: frozenset[int]) -> "np.ndarray[Any, Any]":
    """Return what a network answers that may not answer some classes, int64 (n,)."""
    probabilities = outputs.probabilities.copy()
    probabilities[:, sorted(forgotten)] = -1.0
    return np.asarray(probabilities.argmax(axis=1))
