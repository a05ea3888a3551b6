"""Choose the alphas on calibration images: forget enough, then keep the most.

For each ``alpha_r`` the weakest ``alpha_f`` that forgets is found by climbing the grid like a staircase
(a stronger one forgets more and costs more); among those, the candidate with the highest retained
confidence wins, and near-ties go to the smallest edit. That maximises the paper's
``acc_r (1 - acc_f)`` where ``acc_f`` is held near zero, at a fraction of the grid's cost: a candidate
is dropped at the first batch that proves it cannot pass. No test image is ever looked at, and the
result is a function of the forgotten set.

Confidence, the mean probability of the true class, judges beside accuracy because a few dozen training
images that a network knows by heart are all still right long before unseen ones suffer
(``docs/adr/0003-choosing-alpha.md``).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from ledger.algebra.projection import Strength
from ledger.candidate import Candidate, CandidateBuilder
from ledger.domain.settings import Settings

TARGET = 0.5
"""Share of the gate that calibration accuracy may use up: unseen images scatter around it."""
LEAST_CONFIDENCE = 0.02
"""Mean probability that a forgotten class may keep however many classes there are; else an even guess."""
TIE = 0.0025
"""Retained confidences closer than this are a tie."""

Predict = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Weights and images (n, c, h, w) to class probabilities (n, classes)."""


@dataclass(frozen=True)
class Batch:
    """Calibration images with their class indices."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Calibration:
    """Training images to judge by, mixed over classes so that every batch says something of each.

    Those of retained classes are held out from every class space. Those of forgotten classes are not all:
    a share near zero needs more images to be seen than can be spared.
    """

    forgotten: Sequence[Batch]
    retained: Sequence[Batch]


@dataclass(frozen=True)
class Judgement:
    """How some weights answer some images."""

    accuracy: float
    """Share of images whose true class has the highest probability."""
    confidence: float
    """Mean probability of the true class."""


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


class StrengthSearch:
    """One search, for one forgotten set.

    Args:
        builder: Makes candidates from shared factors.
        predict: Runs the network.
        classes: How many the network knows.
        base: The registered weights.
        calibration: Training images to judge by.
        forgotten: The classes to forget.
        settings: The grid and the gate.
        on_trial: Called after each trial.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        predict: Predict,
        classes: int,
        base: Mapping[str, Tensor],
        calibration: Calibration,
        forgotten: frozenset[int],
        settings: Settings,
        *,
        on_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self._builder = builder
        self._predict = predict
        self._base = base
        self._calibration = calibration
        self._settings = settings
        self._on_trial = on_trial
        labels = torch.cat([batch.labels for batch in calibration.forgotten])
        self._most_confidence = max(1 / classes, LEAST_CONFIDENCE)
        self._images = {k: int((labels == k).sum()) for k in sorted(forgotten)}
        self._trials: dict[tuple[float, float], Trial] = {}

    def run(self) -> SearchResult:
        """Search the grid; where nothing meets the target, return the pair that forgets most."""
        chosen = self._best() or self._last_resort()
        return SearchResult(
            candidate=chosen,
            forgotten={k: self._judge(chosen.state, self._calibration.forgotten, only=k) for k in self._images},
            retained=self._judge(chosen.state, self._calibration.retained),
            base_retained=self._judge(self._base, self._calibration.retained),
            trials=tuple(self._trials.values()),
        )

    def _staircase(self) -> Iterator[Candidate]:
        """Yield, for each ``alpha_r`` in rising order, the candidate of the weakest ``alpha_f`` that forgets.

        More protection needs more removal, so the climb goes on where it stood at the step before. Pairs
        that do not forget are dropped after a batch or two; there is one that does for each ``alpha_r``.
        """
        steps = iter(self._settings.alpha_f)
        alpha_f = next(steps)
        for alpha_r in self._settings.alpha_r:
            while not self._forgets(candidate := self._build(alpha_r, alpha_f)):
                following = next(steps, None)
                if following is None:
                    return
                alpha_f = following
            yield candidate

    def _forgets(self, candidate: Candidate) -> bool:
        hits, mass, seen = (dict.fromkeys(self._images, 0.0) for _ in range(3))
        for batch in self._calibration.forgotten:
            correct, confidence = self._answers(candidate.state, batch)
            for k in self._images:
                of_class = batch.labels == k
                hits[k] += float(correct[of_class].sum())
                mass[k] += float(confidence[of_class].sum())
                seen[k] += float(of_class.sum())
            # Both sums only grow: once a class is over its allowance, no further image can help.
            passed = not any(self._over(k, hits[k], mass[k]) for k in self._images)
            if not passed:
                break
        worst = max(hits[k] / max(1.0, seen[k]) for k in self._images)
        pair = candidate.strength.alpha_r, candidate.strength.alpha_f
        self._trials[pair] = Trial(*pair, candidate.size, worst, passed)
        self._on_trial()
        return passed

    def _over(self, k: int, hits: float, mass: float) -> bool:
        allowed = math.floor(self._settings.max_forgotten_accuracy * TARGET * self._images[k])
        return hits > allowed or mass > self._most_confidence * self._images[k]

    def _best(self) -> Candidate | None:
        """Return the candidate that forgets and retains most, or None if none forgets.

        Only its figures are kept of each candidate: building the winner again costs less than holding
        every one's weights.
        """
        images = sum(len(batch.labels) for batch in self._calibration.retained)
        least = float(images)
        judged: list[tuple[float, float, Strength]] = []
        for candidate in self._staircase():
            lost = self._lost(candidate, give_up=least + TIE * images)
            if lost is None:
                continue
            pair = candidate.strength.alpha_r, candidate.strength.alpha_f
            self._trials[pair] = replace(self._trials[pair], retained=1 - lost / images)
            judged.append((lost, candidate.size, candidate.strength))
            least = min(least, lost)
        tied = [(size, strength) for lost, size, strength in judged if lost <= least + TIE * images]
        return self._builder.build(min(tied)[1]) if tied else None

    def _lost(self, candidate: Candidate, *, give_up: float) -> float | None:
        """Return the summed probability of wrong classes, or None as soon as it exceeds ``give_up``."""
        lost = 0.0
        for batch in self._calibration.retained:
            lost += float((1 - self._answers(candidate.state, batch)[1]).sum())
            if lost > give_up:
                return None
        return lost

    def _last_resort(self) -> Candidate:
        # Judged on unequal numbers of images, but nothing here can pass the gate anyway: a person decides.
        best = min(self._trials.values(), key=lambda trial: (trial.forgotten, trial.edit))
        return self._build(best.alpha_r, best.alpha_f)

    def _build(self, alpha_r: float, alpha_f: float) -> Candidate:
        return self._builder.build(Strength(alpha_r, alpha_f, len(self._images)))

    def _judge(self, state: Mapping[str, Tensor], batches: Sequence[Batch], *, only: int | None = None) -> Judgement:
        answers = [self._answers(state, batch) for batch in batches]
        labels = torch.cat([batch.labels for batch in batches])
        chosen = torch.ones_like(labels, dtype=torch.bool) if only is None else labels == only
        correct, confidence = (torch.cat(parts)[chosen].double() for parts in zip(*answers, strict=True))
        return Judgement(float(correct.mean()), float(confidence.mean()))

    def _answers(self, state: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Return, for each image, whether it is answered correctly and its true class's probability."""
        probabilities = self._predict(state, batch.images)
        confidence = probabilities.gather(1, batch.labels.unsqueeze(1)).squeeze(1)
        return probabilities.argmax(1) == batch.labels, confidence
