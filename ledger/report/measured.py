"""Evidence and recipes, read from the JSON that evaluators and solvers left.

They may come from another release or a third party, so a number that is missing or odd is None and a
whole that makes no sense is left out; nothing here raises.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


def share(value: object) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON integers have no bounds
        return None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Answers:
    """How often each class is answered correctly, before and after."""

    before: tuple[float | None, ...]
    after: tuple[float | None, ...]

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return any(value is not None for value in (*self.before, *self.after))

    def change(self, k: int) -> float | None:
        """Return what class ``k`` gained, negative for a loss."""
        before, after = self.before[k], self.after[k]
        return None if before is None or after is None else after - before

    def means(self, classes: Sequence[int]) -> tuple[float | None, float | None]:
        """Return the unweighted means over some classes, before and after."""
        return mean([self.before[k] for k in classes]), mean([self.after[k] for k in classes])


@dataclass(frozen=True)
class Accuracy:
    """Evidence of the evaluator ``accuracy``."""

    test: Answers
    train: Answers


def accuracy(metrics: Mapping[str, Any], classes: int) -> Accuracy | None:
    """Read accuracies; None if no split holds any."""
    test, train = (
        Answers(_per_class(metrics.get(f"base_{split}"), classes), _per_class(metrics.get(split), classes))
        for split in ("test", "train")
    )
    return Accuracy(test, train) if test.known or train.known else None


def _per_class(split: object, classes: int) -> tuple[float | None, ...]:
    values = split.get("per_class") if isinstance(split, dict) else None
    if not isinstance(values, list) or len(values) != classes:
        return (None,) * classes
    return tuple(share(value) for value in values)


@dataclass(frozen=True)
class Matrix:
    """Counts of answers: a row for each true class, a column for each answer."""

    counts: tuple[tuple[float, ...], ...]
    images: tuple[float, ...]
    """Of each true class."""

    def share(self, row: int, column: int) -> float | None:
        """Return how large a part of a class's images got an answer; None without images."""
        return self.counts[row][column] / self.images[row] if self.images[row] else None

    def diagonal(self) -> tuple[float | None, ...]:
        """Return the share of correct answers of each class."""
        return tuple(self.share(k, k) for k in range(len(self.images)))

    def top(self, row: int, most: int) -> tuple[tuple[int, float], ...]:
        """Return the answers that a class's images get most often, with their shares."""
        counts = self.counts[row]
        ranked = sorted((k for k, amount in enumerate(counts) if amount), key=lambda k: (-counts[k], k))
        return tuple((k, counts[k] / self.images[row]) for k in ranked[:most])


@dataclass(frozen=True)
class Confusion:
    """Evidence of the evaluator ``confusion``."""

    before: Matrix | None
    after: Matrix

    def change(self, row: int, column: int) -> float | None:
        """Return by how much a class's share of one answer rose; None if either is not known."""
        before = None if self.before is None else self.before.share(row, column)
        after = self.after.share(row, column)
        return None if before is None or after is None else after - before


def confusion(metrics: Mapping[str, Any], classes: int) -> Confusion | None:
    """Read confusion matrices; None if there is none for the version itself."""
    after = _matrix(metrics.get("matrix"), classes)
    return None if after is None else Confusion(_matrix(metrics.get("base_matrix"), classes), after)


def _matrix(values: object, classes: int) -> Matrix | None:
    if not isinstance(values, list) or len(values) != classes:
        return None
    rows = [tuple(share(cell) for cell in row) if isinstance(row, list) else () for row in values]
    counts = [tuple(cell for cell in row if cell is not None and cell >= 0) for row in rows]
    if any(len(row) != classes for row in counts):
        return None
    return Matrix(tuple(counts), tuple(sum(row) for row in counts))


@dataclass(frozen=True)
class Trial:
    """One recipe that the search tried."""

    solver: str | None
    depth: int | None
    """Number of layers edited, counted from the output."""
    alpha_r: float | None
    alpha_f: float | None
    edit: float
    forgotten: float
    """Calibration accuracy of the forgotten class that is still recognised best."""
    passed: bool
    retained: float | None
    """Confidence on the retained classes, where the search needed it."""
    chosen: bool


@dataclass(frozen=True)
class MapChange:
    """How much one linear map changed, relative to its norm."""

    key: str
    change: float
    retain_rank: int | None
    forget_rank: int | None


@dataclass(frozen=True)
class Judgement:
    """How the search judged some classes on calibration images."""

    accuracy: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What a version records of how it was computed."""

    facts: tuple[tuple[str, str], ...] = ()
    """Single values beside those below, by name."""
    alpha_r: float | None = None
    alpha_f: float | None = None
    effective_alpha_f: float | None = None
    edit: float | None = None
    retained: Judgement = Judgement()
    base_retained: Judgement = Judgement()
    forgotten: dict[int, Judgement] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    maps: tuple[MapChange, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


_NAMED = frozenset({"alpha_r", "alpha_f", "effective_alpha_f", "edit"})


def recipe(values: Mapping[str, Any]) -> Recipe:
    """Read a version's recipe."""
    found = _mapping(values.get("search"))
    forgotten = {int(k): _judgement(v) for k, v in _mapping(found.get("forgotten")).items() if k.isdecimal()}
    return Recipe(
        facts=_scalars({name: value for name, value in values.items() if name not in _NAMED}),
        alpha_r=share(values.get("alpha_r")),
        alpha_f=share(values.get("alpha_f")),
        effective_alpha_f=share(values.get("effective_alpha_f")),
        edit=share(values.get("edit")),
        retained=_judgement(found.get("retained")),
        base_retained=_judgement(found.get("base_retained")),
        forgotten=forgotten,
        trials=_read(found.get("trials"), lambda item: _trial(item, values)),
        maps=_read(values.get("maps"), _map_change),
        environment=_scalars(_mapping(values.get("environment"))),
    )


def _trial(item: Mapping[str, Any], values: Mapping[str, Any]) -> Trial | None:
    edit, forgotten = share(item.get("edit")), share(item.get("forgotten"))
    if edit is None or forgotten is None:
        return None
    # The size tells trials apart that share their alphas but differ in something this release does not know.
    settings = ("alpha_r", "alpha_f", "edit")
    depth = share(item.get("depth"))
    return Trial(
        solver=str(item["solver"]) if "solver" in item else None,
        depth=None if depth is None else int(depth),
        alpha_r=share(item.get("alpha_r")),
        alpha_f=share(item.get("alpha_f")),
        edit=edit,
        forgotten=forgotten,
        passed=item.get("passed") is True,
        retained=share(item.get("retained")),
        chosen=all(item.get(name) == values.get(name) for name in settings),
    )


def _map_change(item: Mapping[str, Any]) -> MapChange | None:
    change = share(item.get("change"))
    if change is None:
        return None
    ranks = (share(item.get("retain_rank")), share(item.get("forget_rank")))
    retain, forget = (None if rank is None else int(rank) for rank in ranks)
    return MapChange(str(item.get("key", "?")), change, retain, forget)


def _judgement(value: object) -> Judgement:
    found = _mapping(value)
    return Judgement(share(found.get("accuracy")), share(found.get("confidence")))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(value: object, read: Callable[[Mapping[str, Any]], T | None]) -> tuple[T, ...]:
    items = [read(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return tuple(item for item in items if item is not None)


def _scalars(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    kept = {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}
    return tuple((name, str(value)) for name, value in sorted(kept.items()))
