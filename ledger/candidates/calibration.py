"""Training images that candidates are judged on, and what has been computed of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ledger.networks.inference import checked
from ledger.networks.network import Network
from ledger.networks.partial_forward import ForwardTrace, PartialForward, record_outputs

from .candidate import Candidate

CLOSE = 0.8
"""Share of the highest probability at which the true class counts as close."""
MOST_RECORDED = 1 << 30
"""Bytes that records may take; beyond it, deep candidates walk the whole network."""


@dataclass(frozen=True)
class Batch:
    """Calibration images with their class indices."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Calibration:
    """Training images to judge by, mixed over classes so that every batch says something of each.

    Those of retained classes are held out from every class space. Those of forgotten classes are not all:
    a share near zero needs more images to be seen than can be spared.
    """

    forgotten: Sequence[Batch]
    retained: Sequence[Batch]


@dataclass(frozen=True)
class Answers:
    """How some weights answer some images."""

    correct: Tensor
    """bool (n,): whether the true class has the highest probability."""
    close: Tensor
    """bool (n,): whether it comes close to the highest probability: on unseen images, the next to hit."""
    confidence: Tensor
    """float32 (n,): probability of the true class."""


@dataclass(frozen=True)
class Judgement:
    """The same, on average."""

    accuracy: float
    confidence: float

    @classmethod
    def of(cls, answers: Sequence[Answers], chosen: Tensor | None = None) -> "Judgement":
        """Average over images, or over those that ``chosen`` (n,) marks."""
        correct = torch.cat([a.correct for a in answers]).double()
        confidence = torch.cat([a.confidence for a in answers]).double()
        if chosen is not None:
            correct, confidence = correct[chosen], confidence[chosen]
        return cls(float(correct.mean()), float(confidence.mean()))


class Panel:
    """Asks candidates about calibration images, each on as little of the network as the candidate edits.

    One pass of the registered weights over a batch records what every depth needs, when somebody first asks about it.

    Args:
        network: With the registered weights.
        calibration: The images, preprocessed.
        depths: The numbers of layers, counted from the output, that candidates will edit.
    """

    def __init__(self, network: Network, calibration: Calibration, depths: Sequence[int]) -> None:
        self._network = network
        self.calibration = calibration
        self._partial_forwards = self._worth_recording(depths)
        self._base: dict[int, Answers] = {}
        self._records: dict[int, dict[nn.Module, Tensor]] = {}
        # Weak, so that weights nobody else wants any more are not kept.
        self._prepared: WeakKeyDictionary[Candidate, dict[str, Tensor]] = WeakKeyDictionary()

    def base(self, batch: Batch) -> Answers:
        """Return the registered weights' answers to one batch."""
        self._record(batch)
        return self._base[id(batch)]

    def ask(self, candidate: Candidate, batch: Batch) -> Answers:
        """Return a candidate's answers to one batch.

        Raises:
            NonFiniteError: An answer is NaN or infinite.
        """
        if candidate not in self._prepared:
            self._prepared[candidate] = self._network.prepare_weights(candidate.state)
        weights = self._prepared[candidate]
        images = self._network.prepare_images(batch.images)
        partial_forward = self._partial_forwards.get(candidate.recipe.depth)
        if partial_forward is None:
            with torch.inference_mode():
                answer: Tensor = functional_call(self._network.module, weights, (images,), tie_weights=False)
        else:
            kept = self._record(batch)
            answer = partial_forward.run(weights, [kept[m] for m in partial_forward.boundary], images)
        return _answers(answer, batch)

    def _record(self, batch: Batch) -> dict[nn.Module, Tensor]:
        if id(batch) not in self._records:
            reads = [m for partial_forward in self._partial_forwards.values() for m in partial_forward.boundary]
            answer, kept = record_outputs(self._network.module, reads, self._network.prepare_images(batch.images))
            self._base[id(batch)] = _answers(answer, batch)
            self._records[id(batch)] = kept
        return self._records[id(batch)]

    def _worth_recording(self, depths: Sequence[int]) -> dict[int, PartialForward]:
        """Return a way in for each depth, shallow ones first, as far as memory for the records goes."""
        layers = self._network.layers
        trace = ForwardTrace(
            self._network.module, self._network.prepare_images(self.calibration.retained[0].images[:2])
        )
        images = sum(len(b.labels) for b in (*self.calibration.forgotten, *self.calibration.retained))
        found: dict[int, PartialForward] = {}
        spent = 0
        for depth in sorted(depths):
            partial_forward = PartialForward(trace, layers[-depth].module)
            spent += trace.bytes_per_image(partial_forward.boundary) * images
            if partial_forward.boundary and spent <= MOST_RECORDED:
                found[depth] = partial_forward
        return found


def _answers(logits: Tensor, batch: Batch) -> Answers:
    probabilities = torch.softmax(checked(logits), dim=1)
    confidence = probabilities.gather(1, batch.labels.unsqueeze(1)).squeeze(1)
    return Answers(probabilities.argmax(1) == batch.labels, confidence >= CLOSE * probabilities.amax(1), confidence)
