"""Callers who file at the same time share transactions, and each is told of their own."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.config import create_config
from ledger.desk.asked import FiledRequest
from ledger.desk.local.filing import Asked, file_together
from ledger.errors import BusyError, LedgerError, UnknownClassError
from ledger.service.ledger import create_ledger, open_ledger
from ledger.web import filing_queue
from ledger.web.filing_queue import FilingQueue
from ledger.web.ledgers import LedgerPool
from tests.ledgers.stand_in import register_stand_in

CALLERS = 12


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LedgerPool]:
    config = create_config(tmp_path / "ledger", "sqlite:///ledger.db", "objects")
    with_model = create_ledger(config, "ada")
    register_stand_in(
        with_model, "cars", ("car", "bus", "van", "tram"), b"weights", at=datetime(2026, 1, 5, tzinfo=UTC)
    )
    with_model.close()
    lent = LedgerPool(partial(open_ledger, config, "server"), 4, 20.0)
    yield lent
    lent.close()


class Gate:
    """Files as the desk does, once it is opened; remembers how many were filed for at a time."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, ledger: Any, asked: Sequence[Asked]) -> list[Any]:
        self.sizes.append(len(asked))
        self.begun.set()
        assert self.open.wait(30)
        return file_together(ledger, asked)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    found = Gate()
    monkeypatch.setattr(filing_queue, "file_together", found)
    return found


def asked(number: int) -> Asked:
    """Every fourth caller names a class that is none."""
    named = "boat" if number % 4 == 3 else "car"
    return Asked(f"caller {number}", 1, [FiledRequest([named], idempotency_key=f"key {number}")])


def outcome(queue: FilingQueue, number: int) -> Any:
    try:
        return queue.file(asked(number))
    except LedgerError as error:
        return error


def test_who_comes_while_others_are_filed_is_filed_with_those_who_wait(pool: LedgerPool, gate: Gate) -> None:
    queue = FilingQueue(pool, 20.0)
    with ThreadPoolExecutor(CALLERS) as threads:
        first = threads.submit(outcome, queue, 0)
        assert gate.begun.wait(20)
        later = [threads.submit(outcome, queue, number) for number in range(1, CALLERS)]
        while len(queue._queue) < CALLERS - 1:
            time.sleep(0.01)
        gate.open.set()
        found = [first.result(30), *(one.result(30) for one in later)]
    assert gate.sizes == [1, CALLERS - 1]
    good = [one for number, one in enumerate(found) if number % 4 != 3]
    assert len({one["items"][0]["id"] for one in good}) == len(good)
    assert {one["items"][0]["actor"] for one in good} == {f"caller {n}" for n in range(CALLERS) if n % 4 != 3}
    assert all(isinstance(found[number], UnknownClassError) for number in range(3, CALLERS, 4))


def test_who_waits_too_long_is_asked_to_come_again_and_was_not_filed(pool: LedgerPool, gate: Gate) -> None:
    queue = FilingQueue(pool, 0.05)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(outcome, queue, 0)
        assert gate.begun.wait(20)
        assert isinstance(threads.submit(outcome, queue, 1).result(20), BusyError)
        gate.open.set()
        assert first.result(30)["items"][0]["id"] == 1
    assert queue.file(asked(2))["items"][0]["id"] == 2, "the next in the queue is filed"
    assert gate.sizes == [1, 1]


def test_a_failure_ends_nobodys_turn_for_ever(pool: LedgerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = FilingQueue(pool, 20.0)

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(filing_queue, "file_together", fail)
        with pytest.raises(ZeroDivisionError):
            queue.file(asked(0))
    assert queue.file(asked(0))["items"][0]["id"] == 1
