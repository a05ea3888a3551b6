"""Choose solver, depth and alphas on calibration images, among edits that keep the retained bar.

*Depth* is the number of layers edited, counted from the output. The deeper an edit, the less it leaves of a class in
the features. But classes that share their parts cannot be taken apart in early layers, and there a deep edit ruins
the others (``docs/adr/0007-search.md``).

Graded solvers, which forget at any strength, go first (``graded_search``). Where none of their candidates keeps the
bar, candidates of the others are screened on few images at every depth, from the last layer down. Then the deepest
contenders are verified on all calibration images, the most promising first, until one forgets and keeps the bar; ties
go to the smallest edit. Test images play no part, and the result is a function of the forgotten set.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ledger.domain.settings import Settings

from .candidate import Candidate, CandidateBuilder
from .evaluation import CandidateEvaluator
from .graded_search import GradedSearch, Grid
from .likeness import Resemblance
from .predictor import Predictor
from .screening import CONFIDENCE_TIE, Contender, DepthScreening, Screening
from .search_result import SearchResult
from .tally import MIN_CONFIDENCE_LIMIT
from .trials import TrialRecorder

MAX_SECOND_LOOKS = 24
"""Candidates that are measured again, on more images, where none was good enough."""


class RecipeSearch:
    """One search, for one forgotten set.

    Args:
        builder: Builds candidates from shared factors.
        predictor: Predicts calibration images with candidates.
        classes: Number of outputs of the network.
        forgotten: The classes to forget.
        settings: Solvers, grid, bar and gates.
        grids: Of each graded solver, the strengths to try. Graded solvers go first; the others are tried if none of
            their candidates keeps the bar.
        resemblance: What the forgotten classes resemble; None where class spaces do not tell: then no solver is graded.
        on_trial: Called after each trial.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        predictor: Predictor,
        classes: int,
        forgotten: frozenset[int],
        settings: Settings,
        *,
        grids: Mapping[str, Grid] | None = None,
        resemblance: Resemblance | None = None,
        on_trial: Callable[[], None] = lambda: None,
    ) -> None:
        graded = dict(grids or {}) if resemblance is not None else {}
        self._builder = builder
        self._settings = settings
        self._resemblance = resemblance if graded else None
        self._evaluator = CandidateEvaluator(predictor, classes, sorted(forgotten), settings, compared=graded)
        self._trials = TrialRecorder(self._evaluator, on_trial)
        self._graded = (
            GradedSearch(builder, self._trials, settings, graded, resemblance) if graded and resemblance else None
        )
        others = [solver for solver in settings.solvers if solver not in graded]
        self._screening = Screening(builder, self._trials, settings, len(forgotten), others)
        self._beaten: list[Contender] = []

    def run(self) -> SearchResult:
        """Search; where nothing keeps the bar, return what forgets and loses least, else what forgets most.

        If that would miss a gate and another candidate that was tried would not, return that one.

        Raises:
            NonFiniteError: Every candidate answers NaN or infinity.
        """
        if self._graded is not None:
            if (found := self._graded.run()) is not None:
                return self._result(found)
            self._beaten += self._graded.beaten
        for screened in reversed(self._screen_depths()):
            winner = self._best_of(screened.keeping)
            if winner is None and screened.unfinished:
                rest = self._screening.finish(screened)
                self._beaten += rest.beaten
                winner = self._best_of(rest.keeping)
            if winner is not None:
                return self._result(winner)
        least_bad = self._least_bad()
        passing = None if self._evaluator.passes_gates(least_bad) else self._passing_gates()
        return self._result(passing or least_bad)

    def _screen_depths(self) -> list[DepthScreening]:
        """Screen from shallow to deep; return the depths with contenders that keep the bar."""
        keeping: list[DepthScreening] = []
        for depth in sorted(self._builder.depths(self._settings.depths)):
            screened = self._screening.screen(depth)
            self._beaten += screened.beaten
            if screened.keeping:
                keeping.append(screened)
            elif screened.forgot and keeping:
                break  # deeper edits only cost more
        return keeping

    def _best_of(self, contenders: list[Contender]) -> Candidate | None:
        """Verify the most promising on all images until one forgets and keeps the bar."""
        while contenders:
            best = _most_promising(contenders)
            contenders.remove(best)
            candidate = self._builder.build(best.recipe)
            if not self._trials.measure_forgetting(candidate).passed:
                stronger = self._screening.next_stronger(best.recipe)
                if stronger is not None:
                    (contenders if self._screening.keeps_bar(stronger) else self._beaten).append(stronger)
                continue
            verified = replace(best, loss=self._trials.measure_retention(candidate).loss)
            if self._screening.keeps_bar(verified):
                return candidate
            self._beaten.append(verified)
        return None

    def _least_bad(self) -> Candidate:
        """Return the candidate that forgets and loses least, though more than the bar.

        If none forgets: of those that forget most, the one that loses least.
        """
        while self._beaten:
            best = _most_promising(self._beaten)
            self._beaten.remove(best)
            candidate = self._builder.build(best.recipe)
            if self._trials.measure_forgetting(candidate).passed:
                return candidate
            if (stronger := self._screening.next_stronger(best.recipe)) is not None:
                self._beaten.append(stronger)
        revealed = self._trials.revealed
        enough = min(revealed.values()) + MIN_CONFIDENCE_LIMIT
        near = [recipe for recipe in revealed if revealed[recipe] <= enough]
        near.sort(key=lambda recipe: (revealed[recipe], recipe))
        measured = [self._screening.contender(self._builder.build(recipe)) for recipe in near[:MAX_SECOND_LOOKS]]
        return self._builder.build(_most_promising(measured).recipe)

    def _passing_gates(self) -> Candidate | None:
        """Return the deepest edit that passes the gates, even if it reveals more than the search aims for.

        Screening is stricter than the gates, since accuracy on unseen images scatters. Edits that keep the bar go
        first.
        """
        trials, revealed = self._trials.trials, self._trials.revealed
        near = [recipe for recipe in trials if self._settings.passes_forgotten(trials[recipe].forgotten)]
        near.sort(key=lambda recipe: (-recipe.depth, revealed.get(recipe, math.inf), recipe))
        second = None
        for recipe in near[:MAX_SECOND_LOOKS]:
            candidate = self._builder.build(recipe)
            if self._evaluator.passes_gates(candidate):
                if self._trials.measure_retention(candidate).loss <= self._settings.retained_bar:
                    return candidate
                second = second or candidate
        return second

    def _result(self, candidate: Candidate) -> SearchResult:
        forgotten, retained = self._evaluator.scores(candidate)
        trials = tuple(self._trials.trials.values())
        return SearchResult(
            candidate,
            forgotten,
            retained,
            self._evaluator.anchor_retained,
            self._evaluator.masked_retained,
            self._evaluator.anchor_forgotten(),
            trials,
            None if self._resemblance is None else self._evaluator.anchor_likeness(self._resemblance),
            self._trials.likeness.get(candidate.recipe),
            self._evaluator.retained_images,
            None if self._graded is None else self._settings.early_error,
        )


def _most_promising(contenders: Sequence[Contender]) -> Contender:
    """Return the smallest edit among those that lose least."""
    least = min(c.loss for c in contenders)
    return min((c for c in contenders if c.loss <= least + CONFIDENCE_TIE), key=lambda c: (c.size, c.recipe))
