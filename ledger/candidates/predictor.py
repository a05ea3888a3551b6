"""Predict calibration images with candidates, running only the part of the network that a candidate edits."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.func import functional_call

from ledger.answers.activations import Activations
from ledger.answers.answer_blocks import AnchorAnswers
from ledger.answers.answering import AnswerReader
from ledger.answers.calibration import Batch, Calibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.answers.predictions import Predictions
from ledger.answers.start_places import StartPlaces
from ledger.networks.network import Network
from ledger.networks.partial_forward import PartialForward

from .candidate import Candidate


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

    The first time images are needed, one pass of the anchor weights records the activations that all depths start from.

    Args:
        network: With the anchor weights.
        calibration: The images.
        depths: The numbers of layers, counted from the output, that candidates will edit.
        masked: The classes that the masked original does not answer: everything forgotten, also what the anchor
            weights have forgotten already.
        anchors: The answers of the anchor weights to all of the images; None where they are answered here, in the
            batches of the calibration.
        activations: Where candidates start, with what is recorded there so far; None if nothing is.
    """

    def __init__(
        self,
        network: Network,
        calibration: Calibration,
        depths: Sequence[int],
        masked: Collection[int],
        anchors: AnchorAnswers | None = None,
        activations: Activations | None = None,
    ) -> None:
        self._network = network
        self.calibration = calibration
        self._mask = frozenset(masked)
        self._anchors = anchors
        if activations is None:
            places = StartPlaces(network, calibration, depths)
            activations = Activations(network, calibration, places)
        self._activations = activations
        self._reader = AnswerReader(network)
        self._answered: dict[int, FeaturedAnswers] = {}
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
        recorded = self._recorded(candidate, batch)  # now, so that only the candidate's own pass is read
        with self._reader.inputs() as seen:
            logits = self._logits(candidate, batch, recorded)
        answers = self._reader.answers(logits, seen, batch)
        return replace(answers, inner=None) if self._reader.inner_depth >= candidate.recipe.depth else answers

    def logits(self, candidate: Candidate, batch: Batch) -> Tensor:
        """Return a candidate's logits (n, classes) for one batch, on the device."""
        return self._logits(candidate, batch, self._recorded(candidate, batch))

    def _logits(self, candidate: Candidate, batch: Batch, recorded: Sequence[Tensor] | None) -> Tensor:
        if candidate not in self._prepared:
            self._prepared[candidate] = self._network.prepare_weights(candidate.state)
        weights = self._prepared[candidate]
        images = self._network.prepare_images(batch.images)
        start = self._start(candidate, batch)
        if start is None or recorded is None:
            with torch.inference_mode():
                logits: Tensor = functional_call(self._network.module, weights, (images,), tie_weights=False)
            return logits
        return start.run(weights, recorded, images)

    def _recorded(self, candidate: Candidate, batch: Batch) -> Sequence[Tensor] | None:
        """Return the activations that a candidate starts from; None where it runs the whole network."""
        start = self._start(candidate, batch)
        return None if start is None else self._activations.of(batch, start.boundary)

    def _start(self, candidate: Candidate, batch: Batch) -> PartialForward | None:
        """Return from where on a candidate runs on a batch; None for the whole network."""
        return self._activations.places.of(candidate.recipe.depth, frequent=batch.frequent)

    def anchor_answers(self, batch: Batch) -> FeaturedAnswers:
        """Return the answers of the anchor weights to one batch."""
        if id(batch) not in self._answered:
            if self._anchors is not None:
                self._answered[id(batch)] = self._anchors.of(batch)
            else:
                with self._reader.inputs() as seen:
                    logits = self._activations.answered(batch)
                self._answered[id(batch)] = self._reader.answers(logits, seen, batch)
        return self._answered[id(batch)]
