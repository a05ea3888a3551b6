"""From a model and a set of classes to new weights: the whole computation, and nothing of it in SQL.

The result is a function of the registered weights, the settings and the set, never of the requests
that led to it; so requests compose in any order, and withdrawing one gives back the same bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ledger.candidates.calibration import Batch, Calibration
from ledger.candidates.candidate import CandidateBuilder
from ledger.candidates.predictor import CandidatePredictor
from ledger.candidates.search import RecipeSearch
from ledger.candidates.search_result import SearchResult
from ledger.domain.class_spaces import BasisTerm, ClassSpace, Role
from ledger.errors import PurgedError
from ledger.images.loading import load_images
from ledger.service.objects import store_object
from ledger.service.progress import Progress, counted
from ledger.service.versions.proposal import Proposal
from ledger.spaces.bases import Basis
from ledger.weights import tensor_files

from .workbench import CollectedSpace, Workbench, environment

FORGOTTEN_IMAGES = 300
"""Images that forgetting is judged on, all forgotten classes together; more if each would get fewer than below."""
FORGOTTEN_IMAGES_EACH = 50
MOST_FORGOTTEN_IMAGES = 600
"""No more than this for their sake, unless each would get fewer than below."""
FEWEST_FORGOTTEN_IMAGES_EACH = 10
RETAINED_IMAGES = 256
"""Images that retention is judged on, all classes together; more if each would get fewer than below."""
RETAINED_IMAGES_EACH = 10
MOST_RETAINED_IMAGES = 1000
"""No more than this for their sake, but one of every class: a thousand classes say enough with one each."""
CALIBRATION_BATCH = 32
"""Small, since most candidates are given up after a batch or two."""


def propose(workbench: Workbench, forgotten: frozenset[int], progress: Progress) -> Proposal:
    """Compute and store the weights that have forgotten a set of classes.

    For what the base version has forgotten these are the base weights themselves: the registered ones, until a purge.

    Raises:
        PurgedError: The set leaves out a class that can never come back.
        DataError: The images changed, or one cannot be read.
        NonFiniteError: NaN or infinity in activations, outputs or edited weights.
    """
    base = workbench.base
    if not base.forgotten <= forgotten:
        lost = ", ".join(workbench.model.labels.names(base.forgotten - forgotten))
        raise PurgedError(f"{lost} cannot come back: what it takes was purged", "train the model on it again")
    if forgotten == base.forgotten:
        blob = workbench.ledger.blobs.get(base.weights)
        recipe = {"environment": environment(workbench.device)}
        return Proposal(forgotten, base.weights, len(blob), recipe, (), (), base.number)
    seen: list[ClassSpace] = []
    spaces = noted(workbench.class_spaces(forgotten, progress), seen)
    result = search(workbench, spaces, forgotten, progress)
    progress.phase("write", 1)
    data = tensor_files.serialise(result.candidate.state)
    digest = store_object(workbench.ledger, data)
    progress.step()
    terms = [
        BasisTerm(Role.FORGET if space.class_index in forgotten else Role.RETAIN, space.class_index, space.id)
        for space in seen
    ]
    return Proposal(
        forgotten=forgotten,
        weights=digest,
        size=len(data),
        recipe=_recipe(workbench, result, seen),
        terms=tuple(terms),
        missed_gates=tuple(missed_gates(workbench, result)),
        anchor=base.number,
    )


def noted(collected: Iterable[CollectedSpace], seen: list[ClassSpace]) -> Iterator[CollectedSpace]:
    """Yield class spaces, and note their records."""
    for one in collected:
        seen.append(one.record)
        yield one


def search(
    workbench: Workbench, collected: Iterable[CollectedSpace], forgotten: frozenset[int], progress: Progress
) -> SearchResult:
    """Build candidates from class spaces and choose one. What the base version has forgotten is left as it is.

    Raises:
        NonFiniteError: The chosen weights hold NaN or infinity.
    """
    forgotten -= workbench.base.forgotten
    network, device, settings = workbench.network, workbench.device, workbench.model.settings
    edited = network.layers[-max(settings.depths) :] if settings.depths else network.layers
    keys = [group.key for layer in edited for group in layer.map_groups]
    retain, forget = (Basis(role, keys, device) for role in (Role.RETAIN, Role.FORGET))
    for one in collected:
        (forget if one.record.class_index in forgotten else retain).add(one.spaces)
    base = {name: tensor.to(device) for name, tensor in workbench.base_state.items()}
    # Where a checkpoint has another precision than the network, what will be stored is what must be judged.
    held = {name: own if own.dtype == base[name].dtype else base[name] for name, own in network.state().items()}
    builder = CandidateBuilder(
        base,
        [layer.maps for layer in network.layers],
        retain=retain.spaces,
        forget=forget.spaces,
        solvers=workbench.ledger.plugins.solvers(settings.solvers),
        forgotten=sorted(forgotten),
        classes=len(workbench.model.labels),
        held=held,
    )
    calibration = _calibration(workbench, forgotten)
    progress.phase("calibration", len(calibration.retained))
    predictor = CandidatePredictor(network, calibration, builder.depths(settings.depths))
    for batch in counted(progress, calibration.retained):
        predictor.anchor_predictions(batch)
    progress.phase("alpha search")
    result = RecipeSearch(
        builder,
        predictor,
        classes=len(workbench.model.labels),
        forgotten=forgotten,
        settings=settings,
        on_trial=progress.step,
    ).run()
    tensor_files.require_finite(result.candidate.state, "the edited weights")
    return result


def _calibration(workbench: Workbench, forgotten: frozenset[int]) -> Calibration:
    each = max(
        FORGOTTEN_IMAGES // len(forgotten),
        min(FORGOTTEN_IMAGES_EACH, MOST_FORGOTTEN_IMAGES // len(forgotten)),
        FEWEST_FORGOTTEN_IMAGES_EACH,
    )
    inside = [workbench.samples(k).to_be_forgotten[:each] for k in sorted(forgotten)]
    gone = forgotten | workbench.base.forgotten
    retained = [k for k in range(len(workbench.model.labels)) if k not in gone]
    each = max(min(RETAINED_IMAGES_EACH, MOST_RETAINED_IMAGES // len(retained)), RETAINED_IMAGES // len(retained), 1)
    outside = [workbench.samples(k).calibration[:each] for k in retained]
    return Calibration(tuple(_batches(workbench, inside)), tuple(_batches(workbench, outside)))


def _batches(workbench: Workbench, per_class: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Yield batches that take turns between the classes."""
    longest = max(len(indices) for indices in per_class)
    mixed = [indices[i] for i in range(longest) for indices in per_class if i < len(indices)]
    labels = workbench.source.train.labels
    size = min(CALIBRATION_BATCH, workbench.model.settings.batch_size)
    for start in range(0, len(mixed), size):
        part = mixed[start : start + size]
        images: Tensor = load_images(workbench.source.train, part, workbench.model.preprocessing)
        yield Batch(images, torch.tensor([int(labels[i]) for i in part]))


