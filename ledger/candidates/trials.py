"""Trials: the record of every candidate that a search measured."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from .candidate import Candidate, Recipe
from .evaluation import BarFinding, CandidateEvaluator, ForgettingFinding, RetentionFinding
from .likeness import Likeness, Resemblance


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
    separability: float | None = None
    """How well features tell forgotten images from their look-alikes, as
    :class:`~ledger.candidates.likeness.Likeness` has it; None if it was not measured."""
    divergence: float | None = None
    """How far answers to forgotten images are from what these resemble; None likewise."""
    shown: int | None = None
    """Retained images that it was shown before it was judged, or compared with others; None if none. What is chosen is
    shown all in the end."""


class TrialRecorder:
    """Measures candidates and records what was found: one trial a recipe, of which a later finding replaces an earlier.

    Args:
        evaluator: Measures.
        on_trial: Called for each recipe when it is first measured.
    """

    def __init__(self, evaluator: CandidateEvaluator, on_trial: Callable[[], None] = lambda: None) -> None:
        self._evaluator = evaluator
        self._on_trial = on_trial
        self._trials: dict[Recipe, Trial] = {}
        self._revealed: dict[Recipe, float] = {}
        self.likeness: dict[Recipe, Likeness] = {}
        """How much candidates look as if they had never seen the forgotten classes, where it was measured."""

    @property
    def trials(self) -> Mapping[Recipe, Trial]:
        """The trials so far, in the order in which their recipes were first measured."""
        return MappingProxyType(self._trials)

    @property
    def revealed(self) -> Mapping[Recipe, float]:
        """How much of a class each recipe reveals on the first images it was shown; infinite if it answered NaN."""
        return MappingProxyType(self._revealed)

    def measure_forgetting(self, candidate: Candidate, at_least: int | None = None) -> ForgettingFinding:
        """Measure and record whether a candidate forgets; see :meth:`CandidateEvaluator.forgetting`."""
        finding = self._evaluator.forgetting(candidate, at_least)
        # Failures are ranked by how much of a class their first images reveal: every candidate was shown those.
        if math.isinf(finding.revealed):
            self._revealed[candidate.recipe] = finding.revealed
        else:
            self._revealed.setdefault(candidate.recipe, finding.revealed)
        trial = self._trial(candidate)
        self._trials[candidate.recipe] = replace(trial, forgotten=finding.accuracy, passed=finding.passed)
        return finding

    def measure_retention(
        self, candidate: Candidate, at_least: int | None = None, *, until_clear: bool = False
    ) -> RetentionFinding:
        """Measure and record what a candidate loses; see :meth:`CandidateEvaluator.retention`."""
        finding = self._evaluator.retention(candidate, at_least, until_clear=until_clear)
        self._note_retained(candidate, finding.confidence)
        return finding

    def measure_bar(self, candidate: Candidate) -> BarFinding:
        """Measure and record whether a candidate keeps the retained bar; see :meth:`CandidateEvaluator.bar`."""
        finding = self._evaluator.bar(candidate)
        self._note_retained(candidate, finding.confidence)
        return finding

    def verify_retention(self, candidate: Candidate) -> RetentionFinding:
        """Measure on all retained images what a candidate loses that was judged by fewer."""
        finding = self._evaluator.retention(candidate)
        self._trials[candidate.recipe] = replace(self._trial(candidate), retained=finding.confidence)
        return finding

    def measure_likeness(self, candidate: Candidate, resemblance: Resemblance) -> Likeness:
        """Measure and record whether a candidate looks as if it had never seen the forgotten classes."""
        found = self._evaluator.likeness(candidate, resemblance)
        self.likeness[candidate.recipe] = found
        self._trials[candidate.recipe] = replace(
            self._trial(candidate),
            separability=found.separability,
            divergence=found.divergence,
            shown=self._evaluator.retained_shown(candidate),
        )
        return found

    def drop_answers(self, candidate: Candidate) -> None:
        """Free what is kept of a candidate for :meth:`measure_likeness`."""
        self._evaluator.drop_answers(candidate)

    def _note_retained(self, candidate: Candidate, confidence: float) -> None:
        shown = self._evaluator.retained_shown(candidate)
        self._trials[candidate.recipe] = replace(self._trial(candidate), retained=confidence, shown=shown)

    def _trial(self, candidate: Candidate) -> Trial:
        """Return the trial recorded of a candidate, a new one if it is the first."""
        recipe = candidate.recipe
        if recipe not in self._trials:
            edit = candidate.size if math.isfinite(candidate.size) else None
            alphas = recipe.strength.alpha_r, recipe.strength.alpha_f
            self._trials[recipe] = Trial(recipe.solver, recipe.depth, *alphas, edit, 0.0, passed=False)
            self._on_trial()
        return self._trials[recipe]
