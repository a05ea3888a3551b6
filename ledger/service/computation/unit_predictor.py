"""Answers of candidates to calibration images, as units that an engine runs."""

import weakref
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ledger.answers.answer_blocks import AnchorAnswers
from ledger.answers.answering import inner_depth
from ledger.answers.calibration import Batch, Calibration
from ledger.answers.calibration_sampling import SampledCalibration
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.answers.predictions import Predictions
from ledger.candidates.candidate import Candidate
from ledger.digest import sha256_hex
from ledger.units.engine import Flight
from ledger.units.judging import JudgingUnit, answers_of, packed_calibration
from ledger.weights import tensor_files

from .model_cards import card_of, surroundings_of
from .workbench import Workbench


class UnitPredictor:
    """Lets an engine answer, batch by batch; what is expected to be asked runs before it is.

    Args:
        workbench: The model.
        calibration: The images.
        depths: The numbers of layers, counted from the output, that candidates will edit.
        masked: The classes that the masked original does not answer.
        held: The tensors that candidates share where they do not edit them.
        anchors: The answers of the anchor weights to all of the images.
    """

    def __init__(
        self,
        workbench: Workbench,
        calibration: SampledCalibration,
        depths: Sequence[int],
        masked: Collection[int],
        held: Mapping[str, Tensor],
        anchors: AnchorAnswers,
    ) -> None:
        self.calibration: Calibration = calibration
        self._anchors = anchors
        self._inner_depth = inner_depth(workbench.network)
        self._engine = workbench.ledger.engine
        self._held = held
        self._masked = frozenset(masked)
        self._card, self._surroundings = card_of(workbench), surroundings_of(workbench)
        self._depths = tuple(depths)
        self._places = {id(batch): place for place, batch in enumerate(calibration.batches)}
        packed = packed_calibration(calibration, workbench.model.preprocessing)
        self._images = sha256_hex(packed)
        self._engine.offer(self._images, lambda: packed)
        weakref.finalize(self, self._engine.withdraw, self._images)
        self._edits: weakref.WeakKeyDictionary[Candidate, str] = weakref.WeakKeyDictionary()
        self._alike: Counter[str] = Counter()
        """Candidates that edit the same in the same way, by digest: one may be built twice."""
        self._flights: dict[tuple[str, int, bool], Flight] = {}

    def expect(self, candidate: Candidate, batches: Sequence[Batch], *, featured: bool) -> None:
        """Let a candidate answer batches that will be asked for."""
        for batch in batches:
            self._submit(candidate, batch, featured=featured)

    def anchor_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the anchor weights for one batch.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self.anchor_answers(batch).logits, batch.labels)

    def masked_predictions(self, batch: Batch) -> Predictions:
        """Return the predictions of the masked original for one batch of retained images.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self.anchor_answers(batch).logits, batch.labels, self._masked)

    def anchor_answers(self, batch: Batch) -> FeaturedAnswers:
        """Return the answers of the anchor weights to one batch."""
        return self._anchors.of(batch)

    def predict(self, candidate: Candidate, batch: Batch) -> Predictions:
        """Return a candidate's predictions for one batch.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return Predictions.of(self._asked(candidate, batch, featured=False).logits, batch.labels)

    def answers(self, candidate: Candidate, batch: Batch) -> FeaturedAnswers:
        """Return a candidate's answers to one batch, with the features that they are made of."""
        answers = self._asked(candidate, batch, featured=True)
        # Before the first edited layer nothing changed, and a unit does not tell.
        unchanged = self._inner_depth >= candidate.recipe.depth
        return replace(answers, inner=self.anchor_answers(batch).inner) if unchanged else answers

    def _asked(self, candidate: Candidate, batch: Batch, *, featured: bool) -> FeaturedAnswers:
        flight = self._submit(candidate, batch, featured=featured)
        self._engine.until(flight, self._flights.values())
        return answers_of(self._engine.result(flight), batch)

    def _submit(self, candidate: Candidate, batch: Batch, *, featured: bool) -> Flight:
        edits = self._edits_of(candidate)
        key = edits, self._places[id(batch)], featured
        if key not in self._flights:
            unit = JudgingUnit(
                self._card,
                self._surroundings,
                self._images,
                self._depths,
                tuple(sorted(self._masked)),
                self._places[id(batch)],
                edits,
                candidate.recipe.depth,
                featured,
            )
            self._flights[key] = self._engine.submit(unit, keep=True)
        return self._flights[key]

    def _edits_of(self, candidate: Candidate) -> str:
        """Return the digest of the tensors that a candidate edits; the engine can have them as long as it is there."""
        if candidate not in self._edits:
            edited = {name: t for name, t in candidate.state.items() if t is not self._held.get(name)}
            data = tensor_files.serialise(edited)
            digest = self._edits[candidate] = sha256_hex(data)
            self._engine.offer(digest, lambda: data)
            self._alike[digest] += 1
            weakref.finalize(candidate, self._let_go, digest)
        return self._edits[candidate]

    def _let_go(self, digest: str) -> None:
        """Drop what nobody can ask for any more."""
        self._alike[digest] -= 1
        if self._alike[digest]:
            return
        self._engine.withdraw(digest)
        for key in [key for key in self._flights if key[0] == digest]:
            self._engine.cancel(self._flights.pop(key))
