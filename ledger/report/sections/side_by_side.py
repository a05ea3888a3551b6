"""What was measured of four networks, side by side: original, masked original, this version, and retrained.

The masked original is the trivial way to "forget": the registered weights, which may not answer the classes. A row that
it passes as well is no evidence that anything left the weights. Retrained stands there only where somebody declared a
network that was trained without the classes, and the tests were run on it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.domain.numbers import finite_number
from ledger.report.charts.measured_words import area, measured_percent
from ledger.report.data.measured import Measured, SplitAccuracy, read_interval, read_split
from ledger.report.data.model_report import REGISTERED
from ledger.report.data.tables import Cell, Table

from .evaluator_words import ATTACKS
from .shown_version import ShownVersion

NETWORKS = ("original", "masked_original", "version", "retrained")
PENULTIMATE = "penultimate"
RETURNS = {
    "few_steps": "after a few training steps on forgotten images",
    "retained_tuning": "after fine-tuning on retained images only",
    "one_shot": "with one image of each restored",
    "five_shot": "with five images of each restored",
}


@dataclass(frozen=True)
class Compared:
    """One row: a figure of each network."""

    name: str
    cells: Mapping[str, str]
    """By network, in words; one that has none is not in it."""
    values: Mapping[str, Measured]
    note: str = ""
    """What the figure cannot tell."""


@dataclass(frozen=True)
class SideBySide:
    """The rows, and which networks have a column."""

    networks: tuple[str, ...]
    rows: tuple[Compared, ...]

    def table(self, name: str) -> Table:
        """Return the figures for a file."""
        rows: list[tuple[Cell, ...]] = []
        for row in self.rows:
            for network, value in row.values.items():
                ends = (value.interval.low, value.interval.high) if value.interval else (None, None)
                rows.append((row.name, network, value.share, *ends, value.images))
        return Table(name, ("figure", "network", "value", "low", "high", "images"), tuple(rows))


def side_by_side(shown: ShownVersion) -> SideBySide | None:
    """Return the rows for a version; None if nothing of them was measured."""
    rows = tuple(row for row in _rows(shown) if any(value.share is not None for value in row.values.values()))
    if not rows:
        return None
    present = {network for row in rows for network, value in row.values.items() if value.share is not None}
    return SideBySide(tuple(network for network in NETWORKS if network in present), rows)


def split_of(shown: ShownVersion, network: str, split: str) -> SplitAccuracy | None:
    """Return the accuracies of one network on one split; the original's only where it was compared with."""
    metrics, classes = shown.metrics("accuracy"), len(shown.labels)
    # Matrices of a thousand classes take long to read: only where earlier releases counted images nowhere else.
    lacking = split == "test" and "images" not in _part(metrics.get("test"))
    confusion = shown.confusion if lacking else None
    images = [int(n) for n in confusion.after.images] if confusion else []
    names = {"masked_original": "mask_", "version": "", "retrained": "retrained_"}
    if network != "original":
        return read_split(metrics, f"{names[network]}{split}", classes, images)
    own = read_split(metrics, f"original_{split}", classes, images)
    if own is None and shown.compared("accuracy") == REGISTERED:
        return read_split(metrics, f"base_{split}", classes, images)
    return own


def _rows(shown: ShownVersion) -> Iterator[Compared]:
    yield from _accuracy_rows(shown)
    if shown.forgotten:
        yield from _probe_rows(shown)
        yield from _attack_rows(shown)
        yield from _return_rows(shown)


def _accuracy_rows(shown: ShownVersion) -> Iterator[Compared]:
    forgotten = sorted(shown.forgotten)
    groups = [("retained classes answered correctly", shown.retained, "")]
    if forgotten:
        note = (
            "masking an answer already gives 0: the class is not answered, which is not to say that it left the weights"
        )
        groups.append(("forgotten classes answered correctly", forgotten, note))
    for split in ("test", "train"):
        found = {network: one for network in NETWORKS if (one := split_of(shown, network, split)) is not None}
        for name, classes, note in groups:
            values = {network: one.mean(classes) for network, one in found.items()}
            yield _shares(f"{name}, {split} images", values, note)


