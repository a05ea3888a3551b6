"""Membership attacks on forgotten images: curves of the attack on each image, and the two attacks on the group."""

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.domain.numbers import finite_number
from ledger.report.charts.dumbbells import DumbbellGroup, DumbbellRow, dumbbells
from ledger.report.charts.measured_words import area
from ledger.report.charts.roc import RocCurve, roc_chart
from ledger.report.charts.words import count
from ledger.report.data.measured import read_interval
from ledger.report.data.tables import Cell, Table

from .evaluator_words import ATTACK_NOTES, ATTACKS
from .figure import Figure
from .network_words import NETWORK_NAMES
from .shown_version import ShownVersion


def roc_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield the curves of the attack on each image, if it was run."""
    metrics = shown.metrics("rmia")
    found = {role: metrics[role] for role in NETWORK_NAMES if isinstance(metrics.get(role), Mapping)}
    curves = [RocCurve(NETWORK_NAMES[role], role, _points(one.get("roc"))) for role, one in found.items()]
    curves = [curve for curve in curves if len(curve.points) > 1]
    if not curves:
        return
    title = "Membership attack on each forgotten image (RMIA), both axes logarithmic"
    rows: list[tuple[Cell, ...]] = [(curve.style, *point) for curve in curves for point in curve.points]
    columns = ("network", "false_positive_rate", "true_positive_rate")
    table = Table(shown.table_name("rmia-roc"), columns, tuple(rows))
    yield Figure(roc_chart(f"{shown.uid}-roc", title, curves), title, _roc_caption(metrics, found), table=table)


def membership_figures(shown: ShownVersion) -> Iterator[Figure]:
    """Yield a chart of the two attacks on the group, if they were run."""
    metrics = shown.metrics("membership")
    rows = [
        DumbbellRow(name, finite_number(metrics.get(f"base_{key}")), finite_number(metrics.get(key)))
        for key, name in ATTACKS.items()
    ]
    if all(row.before is None and row.after is None for row in rows):
        return
    title = "Membership inference: forgotten images taken for never seen, %"
    caption = (
        f"○ before: {shown.compared('membership')}; ◆ after. {ATTACK_NOTES} A hesitant answer passes both, so a high "
        "figure is weak evidence."
    )
    cells: tuple[tuple[Cell, ...], ...] = tuple((row.name, row.before, row.after) for row in rows)
    table = Table(shown.table_name("membership"), ("attack", "before", "after"), cells)
    picture = dumbbells(f"{shown.uid}-membership", title, [DumbbellGroup("attack", tuple(rows))])
    yield Figure(picture, title, caption, table=table)


def _points(value: object) -> tuple[tuple[float, float], ...]:
    pairs = [p for p in value if isinstance(p, list) and len(p) == 2] if isinstance(value, list) else []
    read = [(finite_number(false), finite_number(true)) for false, true in pairs]
    known = [(false, true) for false, true in read if false is not None and true is not None]
    return tuple(sorted((min(1.0, max(0.0, f)), min(1.0, max(0.0, t))) for f, t in known))


def _roc_caption(metrics: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    areas = [
        f"{NETWORK_NAMES[role]} {area(value, read_interval(one.get('auc_low'), one.get('auc_high')))}"
        for role, one in found.items()
        if (value := finite_number(one.get("auc"))) is not None
    ]
    counts = _part(metrics.get("counts"))
    told = {name: finite_number(counts.get(name)) for name in ("members", "non_members")}
    images = ""
    if (members := told.get("members")) and (others := told.get("non_members")):
        trained = count(int(members), "image")
        images = f" {trained} of the forgotten classes from training, {int(others):,} from the test set."
    models = finite_number(_part(metrics.get("references")).get("models"))
    few = f" {models:.0f} reference models: a stronger attacker would train more." if models else ""
    return f"Area under the curve: {'; '.join(areas)}. Dashed: guessing.{images}{few}"


def _part(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
