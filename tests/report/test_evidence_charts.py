"""Pictures and tables of the evidence: every network where it was measured, and nothing where it was not."""

import re
import sys
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.intervals import wilson
from ledger.report.charts.heat_strips import HeatMap, StripRow, heat_strips, level
from ledger.report.charts.line_chart import Series, line_chart
from ledger.report.charts.roc import RocCurve, axis_floor, roc_chart
from ledger.report.charts.stacked_bars import Bar, BarGroup, BarPart, stacked_bars
from ledger.report.data.gathering import gather, read_audit_facts
from ledger.report.data.measured import read_split
from ledger.report.data.model_report import ModelReport
from ledger.report.page import page_tables, render
from ledger.report.sections.evidence_level import level_summary
from ledger.report.sections.shown_version import ShownVersion
from ledger.report.sections.side_by_side import side_by_side
from tests.ledgers.sample import NewSample, Sample
from tests.report.whole_evidence import record_whole, whole_evidence

shares = st.none() | st.floats(0, 1)
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "original", "penultimate", "forgotten", "roc", "map", "class", "0"]), inner
        )
    ),
    max_leaves=12,
)


def rows_of(report: ModelReport) -> dict[str, dict[str, str]]:
    found = side_by_side(ShownVersion(report, report.live))
    assert found is not None
    return {row.name: dict(row.cells) for row in found.rows}


@pytest.fixture
def measured(new_sample: NewSample) -> Sample:
    sample = new_sample()
    record_whole(sample, sample.forget(0, 3))
    return sample


def test_four_networks_stand_side_by_side(measured: Sample) -> None:
    report = gather(measured.ledger, measured.name)
    rows = rows_of(report)
    answered = rows["retained classes answered correctly, test images"]
    assert set(answered) == {"original", "masked_original", "version", "retrained"}
    assert all(re.search(r"% \([\d.]+–[\d.]+.%, 120.images\)", cell) for cell in answered.values())
    assert rows["forgotten classes answered correctly, test images"]["version"].startswith("0.0")
    probe = rows["forgotten classes recognised from features, linear probe (logistic regression)"]
    assert [probe[role][:4] for role in ("version", "original", "retrained")] == ["90.0", "80.0", "70.0"]
    assert rows["membership attack on each image (RMIA), area under the ROC curve"]["version"] == "0.600 (0.550–0.650)"
    text = render(report)
    assert "retrained without" in text
    assert "which ada declared to be trained without" in text


def test_without_a_retrained_network_none_is_shown(new_sample: NewSample) -> None:
    sample = new_sample()
    record_whole(sample, sample.forget(0, 3), retrained=False)
    report = gather(sample.ledger, sample.name)
    assert all("retrained" not in cells for cells in rows_of(report).values())
    text = render(report)
    assert 'class="series retrained"' not in text
    assert 'class="mark-retrained"' not in text
    assert "No network that was trained without the forgotten classes was compared with." in text


def test_a_later_measurement_alone_does_not_hide_the_retrained_network(measured: Sample) -> None:
    report = gather(measured.ledger, measured.name)
    record_whole(measured, report.live, retrained=False, seed=5)
    assert (
        "retrained"
        in rows_of(gather(measured.ledger, measured.name))["retained classes answered correctly, test images"]
    )


def test_levels_and_what_was_not_tested_stand_before_any_figure(new_sample: NewSample) -> None:
    sample = new_sample()
    version = sample.forget(0)
    summary = level_summary(gather(sample.ledger, sample.name), version)
    assert summary.title == "L0 applied"
    assert len(summary.untested) == 4
    assert summary.further == "unledger evaluate birds:1 --level 1"
    text = render(gather(sample.ledger, sample.name))
    assert text.index("Evidence on version 1") < text.index("Versions</h2>")
    record_whole(sample, version, retrained=False)
    summary = level_summary(gather(sample.ledger, sample.name), version)
    assert summary.title == "L3 representation and relearning"
    assert summary.untested == ("L4 against retrained: a network retrained without the classes",)
    assert summary.further == "unledger evaluate birds:1 --level 3 --retrained WEIGHTS"
    record_whole(sample, version)
    assert level_summary(gather(sample.ledger, sample.name), version).untested == ()


