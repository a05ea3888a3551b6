"""Compute the weights that have forgotten a set of classes. No SQL here.

The result is a function of the anchor weights, the settings, the set, and the solvers that a person may have named for
just this set (:mod:`.decided_solvers`), never of the requests that led to it. So requests compose in any order, and
withdrawing one gives back the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from ledger.answers.activations import Activations
from ledger.answers.calibration_sampling import SampledCalibration, sample_calibration
from ledger.answers.start_places import StartPlaces
from ledger.candidates.predictor import CandidatePredictor, Predictor
from ledger.candidates.search_result import SearchResult
from ledger.domain.class_spaces import BasisTerm, ClassSpace, NewClassSpace, Role
from ledger.domain.command_lines import RETRY_FAILED
from ledger.domain.conditions import plain_number
from ledger.domain.missed_gates import FORGOTTEN_GATE, RETAINED_GATE, MissedGate
from ledger.domain.recipe import RecordedMapChange, VersionRecipe
from ledger.domain.registered_accuracy import Count
from ledger.engine.choosing import EditTask, choose_edit
from ledger.errors import DataError, PurgedError
from ledger.service.objects import store_object
from ledger.service.progress import Progress
from ledger.service.versions.proposal import Proposal
from ledger.weights import tensor_files

from .class_space_cache import CollectedSpace
from .environment import computation_environment
from .kept_activations import KeptActivations
from .kept_answers import KeptAnswers
from .pinning import pin_threads
from .retained_sums import Bases, BasisGathering, DamagedSumError
from .unit_predictor import UnitPredictor
from .workbench import Workbench


def propose(workbench: Workbench, forgotten: frozenset[int], progress: Progress) -> Proposal:
    """Compute and store the weights that have forgotten a set of classes.

    For exactly the classes that the anchor version has forgotten, these are the anchor weights themselves.

    Raises:
        PurgedError: The set leaves out a class that can never come back.
        DataError: The images changed, or one cannot be read.
        NonFiniteError: NaN or infinity in activations, outputs or edited weights.
    """
    # Another model may have been worked on since this one was opened.
    pin_threads(workbench.ledger, workbench.model)
    anchor = workbench.anchor
    if not anchor.forgotten <= forgotten:
        lost = ", ".join(workbench.model.labels.names(anchor.forgotten - forgotten))
        raise PurgedError(f"{lost} cannot come back: what it takes was purged", "train the model on it again")
    if forgotten == anchor.forgotten:
        weights = workbench.ledger.objects.get(anchor.weights)
        recipe = VersionRecipe.of_unchanged_weights(computation_environment(workbench.device))
        return Proposal(forgotten, anchor.weights, len(weights), recipe, (), (), anchor.number)
    result, spaces = search_stored(workbench, forgotten, progress, store=True)
    seen = [space for space in spaces if isinstance(space, ClassSpace)]
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
        anchor=anchor.number,
    )


def search_stored(
    workbench: Workbench, forgotten: frozenset[int], progress: Progress, *, store: bool
) -> tuple[SearchResult, Sequence[NewClassSpace]]:
    """Build candidates and choose one; return it with the class spaces that its bases are made of.

    What the anchor version has forgotten is left as it is.

    Args:
        workbench: The model.
        forgotten: All classes to forget.
        progress: Follows the work.
        store: Store the class spaces that the ledger lacks, their sums, and answers to calibration images.

    Raises:
        NonFiniteError: The chosen weights hold NaN or infinity.
    """
    gathering = BasisGathering(workbench, forgotten, store=store)
    try:
        bases = gathering.gather(progress)
        return _search(workbench, bases, forgotten, progress, store=store), bases.seen
    except DamagedSumError as error:
        workbench.ledger.tell(f"{error.message}: the class spaces of all classes are added up again")
        bases = gathering.gather(progress, use_kept=False)
        return _search(workbench, bases, forgotten, progress, store=store), bases.seen


def search(
    workbench: Workbench,
    collected: Iterable[CollectedSpace[NewClassSpace]],
    forgotten: frozenset[int],
    progress: Progress,
) -> SearchResult:
    """Build candidates from the class spaces of all classes and choose one.

    Raises:
        NonFiniteError: The chosen weights hold NaN or infinity.
    """
    gathering = BasisGathering(workbench, forgotten, store=False)
    return _search(workbench, gathering.from_collected(collected), forgotten, progress, store=False)


def _search(
    workbench: Workbench, bases: Bases, forgotten: frozenset[int], progress: Progress, *, store: bool
) -> SearchResult:
    masked = forgotten | workbench.anchor.forgotten
    forgotten -= workbench.anchor.forgotten
    task = EditTask(
        network=workbench.network,
        anchor=workbench.anchor_state,
        classes=len(workbench.model.labels),
        forgotten=forgotten,
        judged=forgotten - workbench.gone,
        masked=masked,
        settings=workbench.settings,
        solvers=workbench.ledger.plugins.solvers(workbench.settings.solvers),
    )

    kept = KeptActivations(workbench)
    recorded: list[Activations] = []

    def opened(images: SampledCalibration, depths: Sequence[int], held: Mapping[str, Tensor]) -> Predictor:
        if not workbench.ledger.engine.in_process:
            anchors = KeptAnswers(workbench).gather(images, progress, store=store)
            return UnitPredictor(workbench, images, depths, masked, held, anchors)
        activations = Activations(workbench.network, images, StartPlaces(workbench.network, images, depths))
        kept.read_into(activations)
        recorded.append(activations)
        anchors = KeptAnswers(workbench).gather(images, progress, store=store, activations=activations)
        return CandidatePredictor(workbench.network, images, depths, masked, anchors, activations)

    result = choose_edit(
        task,
        bases.retain,
        bases.forget,
        lambda shares: _calibration(workbench, forgotten, shares),
        progress,
        opened,
    )
    if store:
        for activations in recorded:
            kept.keep(activations)
    return result


def _calibration(
    workbench: Workbench, forgotten: frozenset[int], shares: Mapping[int, float] | None
) -> SampledCalibration:
    judged = sorted(forgotten - workbench.gone)
    # What an earlier version was measured to have forgotten stays so; of the rest nobody may say it.
    unknown = (forgotten & workbench.gone) - workbench.measured
    if unknown or not judged:
        names = ", ".join(workbench.model.labels.names(unknown or forgotten))
        raise DataError(
            f"no image of {names} is left, so nobody can tell whether it is forgotten",
            f"restore images of it until that is done, then: unledger model rebind {workbench.model.name}, "
            f"and {RETRY_FAILED}",
        )
    without = forgotten | workbench.anchor.forgotten | workbench.gone
    retained = [k for k in range(len(workbench.model.labels)) if k not in without]
    return sample_calibration(
        workbench.source.train,
        workbench.samples,
        forgotten=judged,
        retained=retained,
        preprocessing=workbench.model.preprocessing,
        batch_size=workbench.model.settings.batch_size,
        seed=workbench.model.settings.seed,
        shares=shares,
    )


def missed_gates(workbench: Workbench, result: SearchResult) -> Iterator[MissedGate]:
    """Yield each gate on calibration images that a search result misses."""
    accuracies = {k: scores.accuracy for k, scores in result.forgotten.items()}
    yield from missed_by_figures(workbench, accuracies, result.anchor_forgotten, result.lost)


def missed_by_figures(
    workbench: Workbench, accuracies: Mapping[int, float], counts: Mapping[int, Count], lost: float
) -> Iterator[MissedGate]:
    """Yield each gate that figures on calibration images miss.

    Args:
        workbench: The model.
        accuracies: Accuracy on each forgotten class, as a share, by class index.
        counts: How many calibration images of each there are: 43 % may be three of seven.
        lost: Loss of accuracy on the retained classes against the masked original, as a difference of shares.
    """
    settings, labels = workbench.model.settings, workbench.model.labels
    for k, accuracy in sorted(accuracies.items()):
        if not settings.passes_forgotten(accuracy):
            images = counts[k].images
            told = (
                f"{labels[k]} is still recognised in {accuracy:.1%} of calibration images "
                f"({round(accuracy * images):,} of {images:,}), "
                f"the gate allows {settings.max_forgotten_accuracy:.1%}"
            )
            yield MissedGate(f"{FORGOTTEN_GATE} <= {plain_number(settings.max_forgotten_accuracy)}", told)
    if not settings.passes_drop(lost):
        told = (
            f"retained classes lose {100 * lost:.1f} points on calibration images against the registered network with "
            f"the forgotten classes masked, the gate allows {100 * settings.max_retained_drop:.1f}"
        )
        yield MissedGate(f"{RETAINED_GATE} <= {plain_number(settings.max_retained_drop)}", told)


def _recipe(workbench: Workbench, result: SearchResult, seen: Sequence[ClassSpace]) -> VersionRecipe:
    chosen = result.candidate
    strength = chosen.recipe.strength
    return VersionRecipe.of_computation(
        solver=chosen.recipe.solver,
        depth=chosen.recipe.depth,
        layers=len(workbench.network.layers),
        alpha_r=strength.alpha_r,
        alpha_f=strength.alpha_f,
        effective_alpha_f=strength.effective_alpha_f,
        edit=chosen.size,
        maps=[
            RecordedMapChange(c.key, c.relative, c.retain_rank, c.forget_rank, c.groups, c.most) for c in chosen.changes
        ],
        search=result.to_json(),
        class_spaces={space.class_index: space.object_digest for space in seen},
        base=workbench.anchor.weights,
        data=workbench.model.data_digest,
        plugins={p.name: p.version for p in workbench.ledger.plugins.infos if p.error is None},
        environment=computation_environment(workbench.device, workbench.ledger.engine),
        solvers=workbench.named_solvers,
    )
