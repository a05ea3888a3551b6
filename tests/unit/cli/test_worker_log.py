"""Lines of the log, as text and as JSON."""

import json
import logging

import pytest
from ledger.cli.worker_log import FACTS, FORMAT, log_to_stderr

LOG = logging.getLogger("unledger.trial")


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT, "json")


def test_a_line_is_an_object_on_request(as_json: None, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(before=lambda: None):
        LOG.info("request %d is done %s", 7, "x" * 300, extra={FACTS: {"request": 7, "state": "fulfilled"}})
        try:
            raise ValueError("two\nlines")
        except ValueError:
            LOG.exception("that failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["request"], first["state"]) == ("INFO", LOG.name, 7, "fulfilled")
    assert first["message"].startswith("request 7 is done xxx")
    assert first["time"].endswith("Z")
    assert "two\nlines" in second["traceback"]


def test_a_line_is_text_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(before=lambda: None):
        LOG.info("said", extra={FACTS: {"request": 7}})
    assert capsys.readouterr().err.rstrip().endswith("INFO unledger.trial: said")
