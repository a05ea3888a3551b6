"""Class spaces are stored soon after they are collected, several at a time where they are quickly there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.domain.class_spaces import ClassSpace
from ledger.errors import LedgerError, RowError
from ledger.service.audit.verification import verify_log
from ledger.service.computation import class_space_store
from ledger.service.computation.class_space_cache import ClassSpaceCache, FoundSpace
from ledger.service.computation.workbench import open_workbench
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from ledger.units.engine import Engine
from tests.ledgers.desk import MODEL, Desk
from tests.ledgers.statements import statements
from tests.service.test_hidden_rows import tamper

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

FORGOTTEN = frozenset({3})
CLASSES = 10


class Interrupting(Silent):
    """Somebody interrupts the work after some steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self) -> None:
        """Count down."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def find_all(ledger: Ledger, progress: Silent | None = None, *, store: bool = True) -> list[FoundSpace]:
    return ClassSpaceCache(open_workbench(ledger, MODEL)).find_all(FORGOTTEN, progress or Silent(), store=store)


def stored(desk: Desk) -> list[ClassSpace]:
    with desk.ledger.database.read() as tx:
        return tx.class_spaces.all(tx.models.get(MODEL))


def leases_taken(desk: Desk) -> int:
    """Let all class spaces be collected; return in how many parts they were stored."""
    with statements(desk.ledger) as seen:
        find_all(desk.ledger)
    return sum(statement.startswith("INSERT INTO blob_leases") for statement in seen)


def test_those_that_are_quickly_there_share_a_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_space_store, "WAIT_SECONDS", 1e9)
    together = leases_taken(desk)
    assert len(stored(desk)) == CLASSES
    assert together == 1


@pytest.mark.parametrize("limit", ["WAIT_SECONDS", "WAIT_BYTES"])
def test_none_waits_beyond_either_limit(desk: Desk, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_space_store, limit, 0)
    assert leases_taken(desk) == CLASSES
    assert len(stored(desk)) == CLASSES


def test_what_others_collect_is_stored_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several come at a time, and may have taken minutes.
    monkeypatch.setattr(class_space_store, "WAIT_SECONDS", 1e9)
    monkeypatch.setattr(Engine, "one_at_a_time", False)
    assert leases_taken(desk) == CLASSES


def test_together_or_one_by_one_the_same_is_recorded(
    desk: Desk, second_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_all(desk.ledger)
    monkeypatch.setattr(class_space_store, "WAIT_SECONDS", 0)
    find_all(second_desk.ledger)
    assert stored(desk) == stored(second_desk)
    for one in (desk, second_desk):
        verify_log(one.ledger)
        assert fsck(one.ledger, Silent(), read_data=True).findings == ()


def test_what_interrupts_the_work_costs_nothing_that_was_collected(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_space_store, "WAIT_SECONDS", 1e9)
    with pytest.raises(KeyboardInterrupt):
        find_all(desk.ledger, Interrupting(after=3))
    kept = stored(desk)
    assert [one.class_index for one in kept] == [0, 1, 2]
    find_all(desk.ledger)
    assert stored(desk)[:3] == kept


def test_what_interrupted_the_work_is_told_where_nothing_can_be_stored_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_space_store, "WAIT_SECONDS", 1e9)

    tried: list[int] = []

    def full(_ledger: Ledger, some: list[bytes]) -> None:
        tried.append(len(some))
        raise LedgerError("the disk is full")

    monkeypatch.setattr(class_space_store, "store_objects", full)
    with pytest.raises(KeyboardInterrupt):
        find_all(desk.ledger, Interrupting(after=3))
    assert stored(desk) == []
    tried.clear()
    with pytest.raises(LedgerError, match="the disk is full"):
        find_all(desk.ledger)
    # What could not be stored is not tried again for that.
    assert tried == [CLASSES]


def test_finding_them_takes_as_many_statements_for_many_classes_as_for_few(desk: Desk) -> None:
    find_all(desk.ledger)
    cache = ClassSpaceCache(open_workbench(desk.ledger, MODEL))
    with statements(desk.ledger) as seen:
        found = cache.find_all(FORGOTTEN, Silent(), store=True)
    assert all(one.record is not None for one in found)
    assert sum("FROM class_spaces" in statement for statement in seen) == 2


def test_a_changed_row_among_them_is_noticed(desk: Desk) -> None:
    find_all(desk.ledger)
    tamper(desk.ledger, "UPDATE class_spaces SET samples = '[1, 2]' WHERE class_index = 7")
    with pytest.raises(RowError, match="class_spaces digits/7"):
        find_all(desk.ledger)