def test_few_test_images_are_marked_and_many_are_not(new_sample: NewSample) -> None:
    sample = new_sample()
    version = sample.forget(0)
    record_whole(sample, version, images=19)
    assert "owl ⚠19" in render(gather(sample.ledger, sample.name))
    record_whole(sample, version, images=20)
    assert "⚠" not in render(gather(sample.ledger, sample.name))


def test_every_picture_of_evidence_has_its_numbers(measured: Sample) -> None:
    tables = {table.name: table for table in page_tables(gather(measured.ledger, measured.name))}
    names = ("rmia-roc", "probe-regularised", "probe-sgd", "nearest_mean-depths", "went-to", "saliency", "side-by-side")
    assert {f"version-1-{name}" for name in names} <= tables.keys()
    went = [row for row in tables["version-1-went-to"].rows if row[:2] == ("owl", "version")]
    assert [(row[2], row[3]) for row in went] == [("jay", 0.75), ("tit", 0.25)]


def test_interference_covers_every_class_ever_forgotten(new_sample: NewSample) -> None:
    sample = new_sample()
    record_whole(sample, sample.forget(0))
    record_whole(sample, sample.forget(3))
    record_whole(sample, sample.withdraw(1))
    tables = {table.name: table for table in page_tables(gather(sample.ledger, sample.name))}
    rows = {(row[0], row[1]): row[2] for row in tables["interference"].rows}
    assert rows[2, "owl"] == rows[2, "kite"] == rows[3, "kite"] == 0.0
    assert float(rows[3, "owl"] or 0) > 0.5
    assert (1, "kite") not in rows
    assert "Interference over the whole history" in render(gather(sample.ledger, sample.name))


def test_waived_gates_stand_beside_the_headline(measured: Sample) -> None:
    from ledger.domain.events.requests import RequestFulfilled, RequestRetried
    from ledger.domain.states import RequestState

    assert "Quality gates were waived" not in render(gather(measured.ledger, measured.name))
    with measured.ledger.database.write() as tx:
        waived = RequestRetried(previous=RequestState.BLOCKED, state=RequestState.QUEUED, gates_waived=True)
        missed = ("max_forgotten_accuracy", "loss_against_mask <= 0.02")
        event = RequestFulfilled(version=1, no_op=False, state=RequestState.FULFILLED, gates_missed=2, missed=missed)
        at, name = measured.now[0], measured.name
        tx.audit.append(waived, at=at, actor="ada", model=name, request_id=1, note="the <b>court</b> says so")
        tx.audit.append(event, at=at, actor="ada", model=name, request_id=1)
        facts = read_audit_facts(tx, name)
    text = render(replace(gather(measured.ledger, measured.name), audit_facts=facts))
    assert "it missed 2\u00a0quality gates (max_forgotten_accuracy, loss_against_mask &lt;= 0.02)" in text
    assert "reason given: “the &lt;b&gt;court&lt;/b&gt; says so”" in text
    assert text.index("Quality gates were waived") < text.index("Evidence on version 1")


# -- odd evidence ------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(sorted(whole_evidence(2, frozenset({0})))), odd, min_size=1))
def test_readers_survive_any_metrics(metrics: dict[str, Any]) -> None:
    for name in ("test", "base_test"):
        read_split({name: metrics}, name, 2)


@pytest.mark.parametrize("missing", sorted(whole_evidence(6, frozenset({0}))))
@pytest.mark.parametrize("damage", ["gone", "null", "lists"])
def test_pages_survive_evidence_that_lacks_parts(new_sample: NewSample, missing: str, damage: str) -> None:
    sample = new_sample()
    version = sample.forget(0)
    metrics = whole_evidence(6, version.forgotten)[missing]
    for key in metrics:
        broken = {name: value for name, value in metrics.items() if name != key}
        if damage != "gone":
            broken[key] = None if damage == "null" else [[None, "x"], {}]
        sample.record(version, missing, broken)
        ET.fromstring(
            f"<x>{''.join(re.findall('<svg.*?</svg>', render(gather(sample.ledger, sample.name)), re.DOTALL))}</x>"
        )


