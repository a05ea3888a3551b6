"""Show candidates calibration images, as few as it takes to tell, and remember what was found of each.

Confidence, the mean probability of the true class, judges beside accuracy because a few dozen training
images that a network knows by heart are all still right long before unseen ones suffer
(``docs/adr/0003-choosing-alpha.md``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ledger.domain.settings import Settings
from ledger.errors import NonFiniteError

from .calibration import Answers, Batch, Judgement, Panel
from .candidate import Candidate, Recipe

TARGET = 0.5
"""Share of the gate that calibration accuracy may use up: unseen images scatter around it."""
LEAST_CONFIDENCE = 0.02
"""Mean probability that a forgotten class may keep however many classes there are; else an even guess."""
DOUBT = 3.0
"""Standard errors by which a race must be lost to be given up early."""


@dataclass(frozen=True)
class Trial:
    """One candidate that was tried."""

    solver: str
    depth: int
    alpha_r: float
    alpha_f: float
    edit: float | None
    """Root mean square of the maps' relative changes; None if it is not finite."""
    forgotten: float
    """Highest calibration accuracy of a forgotten class, over the images seen before it was judged."""
    passed: bool
    """Whether every forgotten class met the target, on the images seen."""
    retained: float | None = None
    """Confidence on the retained classes; None if it was not needed or could not win."""


