"""Evaluator ``relearning``: how quickly forgotten classes come back to a copy of the network.

If a class comes back without its images, or of a handful of them, then it was hidden and not forgotten. Three ways, on
copies of the version and, for scale, of the original and of a retrained network:

- *retained tuning*: fine-tuning on training images of retained classes alone. A network that never saw a class cannot
  learn it from others (arXiv 2505.22310 shows how edited networks do).
- *shots*: nearest mean of penultimate features, one or five images of each forgotten class (:mod:`.prototypes`).
- *few steps*: fine-tuning with five images of each forgotten class, half of each batch being retained images.

The two that see images of the class succeed on networks that never knew it too, since features made for other classes
serve for a new one. So only the gap to a retrained network tells; without one, these figures are upper bounds of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ledger.hookspecs import Depth, EvaluationInput, Evaluator, ExaminedNetwork, NetworkRole, SplitName, hookimpl

from .fine_tuning import (
    BATCH,
    LONGEST_GRADIENT,
    MOMENTUM,
    AskedImages,
    Picked,
    Standing,
    mixed_batches,
    retained_batches,
    tuned,
)
from .prototypes import restored
from .sampled_images import SampledImages, evenly

RATES = (0.003, 0.03)
"""Learning rates that are tried: the ends of the range in which vision transformers are fine-tuned."""
RETAINED_STEPS = (10, 20, 40, 80)
FEW_STEPS = (5, 10, 20, 40)
SHOTS = 5
DRAWS = 10
MOST_LOST = 0.2
"""A network that loses more than this share of retained accuracy by tuning was damaged rather than reminded: what it
answers then does not count."""
MOST_TRAINING = 600
"""Most retained training images."""
MOST_TEST = 200
"""Most test images of forgotten classes, and as many of retained ones."""


@dataclass(frozen=True)
class Way:
    """One way of fine-tuning."""

    checkpoints: tuple[int, ...]
    batches: Callable[[int, int, int], Iterator[Picked]]
    """Given the numbers of retained and of forgotten images, and a seed."""


WAYS = {
    "retained_tuning": Way(RETAINED_STEPS, lambda retained, _, seed: retained_batches(retained, seed)),
    "few_steps": Way(FEW_STEPS, mixed_batches),
}


class RelearningEvaluator:
    """All three ways on version, original and, if there is one, a retrained network."""

    name = "relearning"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return how far forgotten classes come back.

        ``retained_tuning_return``, ``one_shot_return``, ``five_shot_return`` and ``few_steps_return`` are the share of
        right answers on test images of the forgotten class that comes back most, at its highest; ``..._gap`` is how
        much that is above the retrained network's. None where something cannot be tried.
        """
        names = ("retained_tuning", "one_shot", "five_shot", "few_steps")
        empty = {f"{name}_{what}": None for name in names for what in ("return", "gap")}
        if reason := _missing(data):
            return {**empty, "reason": reason}
        tuning = _Tuning(data)
        roles = [
            role for role in (NetworkRole.VERSION, NetworkRole.ORIGINAL, NetworkRole.RETRAINED) if role in data.networks
        ]
        found = {role.value: tuning.of(data.networks[role]) for role in roles}
        version, retrained = found["version"], found.get("retrained")
        figures: dict[str, Any] = {}
        for name in names:
            back = version[name]["return"]
            other = retrained[name]["return"] if retrained else None
            figures[f"{name}_return"] = back
            figures[f"{name}_gap"] = None if back is None or other is None else back - other
        return {
            **figures,
            **found,
            "settings": {
                "rates": list(RATES),
                "momentum": MOMENTUM,
                "longest_gradient": LONGEST_GRADIENT,
                "batch": BATCH,
                "shots": SHOTS,
                "draws": DRAWS,
                "most_lost": MOST_LOST,
                "seed": data.seed,
            },
            "counts": tuning.counts(len(roles)),
            "reason": None,
        }


