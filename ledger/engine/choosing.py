"""From what all classes amount to, to the edit that a search chooses. Who keeps it is none of its business."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ledger.answers.activations import Activations
from ledger.answers.answer_blocks import AnchorAnswers, AnswerBlock
from ledger.answers.answering import AnswerReader
from ledger.answers.calibration_sampling import SampledCalibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.answers.start_places import StartPlaces
from ledger.candidates.candidate import CandidateBuilder
from ledger.candidates.graded_search import grids
from ledger.candidates.likeness import Resemblance
from ledger.candidates.predictor import CandidatePredictor, Predictor
from ledger.candidates.search import RecipeSearch
from ledger.candidates.search_result import SearchResult
from ledger.domain.settings import Settings
from ledger.hookspecs import Solver
from ledger.networks.network import Network
from ledger.spaces.bases import Basis
from ledger.spaces.displacements import Displacements
from ledger.spaces.retained import RetainedClasses
from ledger.weights import tensor_files


class PhaseObserver(Protocol):
    """Follows the phases of a computation."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase of ``total`` steps; None if unknown."""
        ...

    def step(self) -> None:
        """Count one step."""
        ...


OpenPredictor = Callable[[SampledCalibration, Sequence[int], Mapping[str, Tensor]], Predictor]
"""From calibration images, the numbers of layers that candidates edit, and the tensors that they share where they do
not edit them, to what predicts the images."""


@dataclass(frozen=True)
class EditTask:
    """What shall be forgotten, and by which network."""

    network: Network
    """Holds the weights that edits start from, on the device that computes."""
    anchor: Mapping[str, Tensor]
    """Those weights, by name, in the precision of their file."""
    classes: int
    """Number of outputs of the network."""
    forgotten: frozenset[int]
    """The classes to forget."""
    judged: frozenset[int]
    """Those of them whose calibration images tell whether they are forgotten."""
    masked: frozenset[int]
    """The classes that the masked original does not answer: these, and what the weights have forgotten before."""
    settings: Settings
    solvers: Mapping[str, Solver]
    """By name, those of the settings."""


def choose_edit(
    task: EditTask,
    retain: RetainedClasses,
    forget: Basis,
    calibration: Callable[[Mapping[int, float] | None], SampledCalibration],
    observer: PhaseObserver,
    open_predictor: OpenPredictor | None = None,
) -> SearchResult:
    """Build candidates and choose one.

    Args:
        task: What shall be forgotten.
        retain: What the retained classes amount to, at every map that may be edited; may be read only when asked.
        forget: The forgotten classes, at the same maps.
        calibration: Returns the images that candidates are judged on; told how much the forgotten classes resemble
            each retained one, where that is known.
        observer: Told about phases.
        open_predictor: Returns what predicts the images with candidates, elsewhere perhaps; None predicts them here.

    Raises:
        NonFiniteError: The chosen weights hold NaN or infinity.
    """
    network, device, settings = task.network, task.network.device, task.settings
    anchor = {name: tensor.to(device) for name, tensor in task.anchor.items()}
    # Where a weights file has another precision than the network, candidates are judged in that of the file.
    held = {name: own if own.dtype == anchor[name].dtype else anchor[name] for name, own in network.state().items()}
    displacements = Displacements(retain, forget)
    builder = CandidateBuilder(
        anchor,
        [layer.maps for layer in network.layers],
        retain=retain.spaces,
        forget=forget.spaces,
        solvers=task.solvers,
        forgotten=sorted(task.forgotten),
        classes=task.classes,
        held=held,
        displacement=displacements.of,
    )
    resemblance = Resemblance(displacements.retained, displacements.mixtures) if displacements.known else None
    images = calibration(None if resemblance is None else resemblance.shares)
    depths = builder.depths(settings.depths)
    predictor = (
        _predictor(task, images, depths, observer) if open_predictor is None else open_predictor(images, depths, held)
    )
    observer.phase("alpha search")
    result = RecipeSearch(
        builder,
        predictor,
        classes=task.classes,
        forgotten=task.judged,
        settings=settings,
        grids=grids(task.solvers, settings),
        resemblance=resemblance,
        on_trial=observer.step,
    ).run()
    tensor_files.require_finite(result.candidate.state, "the edited weights")
    return result


def _predictor(
    task: EditTask, images: SampledCalibration, depths: Sequence[int], observer: PhaseObserver
) -> CandidatePredictor:
    """Let the network answer the images here, in the blocks in which a ledger keeps answers."""
    observer.phase("calibration", len(images.blocks))
    reader = AnswerReader(task.network)
    activations = Activations(task.network, images, StartPlaces(task.network, images, depths))

    def answered(block: AnswerBlock) -> FeaturedAnswers:
        observer.step()
        with activations.recording(block):
            return reader.anchor(images.load(block))

    anchors = AnchorAnswers({block: answered(block) for block in images.blocks})
    return CandidatePredictor(task.network, images, depths, task.masked, anchors, activations)
