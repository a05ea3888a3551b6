"""Predict calibration images with candidates, running only the part of the network that a candidate edits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ledger.networks.network import Network
from ledger.networks.partial_forward import ForwardTrace, PartialForward, record_outputs

from .answer_blocks import AnchorAnswers
from .answering import AnswerReader
from .calibration import Batch, Calibration
from .candidate import Candidate
from .featured_answers import FeaturedAnswers
from .predictions import Predictions

MAX_RECORDED_BYTES = 1 << 30
"""Memory for recorded activations; candidates of depths that would need more run more of the network, or all of it."""


class Predictor(Protocol):
    """Answers calibration images with candidates and with the anchor weights, wherever that is computed."""

    calibration: Calibration
    """The images."""

    def expect(self, candidate: Candidate, batches: Sequence[Batch], *, featured: bool) -> None:
        """Take note that a candidate will be asked about batches; with ``featured`` for its answers."""
        ...

    def anchor_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the anchor weights for one batch."""
        ...

    def masked_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the masked original for one batch of retained images."""
        ...

    def anchor_answers(self, batch: Batch) -> FeaturedAnswers:
        """Return the answers of the anchor weights to one batch."""
        ...

    def predict(self, candidate: Candidate, batch: Batch) -> Predictions:
        """Return a candidate's predictions for one batch."""
        ...

    def answers(self, candidate: Candidate, batch: Batch) -> FeaturedAnswers:
        """Return a candidate's answers to one batch, with the features that they are made of."""
        ...


