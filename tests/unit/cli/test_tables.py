"""Tables: fitted to a terminal, a line a row elsewhere, and never squeezed to nothing."""

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


@pytest.mark.parametrize("columns", [40, 80, 120])
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