class Examiner:
    """Says of candidates whether they forget and what they cost.

    Args:
        panel: Shows candidates calibration images.
        classes: How many the network knows.
        forgotten: The classes to forget, in order.
        settings: Bar and gate.
        on_trial: Called for each candidate when it is first looked at.
    """

    def __init__(
        self, panel: Panel, classes: int, forgotten: list[int], settings: Settings, on_trial: Callable[[], None]
    ) -> None:
        self._calibration = panel.calibration
        self._panel = panel
        self._forgotten = forgotten
        self._bar = settings.retained_bar
        self._settings = settings
        self._on_trial = on_trial
        self._most_confidence = max(1 / classes, LEAST_CONFIDENCE)
        self._labels = torch.cat([batch.labels for batch in self._calibration.forgotten])
        self._images_of = torch.bincount(self._labels, minlength=classes).double()
        self._allowed_close = (settings.max_forgotten_accuracy * self._images_of).floor()
        self._allowed_hits = (settings.max_forgotten_accuracy * TARGET * self._images_of).floor()
        self._base = [panel.base(batch) for batch in self._calibration.retained]
        self.base_retained = Judgement.of(self._base)
        self.trials: dict[Recipe, Trial] = {}
        self.left: dict[Recipe, float] = {}
        """What the first images give away under each candidate."""
        self._answers: dict[tuple[Recipe, int], Answers] = {}

    def forgets(self, candidate: Candidate, most: int | None = None) -> bool:
        """Whether every forgotten class stays within its allowance, on at most so many images (None: all of them).

        Stops at the first batch that leaves no hope: hits and close calls only add up, and a mean confidence above the
        limit beyond doubt will not come down. A class must stay within all three on all its images in the end.
        A candidate that answers NaN or infinity does not forget.
        """
        try:
            return self._forgets(candidate, most)
        except NonFiniteError:
            self.left[candidate.recipe] = math.inf
            self._note(candidate, forgotten=1.0, passed=False)
            return False

    def excess(self, candidate: Candidate, most: int | None = None, *, clear: bool = False) -> float:
        """Return how much confidence a candidate loses on at most so many retained images (None: all of them).

        Stops as soon as the loss is above the bar beyond doubt: by ``DOUBT`` standard errors of the paired differences.
        With ``clear`` it goes on beyond ``most`` while the bar lies within one standard error of the loss: a deep edit
        that keeps the bar on all images is often above it on the first hundred.
        A candidate that answers NaN or infinity loses more than any other.
        """
        try:
            lost = self._lost(candidate, most, clear=clear)
        except NonFiniteError:
            self._note(candidate, retained=0.0)
            return math.inf
        self._note(candidate, retained=self.base_retained.confidence - lost)
        return lost

    def judge(self, candidate: Candidate) -> tuple[dict[int, Judgement], Judgement]:
        """Return each forgotten class and the retained ones under a candidate, on all calibration images.

        Raises:
            NonFiniteError: An answer is NaN or infinite.
        """
        return self._judge_forgotten(candidate), self._judge_retained(candidate)

    def passes_gates(self, candidate: Candidate) -> bool:
        """Whether a version with these weights would pass the gates, by all calibration images."""
        try:
            if not all(self._settings.passes_forgotten(j.accuracy) for j in self._judge_forgotten(candidate).values()):
                return False
            retained = self._judge_retained(candidate)
        except NonFiniteError:
            return False
        return self._settings.passes_drop(self.base_retained.accuracy - retained.accuracy)

    def _judge_forgotten(self, candidate: Candidate) -> dict[int, Judgement]:
        inside = [self._ask(candidate, batch) for batch in self._calibration.forgotten]
        return {k: Judgement.of(inside, self._labels == k) for k in self._forgotten}

    def _judge_retained(self, candidate: Candidate) -> Judgement:
        return Judgement.of([self._ask(candidate, batch) for batch in self._calibration.retained])

    def _forgets(self, candidate: Candidate, most: int | None) -> bool:
        seen, hits, close, mass, squares = torch.zeros(5, len(self._images_of), dtype=torch.float64)
        passed = True
        for batch in self._calibration.forgotten:
            answers = self._ask(candidate, batch)
            confidence = answers.confidence.double()
            for total, values in (
                (seen, torch.ones_like(confidence)),
                (hits, answers.correct.double()),
                (close, answers.close.double()),
                (mass, confidence),
                (squares, confidence.square()),
            ):
                total.index_add_(0, batch.labels, values)
            count = seen.clamp_min(1.0)
            mean = mass / count
            error = ((squares / count - mean.square()).clamp_min(0.0) / count).sqrt()
            # Once all its images are in, a class's mean is beyond doubt.
            doubt = torch.where(seen < self._images_of, DOUBT * error, 0.0)
            over = (hits > self._allowed_hits) | (close > self._allowed_close)
            passed = not bool((over | (mean - doubt > self._most_confidence)).any())
            if not passed:
                break
            if most is not None and seen.sum() >= most:
                # Of what a class may keep on all its images, its part on these.
                share = seen / self._images_of.clamp_min(1.0)
                over = (hits > (share * self._allowed_hits).round()) | (close > (share * self._allowed_close).round())
                passed = not bool(over.any())
                break
        # Of two that do not forget, the one whose first images give least away; both saw those.
        self.left.setdefault(candidate.recipe, float((hits + mass).max() / seen.max()))
        self._note(candidate, forgotten=float((hits / seen.clamp_min(1.0)).max()), passed=passed)
        return passed

    def _lost(self, candidate: Candidate, most: int | None, *, clear: bool) -> float:
        lost: list[Tensor] = []
        mean = 0.0
        for batch, base in zip(self._calibration.retained, self._base, strict=True):
            lost.append((base.confidence - self._ask(candidate, batch).confidence).double())
            so_far = torch.cat(lost)
            mean = float(so_far.mean())
            error = float(so_far.std()) / math.sqrt(len(so_far)) if len(so_far) > 1 else 0.0
            if mean - DOUBT * error > self._bar:
                break
            if most is not None and len(so_far) >= most and not (clear and abs(mean - self._bar) <= error):
                break
        return mean

    def _ask(self, candidate: Candidate, batch: Batch) -> Answers:
        """Return a candidate's answers to a batch; all are remembered, which takes a few bytes an image."""
        known = candidate.recipe, id(batch)
        if known not in self._answers:
            self._answers[known] = self._panel.ask(candidate, batch)
        return self._answers[known]

    def _note(self, candidate: Candidate, **findings: Any) -> None:
        """Remember what was found of a candidate."""
        recipe = candidate.recipe
        if recipe not in self.trials:
            alphas = recipe.strength.alpha_r, recipe.strength.alpha_f
            edit = candidate.size if math.isfinite(candidate.size) else None
            self.trials[recipe] = Trial(recipe.solver, recipe.depth, *alphas, edit, 0.0, passed=False)
            self._on_trial()
        self.trials[recipe] = replace(self.trials[recipe], **findings)