class CandidatePredictor:
    """Predicts calibration images with candidates, on as little of the network as each candidate edits.

    The first time a batch is needed, one pass of the anchor weights records the activations that all depths start from.

    Args:
        network: With the anchor weights.
        calibration: The images.
        depths: The numbers of layers, counted from the output, that candidates will edit.
        masked: The classes that the masked original does not answer: everything forgotten, also what the anchor
            weights have forgotten already.
        anchors: The answers of the anchor weights to all of the images; None where they are answered here, in the
            batches of the calibration.
    """

    def __init__(
        self,
        network: Network,
        calibration: Calibration,
        depths: Sequence[int],
        masked: Collection[int],
        anchors: AnchorAnswers | None = None,
    ) -> None:
        self._network = network
        self.calibration = calibration
        self._mask = frozenset(masked)
        self._starts = self._affordable(depths)
        self._anchors = anchors
        self._reader = AnswerReader(network)
        self._answered: dict[int, FeaturedAnswers] = {}
        self._records: dict[int, dict[nn.Module, Tensor]] = {}
        # Weak, so that weights nobody else wants any more are not kept.
        self._prepared: WeakKeyDictionary[Candidate, dict[str, Tensor]] = WeakKeyDictionary()

    def expect(self, candidate: Candidate, batches: Sequence[Batch], *, featured: bool) -> None:
        """Do nothing: it is computed when it is asked for."""

    def anchor_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the anchor weights for one batch.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self.anchor_answers(batch).logits, batch.labels)

    def masked_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the masked original for one batch of retained images.

        The masked original is the anchor weights, which may not answer a forgotten class. It is what a candidate has
        to be compared with: fewer answers compete after forgetting, so the anchor weights alone flatter.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self.anchor_answers(batch).logits, batch.labels, self._mask)

    def predict(self, candidate: Candidate, batch: Batch) -> Predictions:
        """Return a candidate's predictions for one batch.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self.logits(candidate, batch), batch.labels)

    def answers(self, candidate: Candidate, batch: Batch) -> FeaturedAnswers:
        """Return a candidate's answers to one batch, with the features that they are made of."""
        answers = self.own_answers(candidate, batch)
        # Before the first edited layer nothing changed, and a partial pass does not compute it.
        unchanged = self._reader.inner_depth >= candidate.recipe.depth
        return replace(answers, inner=self.anchor_answers(batch).inner) if unchanged else answers

    def own_answers(self, candidate: Candidate, batch: Batch) -> FeaturedAnswers:
        """Return the same, as far as the candidate's own pass tells: without features from before its edit."""
        if self._start(candidate, batch) is not None:
            self._recorded(batch)  # now, so that only the candidate's own pass is read
        with self._reader.inputs() as seen:
            logits = self.logits(candidate, batch)
        answers = self._reader.answers(logits, seen, batch)
        return replace(answers, inner=None) if self._reader.inner_depth >= candidate.recipe.depth else answers

    def logits(self, candidate: Candidate, batch: Batch) -> Tensor:
        """Return a candidate's logits (n, classes) for one batch, on the device."""
        if candidate not in self._prepared:
            self._prepared[candidate] = self._network.prepare_weights(candidate.state)
        weights = self._prepared[candidate]
        images = self._network.prepare_images(batch.images)
        partial_forward = self._start(candidate, batch)
        if partial_forward is None:
            with torch.inference_mode():
                logits: Tensor = functional_call(self._network.module, weights, (images,), tie_weights=False)
        else:
            kept = self._recorded(batch)
            logits = partial_forward.run(weights, [kept[m] for m in partial_forward.boundary], images)
        return logits

    def _start(self, candidate: Candidate, batch: Batch) -> PartialForward | None:
        """Return from where on a candidate runs on a batch; None for the whole network."""
        return self._starts[batch.frequent].get(candidate.recipe.depth)

    def anchor_answers(self, batch: Batch) -> FeaturedAnswers:
        """Return the answers of the anchor weights to one batch."""
        if id(batch) not in self._answered:
            if self._anchors is not None:
                self._answered[id(batch)] = self._anchors.of(batch)
            else:
                self._recorded(batch)
        return self._answered[id(batch)]

    def _recorded(self, batch: Batch) -> dict[nn.Module, Tensor]:
        """Return the anchor's activations for a batch, by module; recorded on first use."""
        if id(batch) not in self._records:
            reads = [m for start in dict.fromkeys(self._starts[batch.frequent].values()) for m in start.boundary]
            images = self._network.prepare_images(batch.images)
            with self._reader.inputs() as seen:
                logits, kept = record_outputs(self._network.module, reads, images)
            if self._anchors is None:
                self._answered[id(batch)] = self._reader.answers(logits, seen, batch)
            self._records[id(batch)] = kept
        return self._records[id(batch)]

    def _affordable(self, depths: Sequence[int]) -> dict[bool, dict[int, PartialForward]]:
        """Return from where on candidates of each depth run, as far as memory for what is recorded there goes.

        A candidate may start before its first edited layer. So of the places that memory is enough for, those are
        chosen that leave least to run to candidates of all depths together: for frequent batches first, and with the
        memory that is left for the others.
        """
        layers = self._network.layers
        trace = ForwardTrace(
            self._network.module, self._network.prepare_images(self.calibration.retained[0].images[:2])
        )
        ordered = sorted(set(depths))
        places = {depth: PartialForward(trace, layers[-depth].module) for depth in ordered}
        memory = MAX_RECORDED_BYTES
        found: dict[bool, dict[int, PartialForward]] = {}
        for frequent in (True, False):
            images = sum(len(batch.labels) for batch in self.calibration.batches if batch.frequent == frequent)
            room = {d: trace.bytes_per_image(place.boundary) * images for d, place in places.items() if place.boundary}
            starts = cheapest_starts(ordered, room, len(layers), memory)
            memory -= sum(room[start] for start in set(starts.values()))
            found[frequent] = {depth: places[start] for depth, start in starts.items()}
        return found


def cheapest_starts(depths: Sequence[int], room: Mapping[int, int], layers: int, memory: int) -> dict[int, int]:
    """Choose where to record activations; return for each depth at which depth its candidates start.

    The place that saves most is added until no other fits. Depths that are left out run the whole network.

    Args:
        depths: The numbers of layers, counted from the output, that candidates edit.
        room: Bytes that recording takes, for each depth where it is possible.
        layers: Number of layers of the network: what a candidate runs counts by its layers.
        memory: Bytes that there are.
    """
    chosen: set[int] = set()

    def starts(recorded: Collection[int]) -> dict[int, int]:
        return {depth: min(one for one in recorded if one >= depth) for depth in depths if depth <= max(recorded)}

    def run(recorded: Collection[int]) -> int:
        own = starts(recorded) if recorded else {}
        return sum(own.get(depth, layers) for depth in depths)

    while True:
        spent = sum(room[depth] for depth in chosen)
        fitting = [depth for depth in room if depth not in chosen and spent + room[depth] <= memory]
        best = min(fitting, key=lambda depth: (run({*chosen, depth}), depth), default=None)
        if best is None or run({*chosen, best}) >= run(chosen):
            return starts(chosen) if chosen else {}
        chosen.add(best)
