"""The numbers behind the pictures as CSV: complete, exact, and nothing a spreadsheet would run."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ConflictError, RefusedError
from ledger.report.data.gathering import gather
from ledger.report.data.tables import Table, to_csv
from ledger.report.page import page_tables
from tests.ledgers.reports import write_report
from tests.ledgers.sample import NewSample, Sample

FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "  =1", "＝1")


def parsed(table: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))


@pytest.mark.parametrize("label", FORMULAS)
def test_a_label_that_looks_like_a_formula_becomes_text(label: str) -> None:
    assert parsed(Table("t", ("class",), ((label,),)))[1] == [f"'{label}"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_other_label_comes_back_as_it_was_and_none_begins_a_formula(label: str) -> None:
    (cell,) = parsed(Table("t", ("class",), ((label,),)))[1]
    assert cell in (label, f"'{label}")
    assert cell.lstrip(" ")[:1] not in "=+-@\t\r\n＝＋－＠" or not cell.strip(" ")


def test_numbers_are_exact_and_unknown_ones_empty() -> None:
    table = Table("t", ("a", "b", "c", "d"), ((-0.1, 1 / 3, None, True), (-5, 0, None, False)))
    assert parsed(table)[1:] == [["-0.1", repr(1 / 3), "", "yes"], ["-5", "0", "", "no"]]


def test_lone_surrogates_are_written_all_the_same() -> None:
    assert b"?" in to_csv(Table("t", ("a",), (("\ud800",),)))


def test_every_picture_has_a_table_of_its_own_name(sample: Sample) -> None:
    report = gather(sample.ledger, sample.name)
    tables = page_tables(report)
    names = [table.name for table in tables]
    assert len(set(names)) == len(names)
    # Version 3 has the weights of version 1, and evidence belongs to weights.
    pictures = {"accuracy-test", "accuracy-train", "confusion", "membership", "search", "layers", "side-by-side"}
    assert {"history", "requests", *(f"version-{n}-{name}" for n in (2, 3) for name in pictures)} <= set(names)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    evidence = report.history.evidence[1]["accuracy"].metrics
    (accuracy,) = (table for table in tables if table.name == "version-3-accuracy-test")
    column = accuracy.columns.index("after")
    assert [row[column] for row in accuracy.rows] == evidence["test"]["per_class"]


def test_tables_hold_every_class_where_the_picture_shows_a_selection(new_sample: NewSample) -> None:
    sample = new_sample([f"class {k}" for k in range(100)])
    sample.measure(sample.forget(3))
    tables = {table.name: table for table in page_tables(gather(sample.ledger, sample.name))}
    assert len(tables["version-1-accuracy-test"].rows) == 100
    assert sum(int(row[-1] or 0) for row in tables["version-1-confusion"].rows) == 100 * 30


def test_tables_are_written_beside_the_page(new_sample: NewSample, tmp_path: Path) -> None:
    sample = new_sample(["=1+1", "jay", "tit", "kite", "crow", "wren"])
    sample.measure(sample.forget(0))
    folder = tmp_path / "numbers"
    written = write_report(sample.ledger, sample.name, tmp_path / "page.html", csv=folder)
    assert sorted(written) == sorted(folder.iterdir())
    assert '"\'=1+1"' in (folder / "version-1-accuracy-test.csv").read_text()
    assert not any(line.startswith(("=", '"=')) for path in written for line in path.read_text().splitlines())


def test_tables_are_replaced_with_force_only_and_others_stay(sample: Sample, tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    write_report(sample.ledger, sample.name, tmp_path / "page.html", csv=folder)
    (folder / "history.csv").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not an empty folder"):
        write_report(sample.ledger, sample.name, tmp_path / "other.html", csv=folder)
    assert not (tmp_path / "other.html").exists()
    write_report(sample.ledger, sample.name, tmp_path / "other.html", csv=folder, force=True)
    assert (folder / "history.csv").read_text() != "mine"
    assert (folder / "notes.txt").read_text() == "mine"


def test_tables_stay_out_of_the_ledger(sample: Sample, tmp_path: Path) -> None:
    for place in ("objects", "keys/new"):
        with pytest.raises(RefusedError, match="belongs to the ledger"):
            write_report(
                sample.ledger, sample.name, tmp_path / "page.html", csv=sample.ledger.config.root / place, force=True
            )
    assert not (tmp_path / "page.html").exists()
