"""Measure candidates on calibration images: whether they forget, and what they cost the retained classes.

Measuring shows no more images than it takes to tell, and records nothing.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.answers.calibration import Batch
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.answers.predictions import Predictions, Scores
from ledger.domain.registered_accuracy import Count
from ledger.domain.settings import Settings
from ledger.errors import NonFiniteError

from .bar_test import BarTest
from .candidate import Candidate, Recipe
from .likeness import Likeness, RememberedScores, Resemblance, measure_likeness
from .predictor import Predictor
from .tally import DOUBT_STANDARD_ERRORS, ForgettingLimits, ForgettingTally

FIRST_LOOK = 96
"""Retained images that a candidate is shown before it can be taken for one that keeps the bar."""
LOOKED_AHEAD = 2
"""Batches that an engine may answer at the same time while it is not clear whether they are needed."""


@dataclass(frozen=True)
class ForgettingFinding:
    """How well forgotten classes are still recognised, on the images that were looked at."""

    passed: bool
    """Whether every forgotten class stays within its limits."""
    accuracy: float
    """Highest accuracy of a forgotten class; 1 if an output is NaN or infinite."""
    revealed: float
    """How much shows of the class that shows most, as a tally counts it; infinite if an output is NaN or infinite."""


@dataclass(frozen=True)
class RetentionFinding:
    """What retained classes lose, on the images that were looked at."""

    loss: float
    """Mean confidence lost, against the masked original; infinite if an output is NaN or infinite."""
    confidence: float
    """What the loss leaves of the masked original's confidence on all images; 0 if an output is NaN or infinite."""
    plain_loss: float
    """The same loss against the anchor weights without a mask. Of candidates that do not forget yet, only this tells
    what the edit does to the others: against the mask they lose whatever a forgotten class still takes."""
    error: float = 0.0
    """Standard error of the loss."""


@dataclass(frozen=True)
class BarFinding:
    """Whether a candidate keeps the retained bar, told from as many images as it took."""

    keeps: bool
    loss: float
    """Mean confidence lost on all retained images, as far as those that were shown tell; infinite if an output is NaN
    or infinite."""
    confidence: float
    """What the loss leaves of the masked original's confidence; 0 if an output is NaN or infinite."""


