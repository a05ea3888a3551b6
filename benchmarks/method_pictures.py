"""Draw the pictures of ``docs/method.md``: two of a toy that is computed now, one of figures that were measured before.

    python benchmarks/method_pictures.py [FOLDER]

The same figures give the same bytes. ``separability.json`` beside the pictures comes from ``separability.py``.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import method_toy
import torch
from markupsafe import Markup
from method_toy import CLASSES, FORGOTTEN, RETAINED, Images, Weights
from torch import Tensor

from ledger.report.charts.svg import box, circle, element, group, label, line

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MEASURED = "separability.json"
ALPHA_F = 100.0
PANEL, GAP, TOP = 270, 15, 34
LIGHT = {
    "page": "#fdfcf9",
    "ink": "#1f2328",
    "soft": "#5b6066",
    "hair": "#cfcabf",
    "a": "#14508f",
    "b": "#1d6b3a",
    "c": "#7a5a12",
    "s": "#b3271e",
}
DARK = {
    "page": "#16181b",
    "ink": "#e8e5de",
    "soft": "#a9adb3",
    "hair": "#4a4f56",
    "a": "#8cc0f5",
    "b": "#86d3a1",
    "c": "#e5b96b",
    "s": "#ff8d82",
}
RULES = """
text { font: 13px system-ui, 'Segoe UI', Roboto, 'Noto Sans', Arial, sans-serif; fill: var(--ink); }
.page { fill: var(--page); }
.title { font-weight: 600; }
.soft { fill: var(--soft); font-size: 12px; }
.name { font-weight: 700; font-size: 15px; paint-order: stroke; stroke: var(--page); stroke-width: 4px; }
.floor { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.hair { stroke: var(--hair); stroke-width: 1; }
.level { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 5 4; }
.dots { fill: none; stroke-width: 4.2; stroke-linecap: round; stroke-opacity: 0.62; }
.forgotten { stroke-width: 4.6; stroke-linecap: square; }
.curve { fill: none; stroke-width: 1.6; }
.keeps { stroke-width: 1.6; }
.costs { fill: var(--page); stroke-width: 1.6; }
.arrow { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.head { fill: var(--ink); }
.place { fill: none; stroke: var(--ink); stroke-width: 1.6; }
"""
"""Every picture has a background of its own, so it can be read on any page."""

Point = tuple[float, float]
Place = Callable[[Tensor], Point]
"""From the coordinates of a feature, (3,), to pixels."""


@dataclass(frozen=True, eq=False)
class View:
    """From where the features of a network are looked at: the plane of the retained means, and what rises from it.

    The mean of A lies at (-1/2, 0, 0) and that of B at (1/2, 0, 0); that of C has no height.
    """

    origin: Tensor
    """float64 (features,)."""
    axes: Tensor
    """float64 (features, 3)."""

    @classmethod
    def of(cls, means: Tensor) -> "View":
        """Return the view that the class means (classes, features) of a network give."""
        origin = (means[0] + means[1]) / 2
        scale = (means[1] - means[0]).norm()
        axes: list[Tensor] = []
        for towards in (means[1], means[2], means[FORGOTTEN]):
            rest = towards - origin
            for axis in axes:
                rest = rest - rest @ axis * axis
            axes.append(rest / rest.norm())
        return cls(origin, torch.stack(axes, dim=1) / scale)

    def coordinates(self, features: Tensor) -> Tensor:
        """Return float64 (n, 3) of features (n, features)."""
        return (features - self.origin) @ self.axes


@dataclass(frozen=True, eq=False)
class Panel:
    """One network in a picture."""

    title: str
    below: str
    network: Weights
    view: View


def main() -> None:
    """Write every picture."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    measured = json.loads((FOLDER / MEASURED).read_text())
    for name, drawn in pictures(measured).items():
        (folder / name).write_text(drawn)


def pictures(measured: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the SVG of every picture, by file name.

    Args:
        measured: The figures of ``separability.py``.
    """
    images = method_toy.images()
    before = method_toy.train(images, len(CLASSES))
    own = View.of(class_means(before, images))
    without = method_toy.never_saw(images)
    never = Panel("Never saw S", _heights(without, images), without, View.of(class_means(without, images)))
    one, all_groups = (method_toy.edited(before, images, ALPHA_F, groups=groups) for groups in (False, True))
    side = (
        Panel("Trained on all classes", _heights(before, images), before, own),
        Panel("Redirected", _heights(all_groups, images), all_groups, own),
        never,
    )
    above = (
        Panel("One direction for the class", _spread(one, images, own), one, own),
        Panel("With look-alike groups", _spread(all_groups, images, own), all_groups, own),
        Panel("Never saw S", _spread(without, images, never.view), without, never.view),
    )
    return {
        "redirect.svg": _panels(side, images, _from_the_side, "What moves where, seen from the side", ground=True),
        "look-alikes.svg": _panels(above, images, _from_above, "Look-alike groups, seen from above", ground=False),
        "separability.svg": _chart(measured),
    }


def class_means(network: Weights, images: Images) -> Tensor:
    """Return the mean feature of every class, float64 (classes, features)."""
    return torch.stack([network.see(images.of(k)).mean(0) for k in range(len(CLASSES))])


# -- the toy ------------------------------------------------------------------------------------------


def _panels(
    panels: Sequence[Panel], images: Images, place: Callable[[float], Place], title: str, *, ground: bool
) -> str:
    width, height = len(panels) * (PANEL + GAP) + GAP, PANEL + 52
    parts = []
    for i, panel in enumerate(panels):
        left = GAP + i * (PANEL + GAP)
        parts.append(label(left + PANEL / 2, 24, panel.title, "title", text_anchor="middle"))
        parts.extend(_cloud(panel, images, place(left), ground=ground))
        parts.append(label(left + PANEL / 2, height - 14, panel.below, "soft", text_anchor="middle"))
    told = "; ".join(f"{panel.title}: {panel.below}" for panel in panels)
    return _document(width, height, title, f"Features of four classes of a toy. {told}.", parts)


def _cloud(panel: Panel, images: Images, place: Place, *, ground: bool) -> Iterator[Markup]:
    """Yield the images of every class as dots, the class means as letters, and the triangle of retained means."""
    means = panel.view.coordinates(class_means(panel.network, images))
    corners = [place(means[k]) for k in RETAINED]
    yield element("path", d=f"M{'L'.join(_pair(corner) for corner in corners)}Z", class_="floor")
    for k, name in enumerate(CLASSES.lower()):
        found = panel.view.coordinates(panel.network.see(images.of(k)))
        dots = "".join(f"M{_pair(place(row))}h0" for row in found)
        kind = "dots forgotten" if k == FORGOTTEN else "dots"
        yield element("path", d=dots, class_=kind, style=f"stroke:var(--{name})")
    if ground:
        yield from _drop(means[FORGOTTEN], place)
    for k, name in enumerate(CLASSES):
        x, y = place(means[k])
        below = 26 if ground and k != FORGOTTEN else 5
        yield label(x, y + below, name, "name", text_anchor="middle", style=f"fill:var(--{name.lower()})")


def _drop(mean: Tensor, place: Place) -> Iterator[Markup]:
    """Yield the way from the forgotten mean down to the plane of the retained ones, if there is any to go."""
    (x, y), (foot_x, foot_y) = place(mean), place(mean * torch.tensor([1.0, 1.0, 0.0], dtype=mean.dtype))
    if foot_y - y < 20:
        return
    yield element("path", d=f"M{_pair((x, y + 10))}L{_pair((foot_x, foot_y - 8))}", class_="arrow")
    corners = (foot_x, foot_y - 1), (foot_x - 4.5, foot_y - 10), (foot_x + 4.5, foot_y - 10)
    yield element("path", d=f"M{'L'.join(_pair(corner) for corner in corners)}Z", class_="head")


def _from_the_side(left: float) -> Place:
    def place(row: Tensor) -> Point:
        x, y, z = row.tolist()
        return left + PANEL * (0.45 + 0.56 * x + 0.2 * y), TOP + PANEL * (0.77 - 0.23 * y - 0.63 * z)

    return place


def _from_above(left: float) -> Place:
    def place(row: Tensor) -> Point:
        x, y, _ = row.tolist()
        return left + PANEL * (0.5 + 0.61 * x), TOP + PANEL * (0.73 - 0.57 * y)

    return place


def _heights(network: Weights, images: Images) -> str:
    """Say how far S stands from the plane of the others, in distances from A to B."""
    means = class_means(network, images)
    view = View.of(means)
    return f"S stands {float(view.coordinates(means[FORGOTTEN:])[0, 2]):.2f} above the plane"


def _spread(network: Weights, images: Images, view: View) -> str:
    """Say how far the two kinds of images of S lie apart, in distances from A to B."""
    along = view.coordinates(network.see(images.of(FORGOTTEN)))[:, 0]
    kinds = int(method_toy.RESEMBLE_A * method_toy.IMAGES)
    return f"its two kinds lie {float(along[kinds:].mean() - along[:kinds].mean()):.2f} apart"


# -- figures that were measured -----------------------------------------------------------------------

CHART_LEFT, CHART_RIGHT, CHART_TOP, CHART_BOTTOM = 60, 630, 56, 320
LEAST, MOST = 0.5, 1.0
COLOURS = "cbas"
"""From weak to strong."""


def _chart(measured: Sequence[Mapping[str, Any]]) -> str:
    edits = [row for row in measured if row["depth"]]
    depths = sorted({row["depth"] for row in edits})
    strengths = sorted({row["alphas"][1] for row in edits})

    def place(depth: float, value: float) -> Point:
        x = CHART_LEFT + (CHART_RIGHT - CHART_LEFT) * (depth - depths[0] + 0.5) / len(depths)
        return x, CHART_BOTTOM - (CHART_BOTTOM - CHART_TOP) * (value - LEAST) / (MOST - LEAST)

    parts = [label(CHART_LEFT, 24, "Separability of cat by number of layers edited", "title")]
    parts.append(label(CHART_LEFT, 42, "VGG11-BN on CIFAR-10, held-out calibration images", "soft"))
    for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        y = place(1, value)[1]
        parts.append(line(CHART_LEFT, y, CHART_RIGHT, y, "hair"))
        parts.append(label(CHART_LEFT - 10, y + 4, f"{value:.1f}", "soft", text_anchor="end"))
    at = CHART_BOTTOM + 20
    parts.extend(label(place(depth, LEAST)[0], at, str(depth), "soft", text_anchor="middle") for depth in depths)
    middle = (CHART_LEFT + CHART_RIGHT) / 2
    parts.append(
        label(middle, CHART_BOTTOM + 42, "layers edited, counted from the output", "soft", text_anchor="middle")
    )
    for row in measured:
        if not row["depth"]:
            y = place(1, row["separability"])[1]
            parts.append(line(CHART_LEFT, y, CHART_RIGHT, y, "level"))
            parts.append(label(CHART_LEFT + 34, y - 7, row["weights"]))
    for colour, strength in zip(COLOURS, strengths, strict=True):
        own = sorted((row for row in edits if row["alphas"][1] == strength), key=lambda row: int(row["depth"]))
        parts.append(_curve(own, colour, place))
        y = place(own[-1]["depth"], own[-1]["separability"])[1]
        told = f"αf = {strength:g}"
        parts.append(label(CHART_RIGHT + 4, y + 4, told, style=f"fill:var(--{colour})"))
    key = CHART_BOTTOM + 64
    parts += [circle(CHART_LEFT + 6, key - 4, 4, "head"), label(CHART_LEFT + 18, key, "keeps the retained bar", "soft")]
    parts += [circle(CHART_LEFT + 186, key - 4, 4, "place"), label(CHART_LEFT + 198, key, "costs more", "soft")]
    told = "The deeper and stronger the edit, the less is left; from six layers on, little is gained."
    return _document(720, key + 20, "Separability by depth", told, parts)


def _curve(rows: Sequence[Mapping[str, Any]], colour: str, place: Callable[[float, float], Point]) -> Markup:
    points = [place(row["depth"], row["separability"]) for row in rows]
    path = element("path", d=f"M{'L'.join(_pair(point) for point in points)}", class_="curve")
    marks = (
        element(
            "circle",
            cx=_short(x),
            cy=_short(y),
            r=4,
            class_="keeps" if row["keeps"] else "costs",
            style=f"fill:var(--{colour})" if row["keeps"] else None,
        )
        for row, (x, y) in zip(rows, points, strict=True)
    )
    return group(path, *marks, style=f"stroke:var(--{colour})")


# -- documents ----------------------------------------------------------------------------------------


def _document(width: float, height: float, title: str, description: str, parts: Sequence[Markup]) -> str:
    light, dark = (";".join(f"--{k}:{v}" for k, v in colours.items()) for colours in (LIGHT, DARK))
    style = f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}{RULES}"
    drawn = element(
        "svg",
        element("title", title),
        element("desc", description),
        element("style", Markup(style)),  # noqa: S704 - written above
        box(0, 0, width, height, "page", rx=8),
        *(Markup("\n") + part for part in parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
    )
    return f"{drawn}\n"


def _pair(point: Point) -> str:
    return f"{_short(point[0])} {_short(point[1])}"


def _short(pixels: float) -> str:
    """Return pixels to a tenth, so that the last bits of a computation do not show."""
    return f"{round(pixels, 1):g}"


if __name__ == "__main__":
    main()
