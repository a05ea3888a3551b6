"""What an operator sees of a ledger: figures from the database, and whether it can be used."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.config import create_config, find_config
from ledger.domain.states import Action, RequestState
from ledger.errors import LedgerError
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.requests.decisions import decide
from ledger.service.upkeep.operational_metrics import operational_metrics
from ledger.service.upkeep.readiness import readiness
from tests.ledgers.sample import LABELS, START, Sample


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    create_ledger(create_config(tmp_path, "sqlite:///ledger.db", "objects"), "ada", clock=lambda: START).close()
    now = [START]
    sample = Sample(open_ledger(find_config(tmp_path), "ada", clock=lambda: now[0]), now)
    sample.register(LABELS)
    yield sample
    sample.ledger.close()


def failing(sample: Sample) -> dict[str, LedgerError]:
    return {one.name: one.error for one in readiness(sample.ledger) if one.error is not None}


def test_an_empty_ledger_has_figures(sample: Sample) -> None:
    found = operational_metrics(sample.ledger)
    assert (found.states, found.oldest_open, found.overdue, found.workers) == ({}, {}, {1: 0}, 0)
    assert found.phases == {"waiting": (), "working": ()}


def test_the_queue_is_counted_by_model_and_state(sample: Sample) -> None:
    sample.forget(0)
    sample.file(1)
    held = sample.file(2)
    decide(sample.ledger, held, Action.HOLD, "wait")
    sample.later(40)
    found = operational_metrics(sample.ledger)
    assert found.states == {
        (1, RequestState.FULFILLED): 1,
        (1, RequestState.QUEUED): 1,
        (1, RequestState.ON_HOLD): 1,
    }
    assert found.oldest_open[1] == 40 * 86_400
    assert found.overdue == {1: 2}
    with sample.ledger.database.read() as tx:
        assert found.audit_entries == tx.audit.head().size > 0


def test_a_ledger_at_hand_is_ready(sample: Sample) -> None:
    assert failing(sample) == {}


def test_what_is_missing_is_named(sample: Sample) -> None:
    root = sample.ledger.config.root
    with closing(sqlite3.connect(root / "ledger.db")) as connection:
        connection.execute("UPDATE unledger_schema SET version_num = 'r9999'")
        connection.commit()
    assert set(failing(sample)) == {"schema"}
    shutil.rmtree(root / "keys")
    assert set(failing(sample)) >= {"schema", "ledger"}


def test_a_database_that_is_gone_is_no_crash(sample: Sample) -> None:
    sample.ledger.close()
    (sample.ledger.config.root / "ledger.db").unlink()
    (sample.ledger.config.root / "ledger.db").mkdir()
    assert "database" in failing(sample)
