"""Choose solver, depth and alphas on calibration images: the deepest edit that keeps the retained bar.

*Depth* is the number of layers edited, counted from the output. The deeper an edit, the less it leaves of a class in
the features; but classes that share their parts cannot be taken apart in early layers, and there a deep edit ruins
the others (``docs/adr/0007-search.md``).

Candidates are screened on a few images at every depth, from the last layer down, each depth starting at the strengths
that the one before ended with. For each solver and ``alpha_r`` the weakest ``alpha_f`` that forgets is looked for: a
stronger one forgets more and costs more. Then the deepest candidates are verified on all calibration images, the
most promising first, until one forgets and keeps the bar; near-ties go to the smallest edit. No test image is ever
looked at, and the result is a function of the forgotten set.

Confidence, the mean probability of the true class, judges beside accuracy because a few dozen training
images that a network knows by heart are all still right long before unseen ones suffer
(``docs/adr/0003-choosing-alpha.md``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ledger.algebra.strength import Strength
from ledger.calibration import Answers, Batch, Judgement, Panel
from ledger.candidate import Candidate, CandidateBuilder, Recipe
from ledger.domain.settings import Settings

TARGET = 0.5
"""Share of the gate that calibration accuracy may use up: unseen images scatter around it."""
LEAST_CONFIDENCE = 0.02
"""Mean probability that a forgotten class may keep however many classes there are; else an even guess."""
TIE = 0.0025
"""Retained confidences closer than this are a tie."""
SCREEN = 96
"""Retained images that rank candidates; the winner is verified on all."""
SCREEN_FORGOTTEN = 64
"""Forgotten images that candidates are screened on before they are ranked."""
DOUBT = 3.0
"""Standard errors by which a race must be lost to be given up early."""


@dataclass(frozen=True)
class Trial:
    """One candidate that was tried."""

    solver: str
    depth: int
    alpha_r: float
    alpha_f: float
    edit: float
    """Root mean square of the maps' relative changes."""
    forgotten: float
    """Highest calibration accuracy of a forgotten class, over the images seen before it was judged."""
    passed: bool
    """Whether every forgotten class met the target, on the images seen."""
    retained: float | None = None
    """Confidence on the retained classes; None if it was not needed or could not win."""


