"""Lines over a few named places, e.g. depths of a network or versions of a model; shares between 0 and 1."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import box, circle, diamond, element, group, label, line, picture, shorten_middle, text_width
from .words import bare_percent, percent

WIDTH = 360.0
LEFT, RIGHT = 40.0, 346.0
TOP, BOTTOM = 12.0, 142.0
STYLES = ("original", "masked_original", "version", "retrained")
"""Styles of lines that the style sheet knows; others are ``other``."""


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    style: str
    values: tuple[float | None, ...]
    """One for each place, as shares; the line has a gap where one is None."""


def line_chart(uid: str, title: str, places: Sequence[str], series: Sequence[Series], *, wide: bool = False) -> Markup:
    """Draw lines on a scale from 0 to 100 %, with a key below.

    Args:
        uid: Unique on the page.
        title: What the shares are of.
        places: Names of the places, from left to right.
        series: The lines.
        wide: Give every place at least 60 pixels.
    """
    right = max(RIGHT, LEFT + 60.0 * (len(places) - 1)) if wide else RIGHT
    width = right + (WIDTH - RIGHT)
    step = (right - LEFT - 20) / max(1, len(places) - 1)
    parts: list[Markup] = []
    for share in (0.0, 0.5, 1.0):
        parts.append(line(LEFT, _y(share), right, _y(share), "grid"))
        parts.append(label(LEFT - 6, _y(share) + 4, f"{100 * share:g}", "tick", text_anchor="end"))
    for i, place in enumerate(places):
        shown = shorten_middle(place, max(40.0, step - 6), 11)
        parts.append(_place(shown, LEFT + 10 + step * i, right, last=i == len(places) - 1))
    parts += [_line(one, places, step) for one in series]
    key, height = _key(series, width)
    return picture(uid, width, height, title, _description(places, series), *parts, *key)


def _place(text: str, x: float, right: float, *, last: bool) -> Markup:
    # The last name ends at the edge where it would go beyond.
    beyond = last and x + text_width(text, 11) / 2 > right + (WIDTH - RIGHT)
    at, anchor = (right + WIDTH - RIGHT, "end") if beyond else (x, "middle")
    return label(at, BOTTOM + 16, text, "tick", text_anchor=anchor)


def _line(one: Series, places: Sequence[str], step: float) -> Markup:
    points = [(LEFT + 10 + step * i, value) for i, value in enumerate(one.values)]
    commands, pen = [], "M"
    for x, value in points:
        if value is None:
            pen = "M"
            continue
        commands.append(f"{pen}{x:.1f} {_y(value):.1f}")
        pen = "L"
    style = one.style if one.style in STYLES else "other"
    parts = [element("path", d="".join(commands), class_=f"series {style}")] if commands else []
    for (x, value), place in zip(points, places, strict=True):
        if value is not None:
            hint = f"{one.name}, {place}: {percent(value)}"
            parts.append(group(mark(x, _y(value), style), hint=hint))
    return group(*parts)


def mark(x: float, y: float, style: str) -> Markup:
    """Draw the mark of a network: the same sign on every picture."""
    match style:
        case "version":
            return diamond(x, y, 4.6, "mark-after")
        case "retrained":
            return box(x - 3.6, y - 3.6, 7.2, 7.2, "mark-retrained")
        case "original":
            return circle(x, y, 4.4, "mark-before")
        case "masked_original":
            return line(x, y - 6, x, y + 6, "mark-masked")
        case _:
            return circle(x, y, 2.6, "mark-other")


def _key(series: Sequence[Series], width: float) -> tuple[list[Markup], float]:
    """Return the key, in as many lines as it takes, and the height of the whole picture."""
    parts: list[Markup] = []
    x, y = LEFT, BOTTOM + 38
    for one in series:
        shown = shorten_middle(one.name, width - LEFT - 24, 11)
        needs = text_width(shown, 11) + 30
        if x > LEFT and x + needs > width:
            x, y = LEFT, y + 16
        style = one.style if one.style in STYLES else "other"
        parts += [line(x, y - 4, x + 16, y - 4, f"series {style}"), mark(x + 8, y - 4, style)]
        parts.append(label(x + 21, y, shown, "small"))
        x += needs
    return parts, y + 8


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * min(1.0, max(0.0, share))


def _description(places: Sequence[str], series: Sequence[Series]) -> str:
    return " ".join(
        f"{one.name}: " + ", ".join(f"{p} {bare_percent(v)}" for p, v in zip(places, one.values, strict=True)) + "."
        for one in series
    )
