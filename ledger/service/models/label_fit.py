"""Which names fit a network's outputs: compare its answers with what the images are called.

Weights that were trained with the classes in another order answer consistently, and consistently with the wrong name.
The order that fits is an assignment of outputs to names: the one under which most answers are correct. Orders that
programs are known to use are tried first, since they need no more evidence than any other statement; an assignment that
was found among all possible ones must be better than the best of so many would be by accident.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ledger.domain.chance import CLEARLY, at_least, log_at_least
from ledger.domain.label_orders import LabelOrder

MOST_CLASSES = 4096
"""Most classes whose names are assigned to outputs; beyond, only known orders are tried."""
LEAST_FIT = 0.5
"""Share of a group's images that the better names must get right."""
MOST_RIGHT = 1 / 3
"""Largest share of that which the registered names get right."""
LEAST_SUPPORTED = 0.6
"""Share of a group's classes whose better name must fit half of their images. Where a network mistakes one class for a
second and that for a third, fewer do: the names that close such a group fit nothing."""
ENOUGH_EACH = 4
"""Images of a class from which on a few exchanged names among many right ones are clear. With fewer, two look-alikes
that the network mistakes for each other look the same."""


@dataclass(frozen=True)
class Answers:
    """What a network answered for n images."""

    classes: int
    true: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """int64 (n,): class index of each image, by its name."""
    predicted: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """int64 (n,): index of the output that is highest."""

    def correct(self, names: "np.ndarray[tuple[int], np.dtype[np.int64]] | None" = None) -> int:
        """Return how many answers are correct if output ``k`` stands for class ``names[k]``; None for class ``k``."""
        answered = self.predicted if names is None else names[self.predicted]
        return int((answered == self.true).sum())

    def chance(self) -> float:
        """Return the accuracy of a network that always gives the best constant answer."""
        if not len(self.true):
            return 1 / self.classes
        return max(1 / self.classes, float(np.bincount(self.true).max()) / len(self.true))


@dataclass(frozen=True)
class LabelFit:
    """Names for a network's outputs that fit better than those it is registered with."""

    names: tuple[int, ...]
    """For each output, the index of the registered label that fits it."""
    correct: int
    """Correct answers under these names, of all images."""
    order: LabelOrder | None
    """The rule that gives this order, if one does."""
    clear: bool
    """Whether this is hardly an accident; if not, images are too few to tell."""

    @property
    def moved(self) -> tuple[int, ...]:
        """The outputs whose names change."""
        return tuple(k for k, name in enumerate(self.names) if k != name)


def find_better_fit(answers: Answers, labels: Sequence[str]) -> LabelFit | None:
    """Return names that fit a network's answers better; None if the registered ones fit as well as any.

    Args:
        answers: What the network answered.
        labels: The registered labels, by output.
    """
    known = _best_known_order(answers, labels)
    assigned = _assigned(answers)
    if known is not None and (assigned is None or known.correct >= 0.95 * assigned.correct):
        return known
    return assigned or known


def _best_known_order(answers: Answers, labels: Sequence[str]) -> LabelFit | None:
    """Return the known order under which most answers are correct, if that is clearly more than now."""
    index = {label: k for k, label in enumerate(labels)}
    best: LabelFit | None = None
    for order in LabelOrder:
        names = np.array([index[label] for label in order.sort(labels)], dtype=np.int64)
        right, now = names[answers.predicted] == answers.true, answers.predicted == answers.true
        gained, lost = int((right & ~now).sum()), int((now & ~right).sum())
        if at_least(gained, gained + lost, 0.5) > CLEARLY:
            continue
        correct = int(right.sum())
        # More than a guess: another order is also worse than chance for a network that knows nothing.
        if at_least(correct, len(right), answers.chance()) <= CLEARLY and (best is None or correct > best.correct):
            best = LabelFit(tuple(map(int, names)), correct, order, clear=True)
    return best


def _assigned(answers: Answers) -> LabelFit | None:
    """Return the assignment of names under which most answers are correct, reduced to what the images show."""
    if answers.classes > MOST_CLASSES or not len(answers.true):
        return None
    confusion = np.zeros((answers.classes, answers.classes))
    np.add.at(confusion, (answers.true, answers.predicted), 1)
    # Half an image for the present name, so that names without evidence stay where they are.
    rows, columns = linear_sum_assignment(confusion + 0.5 * np.eye(answers.classes), maximize=True)
    names = np.empty(answers.classes, dtype=np.int64)
    names[columns] = rows
    cycles = [(cycle, _evidence(answers, names, cycle)) for cycle in _cycles(names)]
    moved = [k for cycle, _ in cycles for k in cycle]
    if moved and _evidence(answers, names, moved) == "clear":
        return LabelFit(tuple(map(int, names)), answers.correct(names), None, clear=True)
    for wanted in ("clear", "suspect"):
        kept = [cycle for cycle, evidence in cycles if evidence == wanted]
        if kept:
            some = np.arange(answers.classes)
            for k in (k for cycle in kept for k in cycle):
                some[k] = names[k]
            return LabelFit(tuple(map(int, some)), answers.correct(some), None, clear=wanted == "clear")
    return None


def _cycles(names: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Iterator[list[int]]:
    """Yield the groups of outputs whose names go round among them."""
    seen: set[int] = set()
    for start in np.flatnonzero(names != np.arange(len(names))):
        cycle, k = [], int(start)
        while k not in seen:
            seen.add(k)
            cycle.append(k)
            k = int(names[k])
        if cycle:
            yield cycle


def _evidence(answers: Answers, names: "np.ndarray[tuple[int], np.dtype[np.int64]]", group: list[int]) -> str:
    """Say how sure it is that the names of a group of outputs are exchanged: ``clear``, ``suspect`` or nothing."""
    own = np.isin(answers.true, group)
    images = int(own.sum())
    right = int((names[answers.predicted[own]] == answers.true[own]).sum())
    now = int((answers.predicted[own] == answers.true[own]).sum())
    if images < 2 or right < LEAST_FIT * images or now > MOST_RIGHT * right or not _supported(answers, names, group):
        return ""
    # The best of as many assignments as there are for so many names, of a network that answers by chance.
    choices = math.lgamma(answers.classes + 1) - math.lgamma(answers.classes - len(group) + 1)
    accident = log_at_least(right, images, 1 / answers.classes) + choices
    if accident <= math.log(CLEARLY):
        most = 2 * len(group) >= len(np.unique(answers.true))
        return "clear" if most or images >= ENOUGH_EACH * len(group) else "suspect"
    return "suspect" if now == 0 and len(group) == 2 and _both_ways(answers, group) else ""


def _supported(answers: Answers, names: "np.ndarray[tuple[int], np.dtype[np.int64]]", group: list[int]) -> bool:
    """Whether the better names fit most of a group's classes that have images."""
    own = np.isin(answers.true, group)
    true = answers.true[own]
    images = np.bincount(true, minlength=answers.classes)
    right = np.bincount(true[names[answers.predicted[own]] == true], minlength=answers.classes)
    seen = images > 0
    return bool((right[seen] >= LEAST_FIT * images[seen]).mean() >= LEAST_SUPPORTED)


def _both_ways(answers: Answers, pair: list[int]) -> bool:
    """Whether images of each of two classes are taken for the other."""
    first, second = pair
    return bool(
        ((answers.true == first) & (answers.predicted == second)).any()
        and ((answers.true == second) & (answers.predicted == first)).any()
    )
