"""How a version was computed, read from the JSON of its recipe.

The recipe may come from another release or from a third-party solver: what is missing or malformed is left out or None,
and nothing here raises.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .numbers import finite_number

T = TypeVar("T")


@dataclass(frozen=True)
class TrialFigures:
    """One trial of the search for solver, depth and strength."""

    solver: str | None
    depth: int | None
    """Number of layers edited, counted from the output."""
    alpha_r: float | None
    alpha_f: float | None
    edit: float
    """Size of the edit: its norm divided by that of the weights."""
    forgotten: float
    """Highest calibration accuracy on a forgotten class, as a share."""
    passed: bool
    """Whether it forgets enough."""
    retained: float | None
    """Mean confidence on the retained classes, as a share; None if the search did not need it."""
    chosen: bool
    """Whether the version was computed this way."""


@dataclass(frozen=True)
class MapFigures:
    """The change of one linear map."""

    key: str
    change: float
    """Norm of the change divided by that of the map."""
    retain_rank: int | None
    forget_rank: int | None


@dataclass(frozen=True)
class CalibrationFigures:
    """Mean accuracy and confidence on calibration images of some classes, as shares."""

    accuracy: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class RecipeFigures:
    """What a version's recipe says about its computation."""

    facts: tuple[tuple[str, str], ...] = ()
    """Names and values of everything single-valued that has no field here."""
    alpha_r: float | None = None
    alpha_f: float | None = None
    effective_alpha_f: float | None = None
    edit: float | None = None
    """Size of the edit: its norm divided by that of the weights, root mean square over the linear maps."""
    retained: CalibrationFigures = CalibrationFigures()
    base_retained: CalibrationFigures = CalibrationFigures()
    forgotten: dict[int, CalibrationFigures] = field(default_factory=dict)
    trials: tuple[TrialFigures, ...] = ()
    maps: tuple[MapFigures, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


_NAMED = frozenset({"alpha_r", "alpha_f", "effective_alpha_f", "edit"})


def read_recipe(values: Mapping[str, Any]) -> RecipeFigures:
    """Read a version's recipe from its JSON values."""
    found = _mapping(values.get("search"))
    forgotten = {int(k): _calibration(v) for k, v in _mapping(found.get("forgotten")).items() if k.isdecimal()}
    return RecipeFigures(
        facts=_scalars({name: value for name, value in values.items() if name not in _NAMED}),
        alpha_r=finite_number(values.get("alpha_r")),
        alpha_f=finite_number(values.get("alpha_f")),
        effective_alpha_f=finite_number(values.get("effective_alpha_f")),
        edit=finite_number(values.get("edit")),
        retained=_calibration(found.get("retained")),
        base_retained=_calibration(found.get("base_retained")),
        forgotten=forgotten,
        trials=_read(found.get("trials"), lambda item: _trial(item, values)),
        maps=_read(values.get("maps"), _map_change),
        environment=_scalars(_mapping(values.get("environment"))),
    )


def _trial(item: Mapping[str, Any], values: Mapping[str, Any]) -> TrialFigures | None:
    edit, forgotten = finite_number(item.get("edit")), finite_number(item.get("forgotten"))
    if edit is None or forgotten is None:
        return None
    # Trials with the same alphas may differ in something that this release does not know; then their sizes differ.
    settings = ("alpha_r", "alpha_f", "edit")
    depth = finite_number(item.get("depth"))
    return TrialFigures(
        solver=str(item["solver"]) if "solver" in item else None,
        depth=None if depth is None else int(depth),
        alpha_r=finite_number(item.get("alpha_r")),
        alpha_f=finite_number(item.get("alpha_f")),
        edit=edit,
        forgotten=forgotten,
        passed=item.get("passed") is True,
        retained=finite_number(item.get("retained")),
        chosen=all(item.get(name) == values.get(name) for name in settings),
    )


def _map_change(item: Mapping[str, Any]) -> MapFigures | None:
    change = finite_number(item.get("change"))
    if change is None:
        return None
    ranks = (finite_number(item.get("retain_rank")), finite_number(item.get("forget_rank")))
    retain, forget = (None if rank is None else int(rank) for rank in ranks)
    return MapFigures(str(item.get("key", "?")), change, retain, forget)


def _calibration(value: object) -> CalibrationFigures:
    found = _mapping(value)
    return CalibrationFigures(finite_number(found.get("accuracy")), finite_number(found.get("confidence")))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(value: object, read: Callable[[Mapping[str, Any]], T | None]) -> tuple[T, ...]:
    items = [read(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return tuple(item for item in items if item is not None)


def _scalars(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    kept = {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}
    return tuple((name, str(value)) for name, value in sorted(kept.items()))
