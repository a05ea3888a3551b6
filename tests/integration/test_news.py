"""What happens in a ledger is told to other processes once it happened, by the databases that can do so."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger.store.database import news
from ledger.store.database.engine import open_engine
from ledger.store.database.news import CHANNEL, MOST, told
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

SOON = 20.0


@pytest.fixture
def two(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    """The same ledger as two processes have it open."""
    engine = open_engine(postgres_url)
    upgrade_schema(engine)
    databases = Database(engine), Database(open_engine(postgres_url))
    yield databases
    for one in databases:
        one.close()


def listeners(database: Database) -> int:
    """Return how many connections wait for news."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = :query"
    with database.engine.connect() as connection:
        return int(connection.scalar(text(query), {"query": f"LISTEN {CHANNEL}"}) or 0)


def append(database: Database, when: datetime, *kinds: str) -> None:
    """Append entries in one transaction."""
    with database.write() as tx:
        for kind in kinds:
            tx.audit.append(any_event(kind), at=when, actor="alice")


@pytest.mark.postgres
def test_others_hear_of_what_was_committed_and_of_nothing_else(two: tuple[Database, Database], when: datetime) -> None:
    here, there = two
    heard: queue.Queue[frozenset[str]] = queue.Queue()
    with here.news.heard_by(heard.put):
        assert heard.get(timeout=SOON) == frozenset()
        with pytest.raises(ZeroDivisionError), there.write() as tx:  # noqa: PT012 - what is undone
            tx.audit.append(any_event("request.denied"), at=when, actor="alice")
            raise ZeroDivisionError
        append(there, when, "request.received", "request.claimed", "request.received")
        assert heard.get(timeout=SOON) == {"request.received", "request.claimed"}
        append(here, when, "request.fulfilled")
        assert heard.get(timeout=SOON) == {"request.fulfilled"}
        assert listeners(there) == 1
    append(there, when, "request.received")
    assert listeners(there) == 0
    assert heard.empty()


@pytest.mark.postgres
def test_one_connection_listens_for_everybody_in_a_process(two: tuple[Database, Database], when: datetime) -> None:
    here, there = two
    first: queue.Queue[frozenset[str]] = queue.Queue()
    second: queue.Queue[frozenset[str]] = queue.Queue()
    with here.news.heard_by(first.put):
        assert first.get(timeout=SOON) == frozenset()
        with here.news.heard_by(second.put):
            # Who comes later may have missed something as well.
            assert second.get(timeout=SOON) == frozenset()
            append(there, when, "request.received")
            assert first.get(timeout=SOON) == second.get(timeout=SOON) == {"request.received"}
            assert listeners(there) == 1
        append(there, when, "request.held")
        assert first.get(timeout=SOON) == {"request.held"}
    assert second.empty()


@pytest.mark.postgres
def test_a_connection_that_was_cut_is_made_again_and_nothing_is_taken_for_known(
    two: tuple[Database, Database], when: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "AGAIN_SECONDS", 0.05)
    here, there = two
    heard: queue.Queue[frozenset[str]] = queue.Queue()
    with here.news.heard_by(heard.put):
        assert heard.get(timeout=SOON) == frozenset()
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = :query"
        with there.engine.connect() as connection:
            connection.execute(text(cut), {"query": f"LISTEN {CHANNEL}"})
        assert heard.get(timeout=SOON) == frozenset()
        append(there, when, "request.received")
        assert heard.get(timeout=SOON) == {"request.received"}


@pytest.mark.postgres
def test_who_stops_listening_while_the_server_is_away_does_not_wait_for_it(postgres_url: str) -> None:
    nowhere = open_engine(postgres_url.replace("host=", "host=/nowhere"))
    database = Database(nowhere)
    began = time.monotonic()
    with database.news.heard_by(lambda _kinds: None):
        pass
    assert time.monotonic() - began < SOON
    assert "news" not in {thread.name for thread in threading.enumerate()}
    database.close()


def test_a_file_tells_nobody(sqlite_url: str, when: datetime) -> None:
    database = Database(open_engine(sqlite_url))
    upgrade_schema(database.engine)
    heard: list[frozenset[str]] = []
    before = threading.active_count()
    with database.news.heard_by(heard.append):
        assert threading.active_count() == before
        append(database, when, "request.received")
    assert heard == []
    database.close()


def test_what_is_too_long_to_be_told_may_have_been_anything() -> None:
    assert told(["b", "a", "b"]) == "a b"
    assert told(str(number).zfill(10) for number in range(MOST // 11 + 1)) == ""
