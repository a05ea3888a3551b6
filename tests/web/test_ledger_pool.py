"""Ledgers that threads share: who reads does not wait behind those who write."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.config import create_config
from ledger.errors import BusyError
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.web.ledgers import LedgerPool


@pytest.fixture
def opener(tmp_path: Path) -> Callable[[], Ledger]:
    config = create_config(tmp_path / "ledger", "sqlite:///ledger.db", "objects")
    create_ledger(config, "ada").close()
    return lambda: open_ledger(config, "server")


def test_writers_leave_ledgers_to_readers(opener: Callable[[], Ledger]) -> None:
    pool, hold, writing = LedgerPool(opener, 4, 20.0), threading.Event(), threading.Semaphore(0)

    def write() -> None:
        with pool.borrow("ada", writes=True):
            writing.release()
            hold.wait(30)

    with ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(write) for _ in range(6)]
        assert writing.acquire(timeout=20)
        assert writing.acquire(timeout=20)
        assert not writing.acquire(timeout=0.2), "only two of six write at a time"
        with pool.borrow("bob") as first, pool.borrow("eve") as second:
            assert {first.actor, second.actor} == {"bob", "eve"}
        hold.set()
        for writer in writers:
            writer.result(timeout=30)
    pool.close()


def test_who_waits_too_long_to_write_is_asked_to_come_again(opener: Callable[[], Ledger]) -> None:
    pool = LedgerPool(opener, 1, 0.05)
    with pool.borrow(writes=True), pytest.raises(BusyError, match="too much to do"), pool.borrow(writes=True):
        pass
    with pool.borrow(writes=True) as ledger:
        assert ledger.database.holder, "a turn that ended is given to the next"
    pool.close()
