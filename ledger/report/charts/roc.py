"""ROC curves on logarithmic axes, where the few false alarms that matter to an attack can be seen.

N. Carlini et al., Membership inference attacks from first principles (2022): an attack counts by what it finds at very
few false alarms, which an area under a curve on linear axes hides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .line_chart import STYLES
from .svg import element, label, line, picture, text_width
from .words import percent

WIDTH, HEIGHT = 360.0, 312.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 346.0, 24.0, 244.0


@dataclass(frozen=True)
class RocCurve:
    """The curve of an attack on one network."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]
    """Pairs of false and true positive rates, ascending, as shares."""


def roc_chart(uid: str, title: str, curves: Sequence[RocCurve]) -> Markup:
    """Draw curves with the line of guessing.

    Args:
        uid: Unique on the page.
        title: What is attacked.
        curves: One for each network.
    """
    floor = axis_floor(curves)
    decades = range(round(math.log10(floor)), 1)
    parts: list[Markup] = []
    for exponent in decades:
        share = 10.0**exponent
        x, y = _x(share, floor), _y(share, floor)
        text = f"{100 * share:g}"
        parts += [line(x, TOP, x, BOTTOM, "grid"), line(LEFT, y, RIGHT, y, "grid")]
        parts.append(label(x, BOTTOM + 15, text, "tick", text_anchor="middle"))
        parts.append(label(LEFT - 6, y + 4, text, "tick", text_anchor="end"))
    parts.append(line(LEFT, BOTTOM, RIGHT, TOP, "guessing"))
    parts.append(
        label(
            (LEFT + RIGHT) / 2, BOTTOM + 31, "false alarms, % of those never trained on", "tick", text_anchor="middle"
        )
    )
    parts.append(label(0, 10, "found, %", "tick"))
    parts += [_curve(curve, floor) for curve in curves if len(curve.points) > 1]
    x, y = LEFT, BOTTOM + 52
    for curve in curves:
        needs = text_width(curve.name, 11) + 34
        if x > LEFT and x + needs > WIDTH:
            x, y = LEFT, y + 16
        parts += [line(x, y - 4, x + 18, y - 4, f"series {_style(curve)}"), label(x + 23, y, curve.name, "small")]
        x += needs
    return picture(uid, WIDTH, max(HEIGHT, y + 8), title, _description(curves), *parts)


def axis_floor(curves: Sequence[RocCurve]) -> float:
    """Return the power of ten at which the axes begin: just below the smallest rate above 0, between 0.0001 and 0.1."""
    rates = [rate for curve in curves for point in curve.points for rate in point if rate > 0]
    least = min(rates, default=0.01)
    return 10.0 ** min(-1, max(-4, math.floor(math.log10(least) + 1e-9)))


def at_false_positives(points: Sequence[tuple[float, float]], most: float) -> float | None:
    """Return the largest share found with at most so many false alarms; None without points."""
    return max((true for false, true in points if false <= most), default=None)


def _curve(curve: RocCurve, floor: float) -> Markup:
    # Stairs: between two thresholds nothing more is found until the next one is reached.
    commands: list[str] = []
    last = None
    for false, true in curve.points:
        x, y = _x(false, floor), _y(true, floor)
        commands.append(f"M{x:.1f} {y:.1f}" if last is None else f"H{x:.1f}V{y:.1f}")
        last = true
    return element("path", d="".join(commands), class_=f"series {_style(curve)}")


def _style(curve: RocCurve) -> str:
    return curve.style if curve.style in STYLES else "other"


def _x(share: float, floor: float) -> float:
    return LEFT + (RIGHT - LEFT) * _log(share, floor)


def _y(share: float, floor: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * _log(share, floor)


def _log(share: float, floor: float) -> float:
    """Return where a share lies between the floor (0) and 1 (1); what is below the floor lies on it."""
    return 1.0 - math.log10(min(1.0, max(share, floor))) / math.log10(floor)


def _description(curves: Sequence[RocCurve]) -> str:
    told = []
    for curve in curves:
        at = [f"{percent(at_false_positives(curve.points, most))} at {100 * most:g} %" for most in (0.001, 0.01, 0.1)]
        told.append(f"{curve.name}: members found {', '.join(at)} false alarms.")
    return " ".join(told) or "No curve."
