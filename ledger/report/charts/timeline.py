"""The timeline of a model's versions.

Versions stand from left to right at equal distances. The shape of a node tells why the version was made, an arrow leads
from a rollback to the version it restored, and a bar below marks the versions in which a class is forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ledger.domain.versions import VersionKind

from .svg import box, circle, diamond, element, group, label, line, picture, polygon, shorten_middle, text_width
from .words import listing

STEP = 122.0
MARGIN = 66.0
LINES = 3
"""Lines for class names under a node; further names are only counted."""
MARKS = 4
"""Lines for what happened to a version afterwards; further marks are only counted."""
MOST_LANES = 16
"""Largest number of classes with a bar of their own."""
LANE = 20.0
KINDS = {
    VersionKind.BASE: "registered",
    VersionKind.FORGET: "forgot",
    VersionKind.WITHDRAW: "withdrawal",
    VersionKind.ROLLBACK: "rollback",
}


@dataclass(frozen=True)
class TimelineVersion:
    """One version on the timeline."""

    number: int
    kind: VersionKind
    date: str
    time: str
    """Time of day."""
    live: bool
    newly: tuple[str, ...]
    """Classes forgotten since this version."""
    again: tuple[str, ...]
    """Classes known again since this version."""
    forgotten: frozenset[int]
    restores: int | None
    reopened: tuple[int, ...]
    purged: str = ""
    """When its weights were destroyed; empty while they are kept."""
    marks: tuple[str, ...] = ()
    """What happened to it since, each in a few words."""


def timeline(uid: str, nodes: Sequence[TimelineVersion], labels: Sequence[str]) -> Markup:
    """Draw versions.

    Args:
        uid: Unique on the page.
        nodes: In the order of their numbers.
        labels: Of all classes.
    """
    column = {node.number: i for i, node in enumerate(nodes)}
    spans = [abs(i - column[node.restores]) for i, node in enumerate(nodes) if node.restores in column]
    axis = 24.0 + max((_height(span) for span in spans), default=0.0)
    ever = sorted(frozenset[int]().union(*(node.forgotten for node in nodes)))
    lanes = ever if len(ever) <= MOST_LANES else []
    top = axis + 86 + 14 * max((len(_lines(node)) for node in nodes), default=0)
    width = 2 * MARGIN + STEP * (len(nodes) - 1)
    parts: list[Markup] = [line(_x(i), axis, _x(i + 1), axis, "axis") for i in range(len(nodes) - 1)]
    for i, node in enumerate(nodes):
        if node.restores in column:
            parts.append(_arrow(i, column[node.restores], axis, node))
    parts += [_node(i, node, axis) for i, node in enumerate(nodes)]
    for row, k in enumerate(lanes):
        parts.append(_lane(k, labels[k], nodes, top + row * LANE))
    return picture(
        uid,
        width,
        top + LANE * len(lanes) + 4,
        "Versions over time",
        " ".join(_sentence(node) for node in nodes),
        *parts,
    )


def lanes_left_out(nodes: Sequence[TimelineVersion]) -> bool:
    """Return whether so many classes were ever forgotten that their bars are left out."""
    return len(frozenset[int]().union(*(node.forgotten for node in nodes))) > MOST_LANES


def _x(column: int) -> float:
    return MARGIN + STEP * column


def _height(span: int) -> float:
    # Longer arrows rise above the shorter ones they enclose, up to a limit.
    return min(34.0 + 13.0 * span, 150.0)


def _node(column: int, node: TimelineVersion, axis: float) -> Markup:
    x = _x(column)
    shape = f"node {node.kind.value}{' purged' if node.purged else ''}"
    name = f"version {node.number}" + (" · live" if node.live else "")
    parts: list[Markup] = []
    if node.live:
        pill = 1.08 * text_width(name) + 14
        parts += [circle(x, axis, 14, "halo"), box(x - pill / 2, axis + 20, pill, 18, "live-tag", rx=9)]
    match node.kind:
        case VersionKind.BASE:
            parts.append(box(x - 6.5, axis - 6.5, 13, 13, shape))
        case VersionKind.FORGET:
            parts.append(circle(x, axis, 7.5, shape))
        case VersionKind.WITHDRAW:
            parts.append(diamond(x, axis, 9, shape))
        case VersionKind.ROLLBACK:
            parts.append(polygon(((x - 10, axis), (x + 6, axis - 9), (x + 6, axis + 9)), shape))
    parts.append(label(x, axis + 33, name, "name on-live" if node.live else "name", text_anchor="middle"))
    parts.append(label(x, axis + 52, node.date, "soft number", text_anchor="middle"))
    parts.append(label(x, axis + 65, node.time, "soft number", text_anchor="middle"))
    for i, (text, class_) in enumerate(_lines(node)):
        parts.append(label(x, axis + 82 + 14 * i, _fitted(text, class_), class_, text_anchor="middle"))
    return group(*parts, hint=_sentence(node))


def _fitted(text: str, class_: str) -> str:
    # Marks are our own words, and their widths known.
    return text if class_.endswith("mark") else shorten_middle(text, STEP - 6, 11)


def _lines(node: TimelineVersion) -> list[tuple[str, str]]:
    """Return the lines of text under a version, each with its style class."""
    return [*_made(node), *((mark, "small mark") for mark in _few(node.marks))]


def _few(marks: Sequence[str]) -> list[str]:
    """Return the marks, the last ones only counted where there are many."""
    return list(marks) if len(marks) <= MARKS else [*marks[: MARKS - 1], f"and {len(marks) - MARKS + 1} more"]


def _made(node: TimelineVersion) -> list[tuple[str, str]]:
    """Return lines on what a version forgets and why it was made."""
    if node.kind is VersionKind.BASE:
        return [("as registered", "small soft")]
    lines: list[tuple[str, str]] = []
    if node.restores is not None:
        lines.append((f"back to version {node.restores}", "small soft"))
    for verb, names in (("forgets", node.newly), ("knows again", node.again)):
        if not names:
            continue
        shown = names if len(names) <= LINES else names[: LINES - 1]
        lines.append((f"{verb}", "small verb"))
        if all(len(name) <= 3 for name in names) and len(names) <= 8:
            lines.append((listing(names, 8), "small strong"))
            continue
        lines += [(name, "small strong") for name in shown]
        if len(shown) < len(names):
            lines.append((f"and {len(names) - len(shown)} more", "small strong"))
    if node.reopened:
        lines.append((f"reopens #{', #'.join(map(str, node.reopened))}", "small alert"))
    if not lines:
        lines.append(("no class changes", "small soft"))
    return lines


def _arrow(start: int, end: int, axis: float, node: TimelineVersion) -> Markup:
    """Draw an arrow from a rollback to the version whose weights it restored."""
    x1, x2 = _x(start), _x(end)
    top = axis - _height(abs(start - end))
    tip = axis - 13.0
    # Both control points lie above the ends, so the arrow leaves and arrives vertically.
    rise = tip - (tip - top) * 4 / 3
    path = element("path", d=f"M{x1:g} {axis - 12:g}C{x1:g} {rise:g} {x2:g} {rise:g} {x2:g} {tip - 6:g}", class_="way")
    head = polygon(((x2, tip), (x2 - 4.5, tip - 9), (x2 + 4.5, tip - 9)), "way-head")
    return group(path, head, hint=_sentence(node))


def _lane(k: int, name: str, nodes: Sequence[TimelineVersion], y: float) -> Markup:
    parts: list[Markup] = []
    inside = [k in node.forgotten for node in nodes]
    # A bar begins at the version that forgets the class and ends before the one that knows it again.
    begins = [i for i, now in enumerate(inside) if now and (i == 0 or not inside[i - 1])]
    for begin in begins:
        end = next((i for i in range(begin, len(nodes)) if not inside[i]), len(nodes))
        open_end = end == len(nodes)
        left = _x(begin) - 10
        right = _x(end - 1) + (MARGIN - 8 if open_end else STEP - 22)
        parts.append(box(left, y, right - left, LANE - 5, "lane", rx=3))
        parts.append(label(left + 6, y + 11.5, shorten_middle(name, right - left - 12, 11), "small"))
        if right - left > 3 * STEP:
            # A long timeline scrolls: the beginning of this bar may be out of sight.
            parts.append(label(right - 6, y + 11.5, shorten_middle(name, STEP, 11), "small", text_anchor="end"))
    return group(*parts, hint=f"{name} is forgotten in {_ranges(nodes, inside)}")


def _ranges(nodes: Sequence[TimelineVersion], inside: Sequence[bool]) -> str:
    return listing([f"version {node.number}" for node, now in zip(nodes, inside, strict=True) if now], 8)


def _sentence(node: TimelineVersion) -> str:
    text = f"Version {node.number}, {node.date} {node.time}, {KINDS[node.kind]}"
    if node.restores is not None:
        text += f" to version {node.restores}"
    if node.newly:
        text += f"; forgets {listing(node.newly)}"
    if node.again:
        text += f"; knows {listing(node.again)} again"
    if node.reopened:
        text += f"; reopens request {listing([str(n) for n in node.reopened])}"
    text += "".join(f"; {mark}" for mark in node.marks)
    return text + ("; live." if node.live else ".")