def missed_gates(workbench: Workbench, result: SearchResult) -> Iterator[str]:
    """Yield a sentence for each quality gate that a search result misses."""
    settings, labels = workbench.model.settings, workbench.model.labels
    for k, judged in sorted(result.forgotten.items()):
        if not settings.passes_forgotten(judged.accuracy):
            yield (
                f"{labels[k]} is still recognised in {judged.accuracy:.1%} of calibration images, "
                f"the gate allows {settings.max_forgotten_accuracy:.1%}"
            )
    drop = result.anchor_retained.accuracy - result.retained.accuracy
    if not settings.passes_drop(drop):
        yield (
            f"retained classes lose {100 * drop:.1f} points on calibration images, "
            f"the gate allows {100 * settings.max_retained_drop:.1f}"
        )


def _recipe(workbench: Workbench, result: SearchResult, seen: Sequence[ClassSpace]) -> dict[str, Any]:
    recipe = result.candidate.recipe
    strength = recipe.strength
    return {
        "solver": recipe.solver,
        "depth": recipe.depth,
        "layers": len(workbench.network.layers),
        "alpha_r": strength.alpha_r,
        "alpha_f": strength.alpha_f,
        "effective_alpha_f": strength.effective_alpha_f,
        "edit": result.candidate.size,
        "maps": [
            {"key": c.key, "change": c.relative, "retain_rank": c.retain_rank, "forget_rank": c.forget_rank}
            | ({"groups": c.groups, "most": c.most} if c.groups > 1 else {})
            for c in result.candidate.changes
        ],
        "search": result.to_json(),
        "class_spaces": {str(space.class_index): space.blob for space in seen},
        "base": workbench.base.weights,
        "data": workbench.model.data_digest,
        "plugins": {p.name: p.version for p in workbench.ledger.plugins.infos if p.error is None},
        "environment": environment(workbench.device),
    }
