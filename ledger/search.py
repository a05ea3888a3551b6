"""Choose the alphas on calibration images: forget enough, then keep the most.

For each ``alpha_r`` the weakest ``alpha_f`` whose forgotten accuracy meets the target is found by
bisection (a stronger one forgets more and costs more); among those, the candidate with the highest
retained accuracy wins, and near-ties go to the smallest edit. That maximises the paper's
``acc_r (1 - acc_f)`` where ``acc_f`` is held near zero, at a fraction of the grid's cost: a candidate
is dropped at the first batch that proves it cannot pass. No test image is ever looked at, and the
result is a function of the forgotten set.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ledger.algebra.projection import Strength
from ledger.candidate import Candidate, CandidateBuilder
from ledger.domain.settings import Settings

TARGET = 0.5
"""Share of the gate that calibration accuracy may use up: unseen images scatter around it."""
TIE = 0.0025
"""Retained accuracies closer than this are a tie: fewer than a few images of a thousand."""

Classify = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Weights and images (n, c, h, w) to predicted class indices (n,)."""


@dataclass(frozen=True)
class Batch:
    """Calibration images with their class indices."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Calibration:
    """Held-out training images, mixed over classes so that every batch says something of each."""

    forgotten: Sequence[Batch]
    retained: Sequence[Batch]


@dataclass(frozen=True)
class Trial:
    """One pair of alphas that was tried."""

    alpha_r: float
    alpha_f: float
    edit: float
    """Root mean square of the maps' relative changes."""
    forgotten: float
    """Highest calibration accuracy of a forgotten class, over the images seen before it was judged."""
    passed: bool
    """Whether every forgotten class met the target."""
    retained: float | None
    """Calibration accuracy on the retained classes; None if it was not needed or cannot win."""


@dataclass(frozen=True)
class SearchResult:
    """The chosen candidate and how it was chosen."""

    candidate: Candidate
    forgotten: dict[int, float]
    """Calibration accuracy of each forgotten class under the candidate."""
    retained: float
    base_retained: float
    """Calibration accuracy on the retained classes, under the candidate and the registered weights."""
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, object]:
        """Return what a version's recipe records of the search."""
        return {
            "retained": self.retained,
            "base_retained": self.base_retained,
            "forgotten": {str(k): v for k, v in self.forgotten.items()},
            "trials": [asdict(trial) for trial in self.trials],
        }


class StrengthSearch:
    """One search, for one forgotten set.

    Args:
        builder: Makes candidates from shared factors.
        classify: Runs the network.
        base: The registered weights.
        calibration: Held-out training images.
        forgotten: The classes to forget.
        settings: The grid and the gate.
        on_trial: Called after each trial.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        classify: Classify,
        base: Mapping[str, Tensor],
        calibration: Calibration,
        forgotten: frozenset[int],
        settings: Settings,
        *,
        on_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self._builder = builder
        self._classify = classify
        self._base = base
        self._calibration = calibration
        self._forgotten = forgotten
        self._settings = settings
        self._on_trial = on_trial
        self._target = settings.max_forgotten_accuracy * TARGET
        self._trials: list[Trial] = []
        labels = torch.cat([batch.labels for batch in calibration.forgotten])
        self._allowed = {k: math.floor(self._target * int((labels == k).sum())) for k in sorted(forgotten)}
        self._retained_images = sum(len(batch.labels) for batch in calibration.retained)

    def run(self) -> SearchResult:
        """Search the grid; where nothing meets the target, return the pair that forgets most."""
        passing = [found for alpha_r in self._settings.alpha_r if (found := self._weakest(alpha_r)) is not None]
        chosen = self._best_retained(passing) if passing else self._last_resort()
        return SearchResult(
            candidate=chosen,
            forgotten=self._class_accuracy(chosen),
            retained=self._accuracy(chosen.state),
            base_retained=self._accuracy(self._base),
            trials=tuple(self._trials),
        )

    def _weakest(self, alpha_r: float) -> Candidate | None:
        """Return the candidate of the smallest passing ``alpha_f``, or None if none passes."""
        grid = self._settings.alpha_f
        low, high, found = 0, len(grid), None
        while low < high:
            middle = (low + high) // 2
            candidate = self._try(alpha_r, grid[middle])
            if candidate is None:
                low = middle + 1
            else:
                high, found = middle, candidate
        return found

    def _try(self, alpha_r: float, alpha_f: float) -> Candidate | None:
        candidate = self._builder.build(Strength(alpha_r, alpha_f, len(self._forgotten)))
        correct, seen, passed = dict.fromkeys(self._allowed, 0), dict.fromkeys(self._allowed, 0), True
        for batch in self._calibration.forgotten:
            hits = self._classify(candidate.state, batch.images) == batch.labels
            for k in self._allowed:
                of_class = batch.labels == k
                correct[k] += int(hits[of_class].sum())
                seen[k] += int(of_class.sum())
            # Counts only grow: once a class is over its allowance, no further image can help.
            passed = all(correct[k] <= self._allowed[k] for k in self._allowed)
            if not passed:
                break
        worst = max(correct[k] / max(1, seen[k]) for k in self._allowed)
        self._trials.append(Trial(alpha_r, alpha_f, candidate.size, worst, passed, None))
        self._on_trial()
        return candidate if passed else None

    def _best_retained(self, passing: Sequence[Candidate]) -> Candidate:
        margin = math.floor(TIE * self._retained_images)
        fewest = self._retained_images
        judged: list[tuple[int, Candidate]] = []
        for candidate in passing:
            misses = self._misses(candidate.state, give_up=fewest + margin)
            if misses is None:
                continue
            self._note_retained(candidate, 1 - misses / self._retained_images)
            judged.append((misses, candidate))
            fewest = min(fewest, misses)
        tied = [candidate for misses, candidate in judged if misses <= fewest + margin]
        return min(tied, key=lambda candidate: candidate.size)

    def _last_resort(self) -> Candidate:
        # Judged on unequal numbers of images, but nothing here can pass the gate anyway: a person decides.
        best = min(self._trials, key=lambda trial: (trial.forgotten, trial.edit))
        return self._builder.build(Strength(best.alpha_r, best.alpha_f, len(self._forgotten)))

    def _misses(self, state: Mapping[str, Tensor], *, give_up: int) -> int | None:
        misses = 0
        for batch in self._calibration.retained:
            misses += int((self._classify(state, batch.images) != batch.labels).sum())
            if misses > give_up:
                return None
        return misses

    def _accuracy(self, state: Mapping[str, Tensor]) -> float:
        misses = self._misses(state, give_up=self._retained_images)
        return 1 - (misses or 0) / self._retained_images

    def _class_accuracy(self, candidate: Candidate) -> dict[int, float]:
        labels = torch.cat([batch.labels for batch in self._calibration.forgotten])
        predicted = torch.cat([self._classify(candidate.state, b.images) for b in self._calibration.forgotten])
        return {k: float((predicted == labels)[labels == k].double().mean()) for k in self._allowed}

    def _note_retained(self, candidate: Candidate, accuracy: float) -> None:
        pair = (candidate.strength.alpha_r, candidate.strength.alpha_f)
        self._trials = [
            Trial(**{**asdict(trial), "retained": accuracy}) if (trial.alpha_r, trial.alpha_f) == pair else trial
            for trial in self._trials
        ]
