"""Tables: fitted to a terminal, a line a row elsewhere, and never squeezed to nothing."""

from contextvars import copy_context
from datetime import timedelta, timezone

import pytest
from ledger.cli import render
from rich.console import Console

NAME, WORDS = "features.1.0.attn.relative_position_bias_table", "added to the features, or looked up in a table " * 4


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    # A console reads its width where it is made.
    monkeypatch.setattr(render, "out", Console(highlight=False))
    render.emit_table(["parameter", "#size", "~why"], [(NAME, 507, WORDS), ("bias", 3, "bias")])
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_row_is_a_line_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    head, first, second = table(capsys, monkeypatch)
    assert head.split() == ["parameter", "size", "why"]
    assert first == f"{NAME}   507  {WORDS.strip()}"
    assert second.split() == ["bias", "3", "bias"]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_text_wraps_at_the_width_asked_for_but_keeps_some_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = table(capsys, monkeypatch)
    start = lines[0].index("why")
    text = [line[start:] for line in lines[1:-1]]
    assert " ".join(text) == WORDS.strip()
    assert max(map(len, lines)) <= max(columns, start + 24)
    assert min(map(len, text[:-1])) > 12


def test_a_table_that_just_fits_is_not_made_wider(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(len(NAME) + len("size") + 4 + render.LEAST_WRAPPED_WIDTH))
    lines = table(capsys, monkeypatch)
    assert max(map(len, lines)) <= len(NAME) + len("size") + 4 + render.LEAST_WRAPPED_WIDTH
    assert " ".join(line[lines[0].index("why") :] for line in lines[1:-1]) == WORDS.strip()


ROWS = [(1, "cars", "a, b", None, "out"), (22, "日本", "c", 3, ""), (3, "z" * 12, "Zoë", -4, "long text " * 5)]
COLUMNS = ["#id", "model", "~classes", "#ver", "~outcome"]


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []], ids=len)
def test_a_line_a_row_looks_as_if_the_table_had_been_laid_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: list[tuple[object, ...]]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    printed = []
    for wrapped in (False, True):
        monkeypatch.setattr(render, "out", Console(highlight=False))
        if wrapped:
            monkeypatch.setattr(render, "_fit", lambda *_, **__: False)
        render.emit_table(COLUMNS, rows)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_very_many_rows_are_a_line_each_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(render, "out", Console(highlight=False))
    render.emit_table(["#id", "~why"], [(n, WORDS) for n in range(render.MOST_WRAPPED + 1)])
    assert len(capsys.readouterr().out.splitlines()) == render.MOST_WRAPPED + 2


def test_a_moment_that_the_zone_cannot_show_is_shown_as_it_is() -> None:
    def shown() -> tuple[str, str, str]:
        render.show_times_in(timezone(timedelta(hours=9), "JST"))
        last = "9999-12-31T23:59:59+00:00"
        return render.day(last), render.minute(last), render.minute("2026-01-31T20:00:00+00:00")

    assert copy_context().run(shown) == ("9999-12-31", "9999-12-31 23:59 UTC", "2026-02-01 05:00 JST")