def _probe_rows(shown: ShownVersion) -> Iterator[Compared]:
    note = "the features still tell the classes apart; the target is the retrained network's figure, not 0"
    kinds = {
        "linear probe (logistic regression)": ("probe", "regularised"),
        "linear probe (one layer, trained)": ("probe", "sgd"),
        "nearest class mean": ("nearest_mean", "depths"),
    }
    for name, (evaluator, kind) in kinds.items():
        metrics = shown.metrics(evaluator)
        roles = _part(_part(metrics.get(kind)).get(PENULTIMATE))
        values = {
            role: Measured(finite_number(_part(roles.get(role)).get("forgotten")), _forgotten_images(shown))
            for role in NETWORKS
            if role in roles
        }
        yield _shares(f"forgotten classes recognised from features, {name}", values, note)
    depths = _part(_part(shown.metrics("similarity").get("depths")).get(PENULTIMATE))
    for role in ("original", "retrained"):
        value = Measured(finite_number(_part(depths.get(role)).get("forgotten")))
        yield _areas(f"likeness of features of forgotten images to the {role} (CKA)", {"version": value})


def _attack_rows(shown: ShownVersion) -> Iterator[Compared]:
    rmia = shown.metrics("rmia")
    found = {role: _part(rmia.get(role)) for role in NETWORKS if role in rmia}
    yield _areas(
        "membership attack on each image (RMIA), area under the ROC curve",
        {role: _auc(one) for role, one in found.items()},
        "0.5 is no better than guessing; few reference models make a weaker attack",
    )
    rates = {role: Measured(finite_number(one.get("tpr_at_1_percent"))) for role, one in found.items()}
    yield _shares("the same attack, members found at 1 % false alarms", rates)
    neighbours = shown.metrics("neighbours")
    best = {role: _best(one) for role in NETWORKS if isinstance(one := neighbours.get(role), list)}
    yield _areas("forgotten images told from those of the class they are taken for, area under the ROC curve", best)
    membership = shown.metrics("membership")
    for key, attack in ATTACKS.items():
        pair = {"version": Measured(finite_number(membership.get(key)))}
        if shown.compared("membership") == REGISTERED:
            pair["original"] = Measured(finite_number(membership.get(f"base_{key}")))
        note = "a hesitant answer passes it: weak evidence"
        yield _shares(f"forgotten images taken for never seen, {attack}", pair, note)


def _return_rows(shown: ShownVersion) -> Iterator[Compared]:
    relearning = shown.metrics("relearning")
    for name, way in RETURNS.items():
        found = {
            role: Measured(finite_number(_part(_part(relearning.get(role)).get(name)).get("return")))
            for role in NETWORKS
            if role in relearning
        }
        yield _shares(f"forgotten class that comes back most, {way}", found)
    statistics = shown.metrics("statistics")
    after = {
        role: Measured(finite_number(_part(_part(statistics.get(role)).get("after")).get("forgotten")))
        for role in NETWORKS
        if role in statistics
    }
    yield _shares("forgotten class that comes back most, after new normalisation statistics", after)


def _shares(name: str, values: Mapping[str, Measured], note: str = "") -> Compared:
    return Compared(name, {network: measured_percent(value) for network, value in values.items()}, values, note)


def _areas(name: str, values: Mapping[str, Measured], note: str = "") -> Compared:
    return Compared(name, {role: area(value.share, value.interval) for role, value in values.items()}, values, note)


def _auc(metrics: Mapping[str, Any]) -> Measured:
    interval = read_interval(metrics.get("auc_low"), metrics.get("auc_high"))
    return Measured(finite_number(metrics.get("auc")), None, interval)


def _best(classes: list[Any]) -> Measured:
    known = [one for each in classes if (one := _auc(_part(each))).share is not None]
    return max(known, key=lambda one: one.share or 0.0, default=Measured(None))


def _forgotten_images(shown: ShownVersion) -> int | None:
    version = split_of(shown, "version", "test")
    return version.mean(sorted(shown.forgotten)).images if version else None


def _part(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
