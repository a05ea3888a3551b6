"""What an evaluator may return: checked, and copied, before it is recorded.

Evidence is read again for as long as the ledger exists, by reports and certificates. So what they cannot read must not
get into it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.digest import canonical_json
from ledger.errors import PluginError
from ledger.json_shapes import value_as

MOST_DEPTH = 8
"""Most mappings and lists within one another, the outermost included."""
MOST_BYTES = 32 * 2**20
"""Most bytes of the metrics of one evaluator, as JSON. Two confusion matrices of 2,000 classes fit."""
MOST_KEY = 200
"""Most characters of a name."""
MOST_INTEGER = 2**53 - 1
"""Largest whole number that every JSON reader reads exactly (RFC 8259, section 6)."""


@dataclass(frozen=True)
class _Bounds:
    low: float
    high: float


@dataclass(frozen=True)
class _Accuracy:
    per_class: list[float | None]
    retained: float | None
    forgotten: float | None
    # What was measured by an earlier release, or is offered by somebody else, may lack everything from here on.
    images: list[int] | None = None
    correct: list[int] | None = None
    intervals: list[tuple[float, float] | None] | None = None
    retained_interval: _Bounds | None = None
    forgotten_interval: _Bounds | None = None

    @property
    def lists(self) -> list[list[Any]]:
        """What has one value for each class."""
        every: tuple[list[Any] | None, ...] = (self.per_class, self.images, self.correct, self.intervals)
        return [one for one in every if one is not None]


@dataclass(frozen=True)
class _Losses:
    loss_against_mask: list[float | None] | None = None
    loss_against_retrained: list[float | None] | None = None


@dataclass(frozen=True)
class _Accuracies:
    """What is read of the evaluator ``accuracy``, whoever offers it."""

    train: _Accuracy
    test: _Accuracy
    base_train: _Accuracy
    base_test: _Accuracy
    # An evaluator that was written for an earlier release does not return these.
    mask_train: _Accuracy | None = None
    mask_test: _Accuracy | None = None
    original_train: _Accuracy | None = None
    original_test: _Accuracy | None = None
    retrained_train: _Accuracy | None = None
    retrained_test: _Accuracy | None = None
    per_class: _Losses | None = None
    loss_against_mask_interval: _Bounds | None = None

    @property
    def lists(self) -> list[list[Any]]:
        """What has one value for each class."""
        splits = [one for one in vars(self).values() if isinstance(one, _Accuracy)]
        losses: list[list[Any]] = [] if self.per_class is None else list(filter(None, vars(self.per_class).values()))
        return [*losses, *(one for split in splits for one in split.lists)]


@dataclass(frozen=True)
class _WentTo:
    images: int
    version: dict[str, float]
    masked_original: dict[str, float] | None = None
    retrained: dict[str, float] | None = None


@dataclass(frozen=True)
class _Confusion:
    matrix: list[list[int]]
    base_matrix: list[list[int]]
    difference: list[list[int]] | None = None
    went_to: dict[str, _WentTo] | None = None

    @property
    def lists(self) -> list[list[Any]]:
        """What has one value for each class."""
        matrices = [one for one in (self.matrix, self.base_matrix, self.difference) if one is not None]
        rows: list[list[Any]] = [row for matrix in matrices for row in matrix]
        return [*matrices, *rows]


@dataclass(frozen=True)
class _Membership:
    paper: float | None
    salun: float | None
    base_paper: float | None
    base_salun: float | None


_READ_BY_NAME = {"accuracy": _Accuracies, "confusion": _Confusion, "membership": _Membership}


def checked_metrics(value: object, evaluator: str, plugin: str, *, classes: int) -> dict[str, Any]:
    """Return a copy of what an evaluator returned, as plain JSON values.

    Args:
        value: What it returned.
        evaluator: Its name. What ``accuracy``, ``confusion`` and ``membership`` return has a shape that reports read.
        plugin: Name of the plugin that offers it.
        classes: Number of the model's classes.

    Raises:
        PluginError: It is not a mapping of names to JSON values, holds NaN or infinity, or is too large; the message
            says where.
    """
    culprit = f"evaluator {evaluator} of plugin {plugin}"
    try:
        if not isinstance(value, Mapping):
            raise _Unfit("", f"{_kind(value)}, not a mapping of names to JSON values")
        metrics = _Copy().of_mapping(value, "", 1)
        size = len(canonical_json(metrics))
        if size > MOST_BYTES:
            raise _Unfit("", f"{size / 1e6:.0f} MB of JSON, more than {MOST_BYTES / 1e6:.0f}")
        _check_shape(metrics, evaluator, classes)
    except _Unfit as unfit:
        place = f"{unfit.path}: " if unfit.path else ""
        raise PluginError(
            f"{culprit} returned {place}{unfit.reason}", "nothing was recorded; report it to the plugin's author"
        ) from None
    # What it returned may be of a class of its own, whose methods can fail in any way.
    except Exception as error:
        raise PluginError(
            f"{culprit} returned something that cannot be read: {type(error).__name__}: {error}",
            "nothing was recorded; report it to the plugin's author",
        ) from error
    return metrics


class _Unfit(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


class _Copy:
    """Copies JSON values, and counts what it copies so that it ends on values without end."""

    def __init__(self) -> None:
        self._left = MOST_BYTES

    def of_mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        copied = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise _Unfit(path, f"the key {name!r:.40}, which is {_kind(name)} and not text")
            if len(name) > MOST_KEY:
                raise _Unfit(path, f"a key of {len(name)} characters, more than {MOST_KEY}")
            here = f"{path}.{name}" if path else name
            copied[self._text(name, here)] = self._of(item, here, depth)
        return copied

    def _of(self, value: Any, path: str, depth: int) -> Any:
        self._spend(2, path)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if abs(value) > MOST_INTEGER:
                raise _Unfit(path, "a whole number beyond 2^53, which JSON cannot hold exactly")
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _Unfit(path, f"{float(value)}, not a finite number")
            return float(value)
        if depth >= MOST_DEPTH and isinstance(value, Mapping | list | tuple):
            raise _Unfit(path, f"more than {MOST_DEPTH} levels of mappings and lists")
        if isinstance(value, Mapping):
            return self.of_mapping(value, path, depth + 1)
        if isinstance(value, list | tuple):
            return [self._of(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        raise _Unfit(path, f"{_kind(value)}, which is not a JSON value")

    def _text(self, text: str, path: str) -> str:
        self._spend(len(text), path)
        # PostgreSQL stores no NUL in JSON, and a lone surrogate has no bytes.
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise _Unfit(path.encode(errors="replace").decode().replace("\0", "?"), "text that is not valid Unicode")
        return str(text)

    def _spend(self, count: int, path: str) -> None:
        self._left -= count
        if self._left < 0:
            raise _Unfit(path, f"more than {MOST_BYTES / 1e6:.0f} MB of JSON")


def _check_shape(metrics: dict[str, Any], evaluator: str, classes: int) -> None:
    shape = _READ_BY_NAME.get(evaluator)
    if shape is None:
        return
    try:
        read: Any = value_as(shape, metrics)
    except ValueError as error:
        raise _Unfit("", f"something else than what {evaluator} stands for: {error}") from None
    lists = read.lists if isinstance(read, _Accuracies | _Confusion) else []
    if any(len(one) != classes for one in lists):
        raise _Unfit("", f"a list that has not one value for each of the {classes} classes")


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