@dataclass(frozen=True)
class SearchResult:
    """The chosen candidate and how it was chosen."""

    candidate: Candidate
    forgotten: dict[int, Judgement]
    """Each forgotten class under the candidate, on calibration images."""
    retained: Judgement
    """The retained classes under the candidate."""
    base_retained: Judgement
    """The retained classes under the registered weights."""
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, object]:
        """Return what a version's recipe records of the search."""
        return {
            "retained": asdict(self.retained),
            "base_retained": asdict(self.base_retained),
            "forgotten": {str(k): asdict(judged) for k, judged in self.forgotten.items()},
            "trials": [asdict(trial) for trial in self.trials],
        }


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
    untried: tuple[str, ...]
    """Solvers that were not needed."""
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
        self._panel = panel
        self._settings = settings
        self._on_trial = on_trial
        self._labels = torch.cat([batch.labels for batch in panel.calibration.forgotten])
        self._most_confidence = max(1 / classes, LEAST_CONFIDENCE)
        self._forgotten = sorted(forgotten)
        self._images_of = torch.bincount(self._labels, minlength=classes).double()
        self._allowed_close = (settings.max_forgotten_accuracy * self._images_of).floor()
        self._allowed_hits = (settings.max_forgotten_accuracy * TARGET * self._images_of).floor()
        self._base = [panel.base(batch) for batch in panel.calibration.retained]
        self._base_retained = Judgement.of(self._base)
        self._trials: dict[Recipe, Trial] = {}
        self._beaten: list[_Contender] = []
        self._left: dict[Recipe, float] = {}
        self._asked: tuple[Recipe | None, dict[int, Answers]] = (None, {})
        self._places: dict[str, _Place] = dict.fromkeys(settings.solvers, _Place(0, 0, 0.0))

    def run(self) -> SearchResult:
        """Search; where nothing keeps the bar, return what forgets and retains most, else what forgets most."""
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
            if winner is None and level.untried:
                self._places = level.places
                winner = self._best_of(self._level(level.depth, level.untried).contenders)
            if winner is not None:
                return self._result(winner)
        return self._result(self._least_bad())

    # -- which candidates stand for a depth -------------------------------------------------------

    def _level(self, depth: int, solvers: Sequence[str]) -> _Level:
        """Look for candidates of one solver after the other, until one loses nothing that can be seen."""
        before = dict(self._places)
        found: list[_Contender] = []
        untried = list(solvers)
        while untried:
            solver = untried.pop(0)
            own = self._contenders_of(solver, depth)
            found += own
            best = min(own, key=_promise, default=None)
            if best is None:
                self._places[solver] = replace(self._places[solver], excess=math.inf)
                continue
            strength = best.recipe.strength
            row, position = self._settings.alpha_r.index(strength.alpha_r), self._position(strength.alpha_f)
            self._places[solver] = _Place(row, position, best.excess)
            if best.excess <= TIE:
                break
        keeping = [c for c in found if self._keeps_bar(c)]
        self._beaten += [c for c in found if not self._keeps_bar(c)]
        return _Level(depth, keeping, bool(found), tuple(untried), before)

    def _contenders_of(self, solver: str, depth: int) -> list[_Contender]:
        """Start at the ``alpha_r`` that was best at the depth before; go on to larger ones, else to smaller ones."""
        row = self._places[solver].row
        found = self._walk(solver, depth, range(row, len(self._settings.alpha_r)))
        if not any(self._keeps_bar(c) for c in found):
            found += self._walk(solver, depth, range(row - 1, -1, -1))
        return found

    def _walk(self, solver: str, depth: int, rows: Sequence[int]) -> list[_Contender]:
        """Go from ``alpha_r`` to ``alpha_r`` while the weakest that forgets loses something, but less each time."""
        found: list[_Contender] = []
        position = self._places[solver].position
        for row in rows:
            contender, exhausted = self._weakest(solver, depth, self._settings.alpha_r[row], position)
            if contender is not None:
                better = not found or contender.excess < found[-1].excess - TIE
                found.append(contender)
                position = self._position(contender.recipe.strength.alpha_f)
                if not better or contender.excess <= TIE:
                    break
            elif exhausted or found:
                break
        return found

    def _keeps_bar(self, contender: _Contender) -> bool:
        return contender.excess <= self._settings.retained_bar

    def _position(self, alpha_f: float) -> int:
        return self._settings.alpha_f.index(alpha_f)

    def _weakest(self, solver: str, depth: int, alpha_r: float, start: int) -> tuple[_Contender | None, bool]:
        """Return the candidate of the weakest ``alpha_f`` that forgets, and whether even the strongest does not.

        From ``start`` one step up or down, then two at a time until the answer changes, and back by one. Gives up
        where a candidate neither forgets nor retains: a stronger one would retain even less.
        """
        weak, strong, stride, position = -1, len(self._settings.alpha_f), 1, start
        end, contender = strong, None
        while strong - weak > 1:
            recipe = self._recipe(solver, depth, alpha_r, self._settings.alpha_f[position])
            candidate = self._builder.build(recipe)
            forgets = self._forgets(candidate, SCREEN_FORGOTTEN)
            excess = self._excess(candidate, SCREEN if forgets else 1)
            if forgets:
                strong, contender = position, _Contender(recipe, candidate.size, excess)
            elif strong == end and excess > self._settings.retained_bar:
                return None, False
            else:
                weak = position
            if strong == end:
                position = min(weak + stride, end - 1)
            elif weak < 0:
                position = max(strong - stride, 0)
            else:
                position = (weak + strong) // 2
            stride = 2
        return contender, contender is None

    def _recipe(self, solver: str, depth: int, alpha_r: float, alpha_f: float) -> Recipe:
        return Recipe(solver, depth, Strength(alpha_r, alpha_f, len(self._forgotten)))

    def _stronger(self, recipe: Recipe) -> _Contender | None:
        """Return the same with the next ``alpha_f`` that forgets, after one that turned out not to."""
        for alpha_f in self._settings.alpha_f[self._position(recipe.strength.alpha_f) + 1 :]:
            following = self._recipe(recipe.solver, recipe.depth, recipe.strength.alpha_r, alpha_f)
            candidate = self._builder.build(following)
            forgets = self._forgets(candidate, SCREEN_FORGOTTEN)
            excess = self._excess(candidate, SCREEN)
            if forgets:
                return _Contender(following, candidate.size, excess)
            if excess > self._settings.retained_bar:
                break
        return None

    # -- which of them wins -----------------------------------------------------------------------

    def _best_of(self, contenders: list[_Contender]) -> Candidate | None:
        """Verify the most promising on all images until one forgets and keeps the bar."""
        while contenders:
            best = _most_promising(contenders)
            contenders.remove(best)
            candidate = self._builder.build(best.recipe)
            if not self._forgets(candidate):
                stronger = self._stronger(best.recipe)
                if stronger is not None:
                    (contenders if self._keeps_bar(stronger) else self._beaten).append(stronger)
                continue
            verified = replace(best, excess=self._excess(candidate))
            if self._keeps_bar(verified):
                return candidate
            self._beaten.append(verified)
        return None

    def _least_bad(self) -> Candidate:
        """Return what forgets and loses least, though more than the bar; else what forgets most."""
        while self._beaten:
            best = _most_promising(self._beaten)
            self._beaten.remove(best)
            candidate = self._builder.build(best.recipe)
            if self._forgets(candidate):
                return candidate
            if (stronger := self._stronger(best.recipe)) is not None:
                self._beaten.append(stronger)
        return self._builder.build(min(self._left, key=lambda recipe: (self._left[recipe], recipe)))

    def _result(self, candidate: Candidate) -> SearchResult:
        calibration = self._panel.calibration
        forgotten = [self._ask(candidate, batch) for batch in calibration.forgotten]
        return SearchResult(
            candidate=candidate,
            forgotten={k: Judgement.of(forgotten, self._labels == k) for k in self._forgotten},
            retained=Judgement.of([self._ask(candidate, batch) for batch in calibration.retained]),
            base_retained=self._base_retained,
            trials=tuple(self._trials.values()),
        )

    # -- looking at a candidate -------------------------------------------------------------------

    def _forgets(self, candidate: Candidate, most: int | None = None) -> bool:
        """Whether every forgotten class stays within its allowance, on at most so many images (None: all of them).

        Stops at the first batch that leaves no hope: hits and close calls only add up, and a mean confidence above the
        limit beyond doubt will not come down. A class must stay within all three on all its images in the end.
        """
        seen, hits, close, mass, squares = torch.zeros(5, len(self._images_of), dtype=torch.float64)
        passed = True
        for batch in self._panel.calibration.forgotten:
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
        self._left.setdefault(candidate.recipe, float((hits + mass).max() / seen.max()))
        self._note(candidate, forgotten=float((hits / seen.clamp_min(1.0)).max()), passed=passed)
        return passed

    def _excess(self, candidate: Candidate, most: int | None = None) -> float:
        """Return how much confidence a candidate loses on at most so many retained images (None: all of them).

        Stops as soon as the loss is above the bar beyond doubt: by ``DOUBT`` standard errors of the paired differences.
        """
        lost: list[Tensor] = []
        mean = 0.0
        for batch, base in zip(self._panel.calibration.retained, self._base, strict=True):
            lost.append((base.confidence - self._ask(candidate, batch).confidence).double())
            so_far = torch.cat(lost)
            mean = float(so_far.mean())
            error = float(so_far.std()) / math.sqrt(len(so_far)) if len(so_far) > 1 else 0.0
            if mean - DOUBT * error > self._settings.retained_bar or (most is not None and len(so_far) >= most):
                break
        self._note(candidate, retained=self._base_retained.confidence - mean)
        return mean

    def _ask(self, candidate: Candidate, batch: Batch) -> Answers:
        """Return a candidate's answers to a batch; the last candidate's are remembered."""
        if self._asked[0] != candidate.recipe:
            self._asked = candidate.recipe, {}
        known = self._asked[1]
        if id(batch) not in known:
            known[id(batch)] = self._panel.ask(candidate.state, candidate.recipe.depth, batch)
        return known[id(batch)]

    def _note(self, candidate: Candidate, **findings: Any) -> None:
        """Remember what was found of a candidate."""
        recipe = candidate.recipe
        if recipe not in self._trials:
            alphas = recipe.strength.alpha_r, recipe.strength.alpha_f
            self._trials[recipe] = Trial(recipe.solver, recipe.depth, *alphas, candidate.size, 0.0, passed=False)
            self._on_trial()
        self._trials[recipe] = replace(self._trials[recipe], **findings)


def _most_promising(contenders: Sequence[_Contender]) -> _Contender:
    """Return the smallest edit among those that lose least."""
    least = min(c.excess for c in contenders)
    return min((c for c in contenders if c.excess <= least + TIE), key=lambda c: (c.size, c.recipe))


def _promise(contender: _Contender) -> tuple[float, float]:
    return contender.excess, contender.size
