"""Screen candidates of one depth: for each solver and ``alpha_r`` the weakest ``alpha_f`` that forgets, on few images.

A stronger candidate forgets more and costs more, so weaker ones come first. Each depth starts at the strengths that the
depth before ended with.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ledger.algebra.strength import Strength
from ledger.domain.settings import Settings

from .alpha_bracket import AlphaBracket
from .candidate import Candidate, CandidateBuilder, Recipe
from .trials import TrialRecorder

CONFIDENCE_TIE = 0.0025
"""Losses of retained confidence that differ by less are a tie; a smaller loss is none at all."""
SCREENED_RETAINED_IMAGES = 96
"""Retained images that rank candidates; more where these leave it open whether the bar is kept."""
SCREENED_FORGOTTEN_IMAGES = 64
"""Forgotten images that a candidate must pass to be ranked."""


@dataclass(frozen=True)
class Contender:
    """A candidate that forgets the screened images."""

    recipe: Recipe
    size: float
    """Of the edit, as :attr:`Candidate.size`."""
    loss: float
    """Confidence lost on the retained images it was shown, against the masked original."""


@dataclass(frozen=True)
class DepthScreening:
    """The result of screening one depth."""

    depth: int
    keeping: list[Contender]
    """Contenders that keep the bar."""
    beaten: list[Contender]
    """Contenders that lose more than the bar."""
    unfinished: tuple[str, ...]
    """Solvers that were cut short because another one lost nothing."""
    starts: dict[str, "GridStart"]
    """Where each solver started."""

    @property
    def forgot(self) -> bool:
        """Whether any candidate forgot, whatever it cost."""
        return bool(self.keeping or self.beaten)


@dataclass(frozen=True)
class GridStart:
    """Where on the grid of strengths a solver starts at the next depth."""

    row: int
    """Index of ``alpha_r``."""
    column: int
    """Index of ``alpha_f``."""
    loss: float
    """Confidence that its best candidate lost at the depth before; infinite if none forgot."""


class Screening:
    """Screens depth after depth, and remembers where each solver ended.

    Args:
        builder: Builds candidates from shared factors.
        trials: Measures candidates and records them.
        settings: Solvers, grid and bar.
        classes: Number of classes to forget.
        solvers: Those whose strengths are searched for the weakest that forgets; if not given, all of the settings.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        trials: TrialRecorder,
        settings: Settings,
        classes: int,
        solvers: Sequence[str] | None = None,
    ) -> None:
        self._builder = builder
        self._trials = trials
        self._settings = settings
        self._classes = classes
        # A solver that was never tried comes after one that lost nothing and before one that lost something.
        self._starts = {
            solver: GridStart(0, 0, CONFIDENCE_TIE) for solver in (settings.solvers if solvers is None else solvers)
        }

    def screen(self, depth: int) -> DepthScreening:
        """Screen one depth. Solvers that lost least at the depth before go first."""
        return self._screen(depth, sorted(self._starts, key=lambda solver: self._starts[solver].loss))

    def finish(self, screened: DepthScreening) -> DepthScreening:
        """Screen a depth again, with the solvers that were cut short, from where they started."""
        self._starts = screened.starts
        return self._screen(screened.depth, screened.unfinished)

    def keeps_bar(self, contender: Contender) -> bool:
        """Whether a contender loses no more confidence than the settings allow."""
        return contender.loss <= self._settings.retained_bar

    def contender(self, candidate: Candidate) -> Contender:
        """Measure what a candidate costs on the screened images."""
        finding = self._trials.measure_retention(candidate, SCREENED_RETAINED_IMAGES, until_clear=True)
        return Contender(candidate.recipe, candidate.size, finding.loss)

    def next_stronger(self, recipe: Recipe) -> Contender | None:
        """Return the contender with the next larger ``alpha_f`` that forgets, if any does before it ruins the rest."""
        strength = recipe.strength
        if recipe.solver not in self._starts:
            return None
        for alpha_f in self._settings.alpha_f[self._column(strength.alpha_f) + 1 :]:
            candidate = self._candidate(recipe.solver, recipe.depth, strength.alpha_r, alpha_f)
            if self._forgets_screened(candidate):
                return self.contender(candidate)
            if self._ruins_retained(candidate):
                break
        return None

    def _screen(self, depth: int, solvers: Sequence[str]) -> DepthScreening:
        """Look for contenders until one loses nothing that can be seen."""
        starts = dict(self._starts)
        found: dict[str, list[Contender]] = {}
        unfinished: tuple[str, ...] = ()
        for solver, contenders in self._in_turns(depth, solvers):
            found.setdefault(solver, []).extend(contenders)
            if any(contender.loss <= CONFIDENCE_TIE for contender in contenders):
                unfinished = tuple(other for other in solvers if other != solver)
                break
        for solver, own in found.items():
            self._starts[solver] = self._next_start(solver, min(own, key=lambda c: (c.loss, c.size), default=None))
        contenders = [contender for own in found.values() for contender in own]
        keeping = [contender for contender in contenders if self.keeps_bar(contender)]
        beaten = [contender for contender in contenders if not self.keeps_bar(contender)]
        return DepthScreening(depth, keeping, beaten, unfinished, starts)

    def _in_turns(self, depth: int, solvers: Sequence[str]) -> Iterator[tuple[str, list[Contender]]]:
        """Yield the first contender of every solver, or none, and then the other contenders one by one."""
        walks = {solver: self._contenders_of(solver, depth, self._starts[solver]) for solver in solvers}
        for solver, walk in walks.items():
            yield solver, list(islice(walk, 1))
        for solver, walk in walks.items():
            for contender in walk:
                yield solver, [contender]

    def _next_start(self, solver: str, best: Contender | None) -> GridStart:
        """Return where a solver starts after a depth at which this was its best contender."""
        if best is None:
            return replace(self._starts[solver], loss=math.inf)
        strength = best.recipe.strength
        return GridStart(self._settings.alpha_r.index(strength.alpha_r), self._column(strength.alpha_f), best.loss)

    def _contenders_of(self, solver: str, depth: int, start: GridStart) -> Iterator[Contender]:
        """Begin at the ``alpha_r`` that was best at the depth before; go to larger ones, else to smaller ones."""
        keeping = False
        for contender in self._walk(solver, depth, range(start.row, len(self._settings.alpha_r)), start.column):
            keeping = keeping or self.keeps_bar(contender)
            yield contender
        if not keeping:
            yield from self._walk(solver, depth, range(start.row - 1, -1, -1), start.column)

    def _walk(self, solver: str, depth: int, rows: range, column: int) -> Iterator[Contender]:
        """Go from one ``alpha_r`` to the next while the weakest that forgets loses something, but less each time.

        The larger ``alpha_r``, the less is forgotten at the same ``alpha_f``: so a larger one starts where the one
        before ended.
        """
        last: Contender | None = None
        for row in rows:
            contender, reached = self._weakest(solver, depth, self._settings.alpha_r[row], column)
            if contender is not None:
                yield contender
                if contender.loss <= CONFIDENCE_TIE or (
                    last is not None and contender.loss >= last.loss - CONFIDENCE_TIE
                ):
                    break
                last, column = contender, reached
            elif last is not None or reached == len(self._settings.alpha_f):
                break
            elif rows.step > 0:
                column = reached

    def _weakest(self, solver: str, depth: int, alpha_r: float, start: int) -> tuple[Contender | None, int]:
        """Return the contender with the weakest ``alpha_f`` that forgets, and the column the search ended at.

        Gives up at a candidate that neither forgets nor retains: a stronger one would retain even less. The column lies
        past the end of the grid if even the strongest does not forget.
        """
        alphas = self._settings.alpha_f
        bracket = AlphaBracket(len(alphas), start)
        weakest: Candidate | None = None
        while (column := bracket.position) is not None:
            candidate = self._candidate(solver, depth, alpha_r, alphas[column])
            if self._forgets_screened(candidate):
                bracket.passed()
                weakest = candidate
            elif not bracket.any_passed and self._ruins_retained(candidate):
                return None, column
            else:
                bracket.failed()
            del candidate  # before the next one takes memory
        return (None if weakest is None else self.contender(weakest)), bracket.first_passing

    def _candidate(self, solver: str, depth: int, alpha_r: float, alpha_f: float) -> Candidate:
        return self._builder.build(Recipe(solver, depth, Strength(alpha_r, alpha_f, self._classes)))

    def _column(self, alpha_f: float) -> int:
        return self._settings.alpha_f.index(alpha_f)

    def _forgets_screened(self, candidate: Candidate) -> bool:
        return self._trials.measure_forgetting(candidate, SCREENED_FORGOTTEN_IMAGES).passed

    def _ruins_retained(self, candidate: Candidate) -> bool:
        """Measure whether the first batch of retained images alone loses more than the bar, against the anchor.

        Not against the masked original: a candidate that does not forget yet loses what a forgotten class still takes,
        and a stronger one gives that back.
        """
        return self._trials.measure_retention(candidate, 1).plain_loss > self._settings.retained_bar
