"""Choose solver, depth and alphas on calibration images: the deepest edit that keeps the retained bar.

*Depth* is the number of layers edited, counted from the output. The deeper an edit, the less it leaves of a class in
the features; but classes that share their parts cannot be taken apart in early layers, and there a deep edit ruins
the others (``docs/adr/0007-search.md``).

Candidates are screened on a few images at every depth, from the last layer down, each depth starting at the strengths
that the one before ended with. For each solver and ``alpha_r`` the weakest ``alpha_f`` that forgets is looked for: a
stronger one forgets more and costs more. Then the deepest candidates are verified on all calibration images, the
most promising first, until one forgets and keeps the bar; near-ties go to the smallest edit. No test image is ever
looked at, and the result is a function of the forgotten set.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ledger.algebra.strength import Strength
from ledger.domain.settings import Settings

from .calibration import Panel
from .candidate import Candidate, CandidateBuilder, Recipe
from .evaluation import LEAST_CONFIDENCE, Examiner
from .search_result import SearchResult

TIE = 0.0025
"""Retained confidences closer than this are a tie."""
SCREEN = 96
"""Retained images that rank candidates, more where these do not tell; the winner is verified on all."""
SCREEN_FORGOTTEN = 64
"""Forgotten images that candidates are screened on before they are ranked."""
SECOND_LOOKS = 24
"""Candidates that are looked at again, on all images, where none was good enough."""


@dataclass(frozen=True)
class _Place:
    """Where on the grid a solver stands."""

    row: int
    """Of ``alpha_r``."""
    position: int
    """Of ``alpha_f``."""
    excess: float
    """Confidence that its best candidate at the depth before lost; infinite if none forgot."""


@dataclass(frozen=True)
class _Contender:
    """A candidate that forgets the images of the first batch, and how it fared on the retained ones it was shown."""

    recipe: Recipe
    size: float
    excess: float
    """Confidence lost on retained images, against the registered weights."""


@dataclass(frozen=True)
class _Level:
    """What was found at one depth."""

    depth: int
    contenders: list[_Contender]
    """Those that keep the bar, as far as they were looked at."""
    forgot: bool
    """Whether anything forgot, bar or not."""
    unneeded: tuple[str, ...]
    """Solvers of which not everything was looked at, since another one lost nothing."""
    places: dict[str, _Place]
    """Where the solvers stood before."""


class RecipeSearch:
    """One search, for one forgotten set.

    Args:
        builder: Makes candidates from shared factors.
        panel: Shows candidates calibration images.
        classes: How many the network knows.
        forgotten: The classes to forget.
        settings: Solvers, grid, bar and gate.
        on_trial: Called after each trial.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        panel: Panel,
        classes: int,
        forgotten: frozenset[int],
        settings: Settings,
        *,
        on_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self._builder = builder
        self._settings = settings
        self._classes = len(forgotten)
        self._examiner = Examiner(panel, classes, sorted(forgotten), settings, on_trial)
        self._beaten: list[_Contender] = []
        # One that was never tried goes before one that lost something, and after one that did not.
        self._places: dict[str, _Place] = dict.fromkeys(settings.solvers, _Place(0, 0, TIE))

    def run(self) -> SearchResult:
        """Search; where nothing keeps the bar, return what forgets and retains most, else what forgets most.

        If that would miss a gate and something else that was tried would not, return that.
        """
        levels: list[_Level] = []
        for depth in sorted(self._builder.depths(self._settings.depths)):
            # Solvers that did well at the depth before go first.
            order = sorted(self._places, key=lambda name: self._places[name].excess)
            level = self._level(depth, order)
            if level.contenders:
                levels.append(level)
            elif level.forgot and levels:
                break  # deeper edits only cost more
        for level in reversed(levels):
            winner = self._best_of(level.contenders)
            if winner is None and level.unneeded:
                self._places = level.places
                winner = self._best_of(self._level(level.depth, level.unneeded).contenders)
            if winner is not None:
                return self._result(winner)
        least_bad = self._least_bad()
        passing = None if self._examiner.passes_gates(least_bad) else self._passing_gates()
        return self._result(passing or least_bad)

    # -- which candidates stand for a depth -------------------------------------------------------

    def _level(self, depth: int, solvers: Sequence[str]) -> _Level:
        """Look for candidates until one loses nothing that can be seen: of every solver one, and then the others."""
        before = dict(self._places)
        found: dict[str, list[_Contender]] = {}
        unneeded: tuple[str, ...] = ()
        for solver, contenders in self._in_turns(depth, solvers):
            found.setdefault(solver, []).extend(contenders)
            if any(c.excess <= TIE for c in contenders):
                unneeded = tuple(other for other in solvers if other != solver)
                break
        for solver, own in found.items():
            self._places[solver] = self._place(solver, min(own, key=_promise, default=None))
        everything = [contender for own in found.values() for contender in own]
        keeping = [c for c in everything if self._keeps_bar(c)]
        self._beaten += [c for c in everything if not self._keeps_bar(c)]
        return _Level(depth, keeping, bool(everything), unneeded, before)

    def _in_turns(self, depth: int, solvers: Sequence[str]) -> Iterator[tuple[str, list[_Contender]]]:
        """Yield of every solver its first contender, or none, and then the others one by one."""
        walks = {solver: self._contenders_of(solver, depth, self._places[solver]) for solver in solvers}
        for solver, walk in walks.items():
            yield solver, list(islice(walk, 1))
        for solver, walk in walks.items():
            for contender in walk:
                yield solver, [contender]

    def _place(self, solver: str, best: _Contender | None) -> _Place:
        """Return where a solver stands after a depth at which this was its best."""
        if best is None:
            return replace(self._places[solver], excess=math.inf)
        strength = best.recipe.strength
        row = self._settings.alpha_r.index(strength.alpha_r)
        return _Place(row, self._position(strength.alpha_f), best.excess)

    def _contenders_of(self, solver: str, depth: int, place: _Place) -> Iterator[_Contender]:
        """Start at the ``alpha_r`` that was best at the depth before; go on to larger ones, else to smaller ones."""
        keeping = False
        for contender in self._walk(solver, depth, range(place.row, len(self._settings.alpha_r)), place.position):
            keeping = keeping or self._keeps_bar(contender)
            yield contender
        if not keeping:
            yield from self._walk(solver, depth, range(place.row - 1, -1, -1), place.position)

    def _walk(self, solver: str, depth: int, rows: range, position: int) -> Iterator[_Contender]:
        """Go from ``alpha_r`` to ``alpha_r`` while the weakest that forgets loses something, but less each time.

        The larger ``alpha_r``, the less is forgotten at the same ``alpha_f``: a larger one starts where the last ended.
        """
        last: _Contender | None = None
        for row in rows:
            contender, reached = self._weakest(solver, depth, self._settings.alpha_r[row], position)
            if contender is not None:
                yield contender
                if contender.excess <= TIE or (last is not None and contender.excess >= last.excess - TIE):
                    break
                last, position = contender, reached
            elif last is not None or reached == len(self._settings.alpha_f):
                break
            elif rows.step > 0:
                position = reached

    def _keeps_bar(self, contender: _Contender) -> bool:
        return contender.excess <= self._settings.retained_bar

    def _position(self, alpha_f: float) -> int:
        return self._settings.alpha_f.index(alpha_f)

    def _weakest(self, solver: str, depth: int, alpha_r: float, start: int) -> tuple[_Contender | None, int]:
        """Return the candidate of the weakest ``alpha_f`` that forgets, and how far the search for it went.

        From ``start`` one step up or down, then two at a time until the answer changes, and back by one. Gives up
        where a candidate neither forgets nor retains: a stronger one would retain even less. Where even the strongest
        does not forget, that is past the end of the grid.
        """
        weak, strong, stride, position = -1, len(self._settings.alpha_f), 1, start
        end, weakest = strong, None
        while strong - weak > 1:
            candidate = self._candidate(solver, depth, alpha_r, self._settings.alpha_f[position])
            if self._examiner.forgets(candidate, SCREEN_FORGOTTEN):
                strong, weakest = position, candidate
            elif strong == end and self._examiner.excess(candidate, 1) > self._settings.retained_bar:
                return None, position
            else:
                weak = position
            if strong == end:
                position = min(weak + stride, end - 1)
            elif weak < 0:
                position = max(strong - stride, 0)
            else:
                position = (weak + strong) // 2
            stride = 2
            del candidate  # before the next one takes memory
        return (None if weakest is None else self._contender(weakest)), strong

    def _contender(self, candidate: Candidate) -> _Contender:
        return _Contender(candidate.recipe, candidate.size, self._examiner.excess(candidate, SCREEN, clear=True))

    def _candidate(self, solver: str, depth: int, alpha_r: float, alpha_f: float) -> Candidate:
        return self._builder.build(Recipe(solver, depth, Strength(alpha_r, alpha_f, self._classes)))

    def _stronger(self, recipe: Recipe) -> _Contender | None:
        """Return the same with the next ``alpha_f`` that forgets, after one that turned out not to."""
        for alpha_f in self._settings.alpha_f[self._position(recipe.strength.alpha_f) + 1 :]:
            candidate = self._candidate(recipe.solver, recipe.depth, recipe.strength.alpha_r, alpha_f)
            if self._examiner.forgets(candidate, SCREEN_FORGOTTEN):
                return self._contender(candidate)
            if self._examiner.excess(candidate, 1) > self._settings.retained_bar:
                break
        return None

    # -- which of them wins -----------------------------------------------------------------------

    def _best_of(self, contenders: list[_Contender]) -> Candidate | None:
        """Verify the most promising on all images until one forgets and keeps the bar."""
        while contenders:
            best = _most_promising(contenders)
            contenders.remove(best)
            candidate = self._builder.build(best.recipe)
            if not self._examiner.forgets(candidate):
                stronger = self._stronger(best.recipe)
                if stronger is not None:
                    (contenders if self._keeps_bar(stronger) else self._beaten).append(stronger)
                continue
            verified = replace(best, excess=self._examiner.excess(candidate))
            if self._keeps_bar(verified):
                return candidate
            self._beaten.append(verified)
        return None

    def _least_bad(self) -> Candidate:
        """Return what forgets and loses least, though more than the bar; else, of what forgets most, the same."""
        while self._beaten:
            best = _most_promising(self._beaten)
            self._beaten.remove(best)
            candidate = self._builder.build(best.recipe)
            if self._examiner.forgets(candidate):
                return candidate
            if (stronger := self._stronger(best.recipe)) is not None:
                self._beaten.append(stronger)
        left = self._examiner.left
        enough = min(left.values()) + LEAST_CONFIDENCE
        near = sorted((recipe for recipe in left if left[recipe] <= enough), key=lambda recipe: (left[recipe], recipe))
        looked_at = [self._contender(self._builder.build(recipe)) for recipe in near[:SECOND_LOOKS]]
        return self._builder.build(_most_promising(looked_at).recipe)

    def _passing_gates(self) -> Candidate | None:
        """Return the deepest edit that passes the gates though it gives more away than we aim for.

        The exam is stricter than the gates, since unseen images scatter. Edits that keep the bar go first.
        """
        trials = self._examiner.trials
        near = [recipe for recipe in trials if self._settings.passes_forgotten(trials[recipe].forgotten)]
        near.sort(key=lambda recipe: (-recipe.depth, self._examiner.left.get(recipe, math.inf), recipe))
        second = None
        for recipe in near[:SECOND_LOOKS]:
            candidate = self._builder.build(recipe)
            if self._examiner.passes_gates(candidate):
                if self._examiner.excess(candidate) <= self._settings.retained_bar:
                    return candidate
                second = second or candidate
        return second

    def _result(self, candidate: Candidate) -> SearchResult:
        forgotten, retained = self._examiner.judge(candidate)
        trials = tuple(self._examiner.trials.values())
        return SearchResult(candidate, forgotten, retained, self._examiner.base_retained, trials)


def _most_promising(contenders: Sequence[_Contender]) -> _Contender:
    """Return the smallest edit among those that lose least."""
    least = min(c.excess for c in contenders)
    return min((c for c in contenders if c.excess <= least + TIE), key=lambda c: (c.size, c.recipe))


def _promise(contender: _Contender) -> tuple[float, float]:
    return contender.excess, contender.size