class CandidateEvaluator:
    """Measures candidates. Predictions are remembered, so looking at more images later continues.

    Args:
        predictor: Predicts calibration images with candidates.
        classes: Number of outputs of the network.
        forgotten: The classes to forget, in order.
        settings: Bar and gates.
        compared: Solvers whose candidates' answers are kept until :meth:`drop_answers`, so that their likeness to a
            network that never saw the classes can be measured.
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: int,
        forgotten: list[int],
        settings: Settings,
        *,
        compared: Collection[str] = (),
    ) -> None:
        self._calibration = predictor.calibration
        self._predictor = predictor
        self._forgotten = forgotten
        self._settings = settings
        self._labels = torch.cat([batch.labels for batch in self._calibration.forgotten])
        images = torch.bincount(self._labels, minlength=classes).double()
        self._limits = ForgettingLimits(images, settings.max_forgotten_accuracy)
        retained = self._calibration.retained
        self._anchor = [predictor.anchor_predictions(batch) for batch in retained]
        self.anchor_retained = Scores.of(self._anchor)
        """The retained classes under the anchor weights."""
        self._masked = [predictor.masked_predictions(batch) for batch in retained]
        self.masked_retained = Scores.of(self._masked)
        """The retained classes under the masked original, which losses are measured against."""
        self._predictions: dict[tuple[Recipe, int], Predictions] = {}
        self._compared = frozenset(compared)
        self._answers: dict[tuple[Recipe, int], FeaturedAnswers] = {}
        self._dropped: set[Recipe] = set()
        self._scores = RememberedScores()

    def forgetting(self, candidate: Candidate, at_least: int | None = None) -> ForgettingFinding:
        """Measure whether every forgotten class stays within its limits.

        Stops at the first batch that rules it out. A class must stay within all its limits on all its images in the
        end. A candidate whose output is NaN or infinite does not pass.

        Args:
            candidate: The candidate.
            at_least: Stop after the batch that completes so many images, and judge in proportion; None for all images.
        """
        try:
            return self._forgetting(candidate, at_least)
        except NonFiniteError:
            return ForgettingFinding(passed=False, accuracy=1.0, revealed=math.inf)

    def retention(
        self, candidate: Candidate, at_least: int | None = None, *, until_clear: bool = False
    ) -> RetentionFinding:
        """Measure how much confidence a candidate loses on retained images, against the masked original.

        Stops as soon as the loss exceeds the bar by ``DOUBT_STANDARD_ERRORS`` standard errors of the paired
        differences. A candidate whose output is NaN or infinite loses more than any other.

        Args:
            candidate: The candidate.
            at_least: Stop after the batch that completes so many images; None for all images.
            until_clear: Continue beyond ``at_least`` while the bar lies within one standard error of the loss. A deep
                edit that keeps the bar on all images is often above it on the first hundred.
        """
        try:
            loss, plain, error = self._losses(candidate, at_least, until_clear=until_clear)
        except NonFiniteError:
            return RetentionFinding(math.inf, 0.0, math.inf)
        return RetentionFinding(loss, self.masked_retained.confidence - loss, plain, error)

    def bar(self, candidate: Candidate) -> BarFinding:
        """Show a candidate retained images, in their order, until it is clear whether it keeps the bar.

        See :class:`~ledger.candidates.bar_test.BarTest`; the error is that of the settings.
        """
        try:
            test = self._bar_test(candidate)
        except NonFiniteError:
            return BarFinding(keeps=False, loss=math.inf, confidence=0.0)
        return BarFinding(bool(test.verdict), test.loss, self.masked_retained.confidence - test.loss)

    def retained_shown(self, candidate: Candidate) -> int:
        """Return how many retained images a candidate was shown so far."""
        known = self._predictions
        return sum(len(b.labels) for b in self._calibration.retained if (candidate.recipe, id(b)) in known)

    @property
    def retained_images(self) -> int:
        """Number of retained calibration images."""
        return sum(len(batch.labels) for batch in self._calibration.retained)

    def scores(self, candidate: Candidate) -> tuple[dict[int, Scores], Scores]:
        """Return the scores of each forgotten class and of the retained ones, on all calibration images.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        return self._forgotten_scores(candidate), self._retained_scores(candidate)

    def anchor_forgotten(self) -> dict[int, Count]:
        """Return how many images of each forgotten class there are, and how many the anchor weights recognise.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        batches = self._calibration.forgotten
        correct = torch.cat([self._predictor.anchor_predictions(batch).correct for batch in batches])
        return {k: Count(int((own := self._labels == k).sum()), int(correct[own].sum())) for k in self._forgotten}

    def likeness(self, candidate: Candidate, resemblance: Resemblance) -> Likeness:
        """Measure how much a candidate looks as if it had never seen the forgotten classes; drop its answers.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        shown = self._calibration.forgotten, self._calibration.compared_batches
        for batches in shown:
            self._expect(candidate, batches)
            for batch in batches:
                self._predict(candidate, batch)
        forgotten, retained = (
            FeaturedAnswers.joined([self._answers[candidate.recipe, id(batch)] for batch in batches])
            for batches in shown
        )
        self.drop_answers(candidate)
        return measure_likeness(forgotten, retained, resemblance, self._scores)

    def anchor_likeness(self, resemblance: Resemblance) -> Likeness:
        """Measure the same for the anchor weights, which have seen the forgotten classes."""
        forgotten, retained = (
            FeaturedAnswers.joined([self._predictor.anchor_answers(batch) for batch in batches])
            for batches in (self._calibration.forgotten, self._calibration.compared_batches)
        )
        return measure_likeness(forgotten, retained, resemblance)

    def drop_answers(self, candidate: Candidate) -> None:
        """Forget the answers of a candidate, which take more memory than what is predicted from them."""
        self._dropped.add(candidate.recipe)
        for batch in self._calibration.batches:
            self._answers.pop((candidate.recipe, id(batch)), None)

    def passes_gates(self, candidate: Candidate) -> bool:
        """Whether a version with these weights would pass the gates, by all calibration images."""
        try:
            forgotten = self._forgotten_scores(candidate).values()
            if not all(self._settings.passes_forgotten(scores.accuracy) for scores in forgotten):
                return False
            retained = self._retained_scores(candidate)
        except NonFiniteError:
            return False
        return self._settings.passes_drop(self.masked_retained.accuracy - retained.accuracy)

    def _forgotten_scores(self, candidate: Candidate) -> dict[int, Scores]:
        self._expect(candidate, self._calibration.forgotten)
        predictions = [self._predict(candidate, batch) for batch in self._calibration.forgotten]
        return {k: Scores.of(predictions, self._labels == k) for k in self._forgotten}

    def _retained_scores(self, candidate: Candidate) -> Scores:
        self._expect(candidate, self._calibration.retained)
        return Scores.of([self._predict(candidate, batch) for batch in self._calibration.retained])

    def _forgetting(self, candidate: Candidate, at_least: int | None) -> ForgettingFinding:
        self._expect(candidate, self._calibration.forgotten, at_least)
        tally = ForgettingTally(self._limits)
        passed = True
        for batch in self._calibration.forgotten:
            tally.add(self._predict(candidate, batch), batch.labels)
            passed = tally.within_limits
            if not passed:
                break
            if at_least is not None and tally.images >= at_least:
                passed = tally.within_proportion
                break
        return ForgettingFinding(passed, tally.accuracy, tally.revealed)

    def _bar_test(self, candidate: Candidate) -> BarTest:
        """Show a candidate retained images until the bar is decided.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        calibration = self._calibration
        drawn, alike = calibration.drawn_batches, calibration.alike_batches
        masked = dict(zip(map(id, calibration.retained), self._masked, strict=True))
        most = [masked[id(batch)].confidence.double() for batch in alike]
        test = BarTest(
            self._settings.retained_bar,
            self._settings.early_error,
            sum(len(batch.labels) for batch in drawn),
            known=sum(len(batch.labels) for batch in alike),
            # Who answers an image best gains what the masked original's confidence lacks.
            least_known=-float(sum((1 - one).sum() for one in most)),
            first=FIRST_LOOK,
        )

        def losses(batch: Batch) -> list[float]:
            lost = masked[id(batch)].confidence - self._predict(candidate, batch).confidence
            return [float(one) for one in lost.double()]

        self._expect(candidate, drawn, FIRST_LOOK)
        place = 0
        while test.verdict is None:
            if test.wants_known:
                self._expect(candidate, alike)
                test.add_known([loss for batch in alike for loss in losses(batch)])
            else:
                # An engine computes a few ahead; what is not needed then is not lost, if the candidate is chosen.
                self._expect(candidate, drawn[place : place + LOOKED_AHEAD])
                test.add(losses(drawn[place]))
                place += 1
        return test

    def _losses(self, candidate: Candidate, at_least: int | None, *, until_clear: bool) -> tuple[float, float, float]:
        """Return the mean loss against the masked original, that against the anchor weights, and the first's error."""
        self._expect(candidate, self._calibration.retained, at_least)
        bar = self._settings.retained_bar
        losses: list[Tensor] = []  # float64 (n,) of each batch
        gains: list[Tensor] = []  # what the mask alone adds, likewise
        mean = error = 0.0
        for batch, masked, anchor in zip(self._calibration.retained, self._masked, self._anchor, strict=True):
            losses.append((masked.confidence - self._predict(candidate, batch).confidence).double())
            gains.append((masked.confidence - anchor.confidence).double())
            so_far = torch.cat(losses)
            mean = float(so_far.mean())
            error = float(so_far.std()) / math.sqrt(len(so_far)) if len(so_far) > 1 else 0.0
            if mean - DOUBT_STANDARD_ERRORS * error > bar:
                break
            unclear = until_clear and abs(mean - bar) <= error
            if at_least is not None and len(so_far) >= at_least and not unclear:
                break
        return mean, mean - float(torch.cat(gains).mean()), error

    def _expect(self, candidate: Candidate, batches: Sequence[Batch], at_least: int | None = None) -> None:
        """Say which batches a candidate will be shown, unless it is ruled out before."""
        shown: list[Batch] = []
        images = 0
        for batch in batches:
            if at_least is not None and images >= at_least:
                break
            images += len(batch.labels)
            if (candidate.recipe, id(batch)) not in self._predictions:
                shown.append(batch)
        self._predictor.expect(candidate, shown, featured=self._featured(candidate))

    def _predict(self, candidate: Candidate, batch: Batch) -> Predictions:
        """Return a candidate's predictions for a batch; all are remembered, at a few bytes an image."""
        known = candidate.recipe, id(batch)
        if known not in self._predictions:
            if self._featured(candidate):
                answers = self._answers[known] = self._predictor.answers(candidate, batch)
                self._predictions[known] = Predictions.of(answers.logits, batch.labels)
            else:
                self._predictions[known] = self._predictor.predict(candidate, batch)
        return self._predictions[known]

    def _featured(self, candidate: Candidate) -> bool:
        """Whether a candidate's features are read: once it is compared, only its predictions are of interest."""
        return candidate.recipe.solver in self._compared and candidate.recipe not in self._dropped
