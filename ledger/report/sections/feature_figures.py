"""What features still tell of forgotten classes, at three depths, beside original and retrained."""

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.domain.numbers import finite_number
from ledger.report.charts.line_chart import Series, line_chart
from ledger.report.data.tables import Cell, Table

from .figure import Figure
from .network_words import NETWORK_NAMES
from .shown_version import ShownVersion

DEPTHS = {"one_third": "one third", "two_thirds": "two thirds", "penultimate": "before the classifier"}
READOUTS = (
    ("probe", "regularised", "linear probe, logistic regression"),
    ("probe", "sgd", "linear probe, one trained layer"),
    ("nearest_mean", "depths", "nearest class mean"),
)
"""Evaluator, name of its metrics, and what it is called."""


def feature_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield a chart for each kind of readout that was measured."""
    for evaluator, kind, name in READOUTS:
        metrics = shown.metrics(evaluator)
        by_depth = metrics.get(kind)
        series = _series(by_depth if isinstance(by_depth, Mapping) else {})
        if not any(value is not None for one in series for value in one.values):
            continue
        title = f"Forgotten classes recognised from features: {name}, % by depth"
        rows: list[tuple[Cell, ...]] = [
            (depth, one.style, value) for one in series for depth, value in zip(DEPTHS, one.values, strict=True)
        ]
        yield Figure(
            line_chart(f"{shown.uid}-{evaluator}-{kind}", title, list(DEPTHS.values()), series),
            title,
            _caption(metrics, retrained=any(one.style == "retrained" for one in series)),
            table=Table(shown.table_name(f"{evaluator}-{kind}"), ("depth", "network", "forgotten"), tuple(rows)),
        )


def _series(by_depth: Mapping[str, Any]) -> list[Series]:
    found = []
    for network, name in NETWORK_NAMES.items():
        values = []
        for depth in DEPTHS:
            roles = by_depth.get(depth)
            one = roles.get(network) if isinstance(roles, Mapping) else None
            values.append(finite_number(one.get("forgotten")) if isinstance(one, Mapping) else None)
        if any(value is not None for value in values):
            found.append(Series(name, network, tuple(values)))
    return found


def _caption(metrics: Mapping[str, Any], *, retrained: bool) -> str:
    learned = finite_number(metrics.get("probe_images", metrics.get("nearest_mean_images")))
    told = f"Learned from {learned:,.0f} training images, asked on test images. " if learned else ""
    if retrained:
        return f"{told}The target is the retrained network: features that never saw a class may tell it all the same."
    return (
        f"{told}What a network trained without the classes would show was not measured: a high figure alone is no "
        "proof of a trace, and a low one no proof of none."
    )
