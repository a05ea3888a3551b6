"""What in an image speaks for its class, by the original, this version and a retrained network."""

from collections.abc import Iterator, Mapping

from ledger.domain.numbers import finite_number
from ledger.report.charts.heat_strips import HeatMap, StripRow, heat_strips
from ledger.report.charts.svg import named
from ledger.report.data.tables import Cell, Table

from .figure import Figure
from .network_words import NETWORK_NAMES
from .shown_version import ShownVersion

MOST_IMAGES, MOST_SIDE = 8, 32
"""Images, and fields along a side of a map, that the page draws."""


def saliency_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield strips of heat maps, if they were made."""
    metrics = shown.metrics("saliency")
    found = metrics.get("pictures")
    pictures = [
        (int(k), one)
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, Mapping)
        and (k := finite_number(one.get("class"))) is not None
        and 0 <= k < len(shown.labels)
    ][:MOST_IMAGES]
    rows = [
        StripRow(name, tuple(_heat_map(one.get(role)) for _, one in pictures)) for role, name in NETWORK_NAMES.items()
    ]
    rows = [row for row in rows if any(row.maps)]
    if not rows:
        return
    names = [named(shown.labels[k]) for k, _ in pictures]
    title = "What in test images of forgotten classes speaks for their class"
    method = metrics.get("method")
    how = f" ({method})" if isinstance(method, str) else ""
    cells: list[tuple[Cell, ...]] = [
        (place, shown.labels[k], row.name, i, j, value)
        for row in rows
        for place, (k, _) in enumerate(pictures)
        if (one := row.maps[place]) is not None
        for i, values in enumerate(one.values)
        for j, value in enumerate(values)
    ]
    yield Figure(
        heat_strips(f"{shown.uid}-saliency", title, names, rows),
        title,
        f"Heat maps{how}, each scaled to its own largest value; below, the probability of the class. An illustration: "
        "a map says where an answer comes from, not whether a class is known. No image is shown.",
        wide=True,
        table=Table(
            shown.table_name("saliency"), ("image", "class", "network", "row", "column", "value"), tuple(cells)
        ),
    )


def _heat_map(value: object) -> HeatMap | None:
    rows = value.get("map") if isinstance(value, Mapping) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_SIDE:
        return None
    read = [tuple(finite_number(cell) for cell in row) if isinstance(row, list) else () for row in rows]
    if len({len(row) for row in read}) != 1 or not 0 < len(read[0]) <= MOST_SIDE:
        return None
    values = tuple(tuple(min(1.0, max(0.0, cell or 0.0)) for cell in row) for row in read)
    return HeatMap(values, finite_number(value.get("probability")) if isinstance(value, Mapping) else None)
