"""Strips of small heat maps: a column for each image, a row for each network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import box, element, group, label, picture, shorten_middle
from .words import percent

SIDE = 72.0
"""Side of a map, in pixels."""
LEFT, TOP, GAP = 108.0, 20.0, 8.0
LEVELS = 6
"""Number of colour steps above nothing; the style sheet defines them."""


@dataclass(frozen=True)
class HeatMap:
    """Values between 0 and 1, in rows of one length, and the probability that the network gave the true class."""

    values: tuple[tuple[float, ...], ...]
    probability: float | None


@dataclass(frozen=True)
class StripRow:
    """The maps of one network, one for each image; None where there is none."""

    name: str
    maps: tuple[HeatMap | None, ...]


def heat_strips(uid: str, title: str, names: Sequence[str], rows: Sequence[StripRow]) -> Markup:
    """Draw the maps.

    Args:
        uid: Unique on the page.
        title: What the maps show.
        names: The true class of each image.
        rows: One for each network.
    """
    step = SIDE + GAP
    parts = [label(LEFT + step * i, 12, shorten_middle(name, SIDE, 11), "small strong") for i, name in enumerate(names)]
    for j, row in enumerate(rows):
        y = TOP + j * (step + 14)
        parts.append(label(0, y + SIDE / 2 + 4, shorten_middle(row.name, LEFT - 8, 11), "small"))
        parts += [
            _map(one, LEFT + step * i, y, row.name, names[i]) for i, one in enumerate(row.maps) if one is not None
        ]
    width = LEFT + step * max(1, len(names))
    return picture(uid, width, TOP + len(rows) * (step + 14), title, _description(names, rows), *parts)


def level(value: float) -> int:
    """Return the colour step of a value between 0 and 1: 0 for next to nothing, at most :data:`LEVELS`."""
    return min(LEVELS, int(min(1.0, max(0.0, value)) * (LEVELS + 0.999)))


def _map(one: HeatMap, x: float, y: float, network: str, name: str) -> Markup:
    parts = [box(x, y, SIDE, SIDE, "z0")]
    columns = max((len(row) for row in one.values), default=0)
    if columns:
        width, height = SIDE / columns, SIDE / len(one.values)
        for step in range(1, LEVELS + 1):
            # One outline for all fields of a colour keeps the page small.
            d = "".join(
                f"M{x + first * width:.4g} {y + i * height:.4g}h{count * width:.4g}v{height:.4g}h-{count * width:.4g}z"
                for i, row in enumerate(one.values)
                for first, count in _runs([level(value) == step for value in row])
            )
            if d:
                parts.append(element("path", d=d, class_=f"p{step}"))
    told = "" if one.probability is None else percent(one.probability)
    parts.append(label(x, y + SIDE + 12, told, "tick"))
    return group(*parts, hint=f"{network}, image of {name}: probability of its class {told or 'not recorded'}")


def _runs(inside: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield first place and length of every run of true values."""
    begin = None
    for place, now in enumerate([*inside, False]):
        if now and begin is None:
            begin = place
        elif not now and begin is not None:
            yield begin, place - begin
            begin = None


def _description(names: Sequence[str], rows: Sequence[StripRow]) -> str:
    return " ".join(
        f"{row.name}: probability of the true class "
        + ", ".join(
            f"{name} {percent(one.probability)}" for name, one in zip(names, row.maps, strict=True) if one is not None
        )
        + "."
        for row in rows
    )
