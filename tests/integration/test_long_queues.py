"""Questions that are asked again and again take no more steps of the database in a long queue than in a short one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.requests.filing import enqueue
from ledger.store.unit_of_work import Transaction
from tests.ledgers.stand_in import register_stand_in

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
SHORT, LONG = 30, 900

QUESTIONS: dict[str, Callable[[Transaction], object]] = {
    "claim": lambda tx: tx.requests.claim(owner="worker", ttl=60, at=NOW),
    "leases": lambda tx: tx.requests.leases(),
    "leased": lambda tx: tx.requests.leased(),
    "overdue": lambda tx: tx.operations.overdue(NOW),
    "count": lambda tx: tx.requests.count(None, None, after=3),
    "count of the log": lambda tx: tx.audit.count(after=3),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model."""
    config = create_config(tmp_path / "ledger", "sqlite:///ledger.db", "objects")
    opened = create_ledger(config, "tester", clock=lambda: NOW)
    register_stand_in(opened, "cars", tuple(f"class {k}" for k in range(10)), b"weights", at=NOW)
    yield opened
    opened.close()


def file(ledger: Ledger, count: int) -> None:
    enqueue(ledger, "cars", [NewRequest(frozenset({n % 7}), "alice", reason="asked to") for n in range(count)])


def steps(ledger: Ledger, ask: Callable[[Transaction], object], *, twice: bool = False) -> int:
    """Return how many steps SQLite takes for a question; nothing that it changes stays."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    with ledger.database.read() as tx:
        if twice:
            ask(tx)
        driver = tx.audit._session.connection().connection.dbapi_connection
        assert driver is not None
        driver.set_progress_handler(count, 1)
        ask(tx)
        driver.set_progress_handler(None, 1)
    return taken


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_long_queue_is_not_gone_through(ledger: Ledger, question: str) -> None:
    file(ledger, SHORT)
    few = steps(ledger, QUESTIONS[question])
    file(ledger, LONG - SHORT)
    assert 0 < steps(ledger, QUESTIONS[question]) < 1.5 * few


def test_nor_to_find_that_a_worker_carries_out_one_of_it(ledger: Ledger) -> None:
    file(ledger, LONG)
    claim = QUESTIONS["claim"]
    assert 0 < steps(ledger, claim, twice=True) < 1.5 * steps(ledger, claim)
