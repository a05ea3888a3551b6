"""Leases on stored objects: taken beside other writers, but not while somebody removes what nobody promised."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

import pytest
from sqlalchemy.engine import make_url

from ledger.errors import BusyError, RetryLaterError
from ledger.store.database.engine import open_engine
from ledger.store.unit_of_work import Database

SOON = "a" * 64
MANY = tuple(f"{number:064x}" for number in range(2500))


@pytest.fixture
def impatient(database: Database, postgres_url: str) -> Iterator[Database]:
    """The same server through connections that wait a tenth of a second for a lock."""
    url = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=100ms"})
    with closing(Database(open_engine(url.render_as_string(hide_password=False)))) as other:
        yield other


def take(database: Database, *digests: str, ttl: float = 60) -> None:
    with database.touch() as tx:
        tx.leases.take(*digests, ttl=ttl)


def live(database: Database) -> frozenset[str]:
    with database.read() as tx:
        return tx.leases.live()


def test_many_are_taken_prolonged_and_given_back_at_once(database: Database) -> None:
    take(database, *MANY, ttl=-1)
    assert live(database) == frozenset()
    take(database, *MANY)
    assert live(database) == set(MANY)
    with database.write() as tx:
        tx.leases.give_back(MANY[:2000])
    assert live(database) == set(MANY[2000:])


def test_one_that_ran_out_is_missed_only_where_it_was_needed(database: Database, when: datetime) -> None:
    take(database, SOON, ttl=-1)
    with pytest.raises(RetryLaterError, match="ran out"), database.write() as tx:
        tx.leases.give_back([SOON])
    with database.write() as tx:
        tx.leases.give_back([SOON], needed=[])
    take(database, *MANY[:3], ttl=-1)
    take(database, SOON)
    with pytest.raises(RetryLaterError, match=MANY[1]), database.write() as tx:
        tx.objects.add_all({SOON: 1, MANY[1]: 2}, "weights", at=when)
    # Nothing of it happened.
    assert live(database) == {SOON}


def test_threads_may_promise_the_same_objects_at_a_time(database: Database) -> None:
    orders = [MANY[:50], MANY[:50][::-1]] * 10
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda order: take(database, *order), orders))
    assert live(database) == set(MANY[:50])


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_they_do_not_wait_for_who_appends_to_the_audit_log(database: Database, impatient: Database) -> None:
    with database.write():
        take(impatient, SOON)
    assert live(database) == {SOON}


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_nobody_promises_anything_while_somebody_removes_what_is_not_promised(
    database: Database, impatient: Database
) -> None:
    with database.write() as tx:
        assert tx.leases.live() == frozenset()
        with pytest.raises(BusyError):
            take(impatient, SOON)
    take(impatient, SOON)
    assert live(database) == {SOON}


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_removes_waits_for_promises_that_are_being_made(database: Database, impatient: Database) -> None:
    with database.touch() as promising:
        promising.leases.take(SOON)
        with pytest.raises(BusyError), impatient.write() as removing:
            removing.leases.live()
        # Who only looks does not wait.
        assert live(impatient) == frozenset()
    with impatient.write() as removing:
        assert removing.leases.live() == {SOON}
