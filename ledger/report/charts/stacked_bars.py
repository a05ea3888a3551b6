"""Bars that show what the images of a class are taken for: one bar for each network, parts in proportion to shares."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import box, group, label, picture, shorten_middle, text_width
from .words import percent

WIDTH = 760.0
LEFT, RIGHT = 128.0, 752.0
ROW, GAP = 22.0, 30.0


@dataclass(frozen=True)
class BarPart:
    """One answer."""

    name: str
    share: float
    own: bool = False
    """Whether it is the class itself: still recognised."""


@dataclass(frozen=True)
class Bar:
    """The answers of one network."""

    name: str
    parts: tuple[BarPart, ...]
    """The most frequent answers first; what they leave of the whole is drawn empty."""


@dataclass(frozen=True)
class BarGroup:
    """The bars of one class."""

    title: str
    bars: tuple[Bar, ...]


def stacked_bars(uid: str, title: str, groups: Sequence[BarGroup]) -> Markup:
    """Draw groups of bars, one below the other."""
    parts: list[Markup] = []
    y = 0.0
    for item in groups:
        parts.append(label(0, y + 14, shorten_middle(item.title, WIDTH), "group-title"))
        y += 20
        for bar in item.bars:
            parts += _bar(bar, y)
            y += ROW
        y += GAP - ROW + 10
    return picture(uid, WIDTH, max(20.0, y), title, _description(groups), *parts)


def _bar(bar: Bar, y: float) -> list[Markup]:
    parts = [
        label(LEFT - 8, y + 13, shorten_middle(bar.name, LEFT - 12, 11), "small", text_anchor="end"),
        box(LEFT, y, RIGHT - LEFT, ROW - 4, "track"),
    ]
    x = LEFT
    for index, part in enumerate(bar.parts):
        width = (RIGHT - LEFT) * min(1.0, max(0.0, part.share))
        style = "part own" if part.own else f"part part{index % 2}"
        pieces = [box(x, y, width, ROW - 4, style)]
        text = f"{part.name} {percent(part.share)}"
        if text_width(text, 11) > width - 8:
            text = shorten_middle(part.name, width - 8, 11) if width > 24 else ""
        if text:
            pieces.append(label(x + 5, y + 13, text, "small own-text" if part.own else "small"))
        parts.append(group(*pieces, hint=f"{bar.name}: {part.name} {percent(part.share)}"))
        x += width
    return parts


def _description(groups: Sequence[BarGroup]) -> str:
    return " ".join(
        f"{item.title}: "
        + "; ".join(
            f"{bar.name} {', '.join(f'{part.name} {percent(part.share)}' for part in bar.parts) or 'nothing'}"
            for bar in item.bars
        )
        + "."
        for item in groups
    )