class _Tuning:
    """The images, and what is done with a network.

    Args:
        data: With images and networks.
    """

    def __init__(self, data: EvaluationInput) -> None:
        assert data.images is not None
        self._data = data
        retained = frozenset(range(len(data.labels))) - data.forgotten
        train, test, seed = data.train.labels, data.test.labels, data.seed

        def picked(
            split: SplitName, labels: np.ndarray, classes: frozenset[int], each: int, most: int
        ) -> SampledImages:
            assert data.images is not None
            return SampledImages(data.images, split, evenly(labels, classes, each, most, seed), labels)

        self._retained = picked(SplitName.TRAIN, train, retained, MOST_TRAINING, MOST_TRAINING)
        self._shots = picked(SplitName.TRAIN, train, data.forgotten, SHOTS, SHOTS * len(data.forgotten))
        self._test = AskedImages(
            picked(SplitName.TEST, test, data.forgotten, MOST_TEST, MOST_TEST),
            picked(SplitName.TEST, test, retained, MOST_TEST, MOST_TEST),
            data.batch_size,
        )

    def of(self, network: ExaminedNetwork) -> dict[str, Any]:
        """Return what becomes of one network."""
        before = self._test.standing(network.copy().eval(), 0)
        result: dict[str, Any] = {"before": _plain(before)}
        for name, way in WAYS.items():
            courses = {rate: self._course(network, way, rate) for rate in RATES}
            result[name] = {
                "return": highest(before, [one for course in courses.values() for one in course]),
                "courses": [
                    {"rate": rate, "standings": [_plain(one) for one in course]} for rate, course in courses.items()
                ],
            }
        return {**result, **self._restored(network)}

    def _course(self, network: ExaminedNetwork, way: Way, rate: float) -> list[Standing]:
        seed = self._data.seed
        batches = way.batches(len(self._retained), len(self._shots), seed)
        return tuned(network.copy(), self._retained, self._shots, batches, way.checkpoints, rate, self._test, seed)

    def _restored(self, network: ExaminedNetwork) -> dict[str, Any]:
        result: dict[str, Any] = {}
        data = self._data
        train, test = (network.features(split, Depth.PENULTIMATE) for split in (SplitName.TRAIN, SplitName.TEST))
        for name, shots in (("one_shot", 1), ("five_shot", SHOTS)):
            found = None
            if train is not None and test is not None:
                pairs = (train, data.train.labels), (test, data.test.labels)
                found = restored(*pairs, data.forgotten, shots, DRAWS, data.seed)
            result[name] = {
                "return": found.forgotten if found else None,
                "retained": found.retained if found else None,
                "draws": list(found.draws) if found else [],
            }
        return result

    def counts(self, networks: int) -> dict[str, int]:
        """Return numbers of images, and of images passed through all networks at most."""
        steps = len(RATES) * (RETAINED_STEPS[-1] + FEW_STEPS[-1])
        askings = 1 + len(RATES) * (len(RETAINED_STEPS) + len(FEW_STEPS))
        asked = len(self._test.forgotten) + len(self._test.retained)
        return {
            "retained_training": len(self._retained),
            "forgotten_training": len(self._shots),
            "forgotten_test": len(self._test.forgotten),
            "retained_test": len(self._test.retained),
            "images_forward": networks * (steps * BATCH + askings * asked),
            "images_backward": networks * steps * BATCH,
        }


def highest(before: Standing, standings: Sequence[Standing]) -> float | None:
    """Return the highest share of a forgotten class among standings that did not cost retained accuracy."""
    counted = [
        one.forgotten
        for one in standings
        if one.forgotten is not None
        and (before.retained is None or one.retained is None or one.retained >= before.retained - MOST_LOST)
    ]
    return max(counted, default=None)


def _plain(standing: Standing) -> Mapping[str, Any]:
    return asdict(standing)


def _missing(data: EvaluationInput) -> str | None:
    """Return why nothing can be tried, if so."""
    if data.images is None or NetworkRole.VERSION not in data.networks:
        return "no copy of the network, or no images, are at hand"
    there = [np.isin(one.labels, sorted(data.forgotten)) for one in (data.train, data.test)]
    if not all(inside.any() for inside in there):
        return "no class is forgotten, or there are no images of it"
    return "there are no training images of retained classes" if there[0].all() else None


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the evaluator ``relearning``."""
    return (RelearningEvaluator(),)
