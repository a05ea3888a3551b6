"""Choose among graded candidates: those of solvers that forget at any strength, so that strength is a matter of degree.

Deeper and stronger edits leave less of a class in the features and cost the retained classes more. Candidates are
shown images from the last layer down and from weak to strong, until one costs too much; of retained images each is
shown no more than it takes to tell whether it keeps the bar. The one that looks most as if it had never seen the
forgotten classes is chosen, if it keeps the bar on all calibration images; ties go to the deepest, and then to the
smallest edit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.algebra.strength import Strength
from ledger.domain.settings import Settings
from ledger.errors import PluginError
from ledger.hookspecs import GradedSolver, Solver

from .candidate import Candidate, CandidateBuilder, Recipe
from .evaluation import RetentionFinding
from .likeness import Resemblance
from .screening import SCREENED_FORGOTTEN_IMAGES, Contender
from .trials import TrialRecorder

Grid = tuple[tuple[float, float], ...]
"""Pairs of alphas, from weak to strong."""

DEPTH_TIE = 0.03
"""Candidates whose unlikeness differs by less look the same. Between depths it scatters more than at one depth, where
the features of the same images hardly change from one strength to the next."""
STRENGTH_TIE = 0.002
"""The same for candidates of one depth."""


@dataclass(frozen=True)
class _Judged:
    """A candidate that forgets, and keeps the bar as far as the images that it was shown tell."""

    recipe: Recipe
    size: float
    unlikeness: float


def grids(solvers: Mapping[str, Solver], settings: Settings) -> dict[str, Grid]:
    """Return the strengths to try of every graded solver: its own, or all pairs of alphas that the settings state.

    Args:
        solvers: By name.
        settings: Their alphas count where they are not the defaults, which are made for other solvers.

    Raises:
        PluginError: A solver's strengths are not pairs of numbers from 1.
    """
    stated = settings.alpha_r, settings.alpha_f
    pairs = tuple((alpha_r, alpha_f) for alpha_f in settings.alpha_f for alpha_r in settings.alpha_r)
    defaults = Settings()
    return {
        name: _strengths(name, solver) if stated == (defaults.alpha_r, defaults.alpha_f) else pairs
        for name, solver in solvers.items()
        if isinstance(solver, GradedSolver)
    }


def _strengths(name: str, solver: GradedSolver) -> Grid:
    """Return the strengths that a solver states, each once; it may be a stranger's."""
    try:
        pairs = tuple(dict.fromkeys((float(alpha_r), float(alpha_f)) for alpha_r, alpha_f in solver.strengths))
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or not all(1 <= alpha < math.inf for pair in pairs for alpha in pair):
        raise PluginError(
            f"the strengths of solver {name} are not pairs of numbers from 1",
            "they read like ((100.0, 1.0), (100.0, 10.0))",
        )
    return pairs


class GradedSearch:
    """Searches the depths and strengths of graded solvers.

    Args:
        builder: Builds candidates from shared factors.
        trials: Measures candidates and records them.
        settings: Depths, bar and gates.
        grids: Of each graded solver, the strengths to try.
        resemblance: What the forgotten classes resemble.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        trials: TrialRecorder,
        settings: Settings,
        grids: Mapping[str, Grid],
        resemblance: Resemblance,
    ) -> None:
        self._builder = builder
        self._trials = trials
        self._settings = settings
        self._grids = grids
        self._resemblance = resemblance
        self.beaten: list[Contender] = []
        """Candidates that forget the screened images but lose more than the bar, or seem to."""

    def run(self) -> Candidate | None:
        """Return the chosen candidate; None if none forgets and keeps the bar."""
        judged = [one for solver in self._grids for one in self._judged_of(solver)]
        while judged:
            best = _best_of(judged)
            judged.remove(best)
            candidate = self._builder.build(best.recipe)
            finding = self._trials.verify_retention(candidate)
            if self._keeps_bar(finding):
                return candidate
            # It was taken for one that keeps the bar by the images that it was shown first.
            self.beaten.append(Contender(candidate.recipe, candidate.size, finding.loss))
        return None

    def _judged_of(self, solver: str) -> list[_Judged]:
        found: list[_Judged] = []
        for depth in sorted(self._builder.depths(self._settings.depths)):
            own, forgot = self._judged_at(solver, depth)
            found += own
            if forgot and not own and found:
                break  # deeper edits only cost more
        return found

    def _judged_at(self, solver: str, depth: int) -> tuple[list[_Judged], bool]:
        """Return the candidates of one depth that seem to keep the bar, and whether any forgot."""
        found: list[_Judged] = []
        forgot = False
        costly: list[tuple[float, float]] = []
        before: Candidate | None = None
        for alphas in self._grids[solver]:
            if any(alphas[0] <= alpha_r and alphas[1] >= alpha_f for alpha_r, alpha_f in costly):
                continue  # what is stronger, or protects less, only costs more
            candidate = self._builder.build(Recipe(solver, depth, Strength(*alphas, self._classes)))
            if before is not None and candidate.has_weights_of(before):
                continue  # as where a class has too few images for groups, so that nothing hangs on a strength
            before = candidate
            if not self._trials.measure_forgetting(candidate, SCREENED_FORGOTTEN_IMAGES).passed:
                self._trials.drop_answers(candidate)
                continue
            forgot = True
            finding = self._trials.measure_bar(candidate)
            if not finding.keeps:
                self.beaten.append(Contender(candidate.recipe, candidate.size, finding.loss))
                self._trials.drop_answers(candidate)
                costly.append(alphas)
                continue
            found += self._compared(candidate)
        return found, forgot

    def _compared(self, candidate: Candidate) -> list[_Judged]:
        """Measure a candidate on all images of forgotten classes, and by what the candidates are compared."""
        if not self._trials.measure_forgetting(candidate).passed:
            self._trials.drop_answers(candidate)
            return []
        likeness = self._trials.measure_likeness(candidate, self._resemblance)
        return [_Judged(candidate.recipe, candidate.size, likeness.unlikeness)]

    def _keeps_bar(self, finding: RetentionFinding) -> bool:
        # The bar has to be kept beyond the calibration images: with few of them, the loss is known less well.
        return finding.loss + finding.error <= self._settings.retained_bar

    @property
    def _classes(self) -> int:
        return max(1, len(self._resemblance.mixtures))


def _best_of(judged: Sequence[_Judged]) -> _Judged:
    # A shallow edit that looks as good as a deep one has left the class in the layers before it.
    near = _within(judged, DEPTH_TIE)
    deepest = max(one.recipe.depth for one in near)
    same = _within([one for one in near if one.recipe.depth == deepest], STRENGTH_TIE)
    return min(same, key=lambda one: (one.size, one.recipe))


def _within(candidates: Sequence[_Judged], tie: float) -> list[_Judged]:
    """Return the candidates that look as good as the best of them."""
    least = min(one.unlikeness for one in candidates)
    return [one for one in candidates if one.unlikeness <= least + tie]
