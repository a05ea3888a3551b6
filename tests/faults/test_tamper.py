"""A sample of ``tamper.py``: every kind of tampering once, and clean ledgers that are found clean."""

from pathlib import Path

import pytest

from tests.faults import tamper


def test_every_kind_of_tampering_is_found_and_named(tmp_path: Path) -> None:
    counts, problems = tamper.sweep(len(tamper.KINDS), 5, tmp_path)
    assert problems == []
    assert len(counts) == len(tamper.KINDS) >= 12


def test_the_sweep_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tamper.SHOWN, "edit_text", lambda _intruder: tamper.Done(1))
    _, problems = tamper.sweep(1, 0, tmp_path)
    assert "the witness named None instead of 1" in problems[0]
