"""A purge believes a clock only if nothing speaks against it, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action
from ledger.domain.versions import VersionKind
from ledger.errors import ConflictError
from ledger.service import clock as clock_module
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.objects import store_object
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.upkeep import purge as purge_module
from ledger.service.upkeep.purge import LONGEST_QUIET, PurgePlan, plan_purge, purge
from ledger.service.versions.commit import append_version
from ledger.store.unit_of_work import Transaction
from tests.ledgers.stand_in import base_version, register_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "cars"
MONTH, WEEKS = timedelta(days=30), timedelta(days=14)


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model whose version 1 replaced version 0 just now, and with one request."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "tester")
    model = register_stand_in(opened, MODEL, ("cat", "dog", "owl", "fox"), b"weights", at=opened.clock())
    now = opened.clock()
    digest = store_object(opened, b"other weights")
    with opened.database.write() as tx:
        version = replace(
            base_version(model, digest, at=now),
            number=1,
            parent=0,
            kind=VersionKind.FORGET,
            forgotten=frozenset({0}),
        )
        append_version(tx, model, version, size=13, terms=(), actor="tester", at=now)
    enqueue(opened, MODEL, [NewRequest(frozenset({1}), "tester")])
    yield opened
    opened.close()


def step(ledger: Ledger, by: timedelta) -> None:
    """Set this machine's clock."""
    right = ledger.clock
    ledger.clock = lambda: right() + by


@pytest.fixture
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database have the clock of this machine, as SQLite does."""
    read = clock_module.read_clocks

    def read_one(tx: Transaction, now: object, **rest: object) -> object:
        monkeypatch.setattr(Transaction, "time", lambda _: now().timestamp())  # type: ignore[operator]
        return read(tx, now, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(purge_module, "read_clocks", read_one)


def close_window(ledger: Ledger, older_than: timedelta, *, clock_is_right: bool = False) -> tuple[PurgePlan, list[str]]:
    """Purge as the command does."""
    plan = plan_purge(ledger, MODEL, older_than)
    return plan, purge(ledger, plan, older_than, Silent(), clock_is_right=clock_is_right)


def refused(ledger: Ledger, older_than: timedelta, why: str) -> None:
    """Check that a purge destroys nothing, and goes on only if a person says so."""
    objects = sorted(ledger.objects.digests())
    with pytest.raises(ConflictError, match=why) as caught:
        close_window(ledger, older_than)
    assert caught.value.exit_code == 4
    assert "--clock-is-right" in caught.value.hint
    assert sorted(ledger.objects.digests()) == objects
    plan, destroyed = close_window(ledger, older_than, clock_is_right=True)
    assert [version.number for version in plan.purged] == [0]
    assert len(destroyed) == 1


def test_with_a_clock_that_is_right_nothing_is_asked(ledger: Ledger) -> None:
    plan, destroyed = close_window(ledger, timedelta(0))
    assert (plan.clock_doubt, len(destroyed)) == ("", 1)


@pytest.mark.usefixtures("one_clock")
def test_versions_of_minutes_ago_survive_a_clock_that_was_set_forward(ledger: Ledger) -> None:
    step(ledger, timedelta(days=400))
    refused(ledger, MONTH, "as if the clock had been set forward")


@pytest.mark.usefixtures("one_clock")
def test_a_short_window_does_not_trust_a_short_jump(ledger: Ledger) -> None:
    step(ledger, timedelta(hours=13))
    refused(ledger, timedelta(hours=12), "as if the clock had been set forward")


@pytest.mark.usefixtures("one_clock")
def test_a_ledger_in_use_is_purged_without_a_question(ledger: Ledger) -> None:
    step(ledger, 2 * MONTH)
    # Time passed, and something happened since: the clock is as right as what was recorded.
    decide(ledger, 1, Action.HOLD, "")
    step(ledger, LONGEST_QUIET / 2)
    plan, destroyed = close_window(ledger, MONTH)
    assert (plan.clock_doubt, len(destroyed)) == ("", 1)


@pytest.mark.usefixtures("one_clock")
def test_a_clock_that_is_behind_what_was_recorded(ledger: Ledger) -> None:
    step(ledger, 2 * MONTH)
    decide(ledger, 1, Action.HOLD, "")
    step(ledger, -WEEKS)
    refused(ledger, MONTH, "the clock was set back")


def test_a_clock_that_is_not_the_databases(ledger: Ledger) -> None:
    step(ledger, timedelta(hours=1))
    refused(ledger, timedelta(minutes=30), "one is wrong")


@pytest.mark.usefixtures("one_clock")
def test_a_clock_that_would_destroy_nothing_does_not_matter(ledger: Ledger) -> None:
    step(ledger, timedelta(days=20))
    plan, destroyed = close_window(ledger, MONTH)
    assert plan.purged == ()
    assert destroyed == []


def test_other_recorded_times_count_even_behind_many_entries(ledger: Ledger) -> None:
    later = ledger.clock() + 2 * MONTH
    with ledger.database.read() as tx:
        assert clock_module.read_clocks(tx, ledger.clock).doubts == ()
        [doubt] = clock_module.read_clocks(tx, ledger.clock, recorded=[later]).doubts
    assert "the clock was set back" in doubt