# -- drawing -----------------------------------------------------------------------------------------


def test_counts_make_intervals() -> None:
    found = read_split({"test": {"per_class": [0.5, None], "images": [40, 0]}}, "test", 2)
    assert found is not None
    assert found.of_class(0).interval == wilson(20, 40)
    assert found.mean([0, 1]).images == 40
    assert read_split({"test": {"per_class": [0.5]}}, "test", 2) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20))
def test_roc_axes_hold_every_point(points: list[tuple[float, float]]) -> None:
    curve = RocCurve("a", "version", tuple(sorted(points)))
    assert 0.0001 <= axis_floor([curve]) <= 0.1
    found = ET.fromstring(roc_chart("x", "t", [curve]))
    path = next(p for p in found.iter("path"))
    xs = [float(n) for n in re.findall(r"[MH]([\d.]+)", path.get("d", ""))]
    assert all(52 <= x <= 346 for x in xs)


def test_roc_axes_are_logarithmic() -> None:
    curve = RocCurve("a", "version", ((0.001, 0.001), (0.01, 0.1), (0.1, 0.5), (1.0, 1.0)))
    path = next(ET.fromstring(roc_chart("x", "t", [curve])).iter("path"))
    xs = [float(n) for n in re.findall(r"[MH]([\d.]+)", path.get("d", ""))]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert xs[3] == 346


@given(st.lists(st.lists(shares, min_size=3, max_size=3), max_size=5))
def test_lines_stay_inside_and_have_gaps(values: list[list[float | None]]) -> None:
    series = [Series(f"<b>{i}", "other", tuple(one)) for i, one in enumerate(values)]
    found = ET.fromstring(line_chart("x", "t", ["a", "b", "<c>"], series))
    marks = [c for c in found.iter("circle") if float(c.get("cy", 0)) <= 142]
    assert len(marks) == sum(value is not None for one in values for value in one)
    assert all(12 <= float(c.get("cy", 0)) <= 142 for c in marks)


def test_bars_are_in_proportion_and_mark_what_is_still_recognised() -> None:
    bar = Bar("this version", (BarPart("<jay>", 0.5), BarPart("owl", 0.25, own=True)))
    found = ET.fromstring(stacked_bars("x", "t", [BarGroup("owl", (bar,))]))
    widths = [float(b.get("width", 0)) for b in found.iter("rect") if (b.get("class") or "").startswith("part")]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert len([b for b in found.iter("rect") if b.get("class") == "part own"]) == 1


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4))
def test_heat_maps_cover_what_is_above_nothing(values: list[list[float]]) -> None:
    one = HeatMap(tuple(tuple(row) for row in values), 0.5)
    found = ET.fromstring(heat_strips("x", "t", ["<owl>"], [StripRow("original", (one,))]))
    drawn = sum(
        round(float(width) / 24) for p in found.iter("path") for width in re.findall(r"h([\d.]+)v", p.get("d", ""))
    )
    assert drawn == sum(level(value) > 0 for row in values for value in row)


# -- a thousand classes ------------------------------------------------------------------------------


def test_a_page_on_a_thousand_classes_stays_under_three_megabytes(new_sample: NewSample) -> None:
    sample = new_sample([f"class number {k}" for k in range(1000)])
    forgotten = frozenset(range(0, 1000, 10))
    # Without class spaces and a million counts, which the ledger takes long to store and verify.
    sample._terms = lambda *_: ()  # type: ignore[method-assign]
    record_whole(sample, sample.forget(*sorted(forgotten)), without=("confusion",))
    report = gather(sample.ledger, sample.name)
    text = render(report)
    assert sys.getsizeof(text.encode()) < 3_000_000
    assert "class number 0" in text
    tables = {table.name: table for table in page_tables(report)}
    assert len(tables["version-1-accuracy-test"].rows) == 1000
