"""Kept sums: whatever happened before, they are what the class spaces in them add up to, bit for bit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.algebra.summed_moments import SummedMoments
from ledger.domain.kept_results import ResultKind
from ledger.errors import LedgerError, RowError
from ledger.service.audit.replay import differences
from ledger.service.computation import kept_results, retained_sums
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.retained_sums import BasisGathering, DamagedSumError
from ledger.service.computation.workbench import open_workbench
from ledger.service.progress import Silent
from ledger.service.upkeep.purge import plan_purge, purge
from tests.ledgers.desk import MODEL
from tests.ledgers.kept import found, kept_of

if TYPE_CHECKING:
    from ledger.domain.class_spaces import ClassSpace
    from ledger.domain.kept_results import KeptResult
    from ledger.service.computation.class_space_cache import CollectedSpace
    from ledger.service.computation.retained_sums import Bases
    from ledger.service.computation.workbench import Workbench
    from tests.ledgers.desk import Desk

NOW = timedelta(0)


@pytest.fixture(autouse=True)
def _kept_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep sums whatever they save, each map a part, and renew them when a second class differs."""
    monkeypatch.setattr(retained_sums, "LEAST_SAVING", 0)
    monkeypatch.setattr(retained_sums, "MOST_CHANGES", 1)
    monkeypatch.setattr(retained_sums, "PART_BYTES", 1)


def kept(desk: Desk) -> KeptResult | None:
    return kept_of(desk, ResultKind.RETAINED)


def gathered(bench: Workbench, forgotten: set[int], *, store: bool = True, use_kept: bool = True) -> Bases:
    return BasisGathering(bench, frozenset(forgotten), store=store).gather(Silent(), use_kept=use_kept)


def assert_same(bases: Bases, others: Bases, bench: Workbench) -> None:
    assert list(bases.retain.class_indices) == list(others.retain.class_indices)
    assert [r.object_digest for r in bases.seen] == [r.object_digest for r in others.seen]
    for key in (group.key for layer in bench.network.layers for group in layer.map_groups):
        one, other = bases.retain.spaces(key), others.retain.spaces(key)
        if isinstance(one, SummedMoments) and isinstance(other, SummedMoments):
            assert torch.equal(one.matrix(), other.matrix())
        else:
            assert not isinstance(one, SummedMoments)
            assert not isinstance(other, SummedMoments)
            assert all(torch.equal(a.factor, b.factor) for a, b in zip(one, other, strict=True))
        assert torch.equal(bases.retain.means(key), others.retain.means(key))


def test_any_sequence_of_sets_gives_the_sums_of_all_class_spaces(desk: Desk) -> None:
    bench = open_workbench(desk.ledger, MODEL)

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.tuples(st.sets(st.integers(0, 9), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=4)
    )
    def check(sets: list[tuple[set[int], bool]]) -> None:
        for forgotten, store in sets:
            bases = gathered(bench, forgotten, store=store)
            assert_same(bases, gathered(bench, forgotten, store=False, use_kept=False), bench)

    check()
    assert kept(desk) is not None
    assert found(desk) == []
    assert differences(desk.ledger) == []


def test_a_later_request_reads_the_class_spaces_of_its_own_classes(
    two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    gathered(bench, {3, 7})
    read: list[int] = []
    original = ClassSpaceCache._load

    def load(cache: ClassSpaceCache, record: ClassSpace, data: bytes) -> CollectedSpace[ClassSpace]:
        read.append(record.class_index)
        return original(cache, record, data)

    monkeypatch.setattr(ClassSpaceCache, "_load", load)
    gathered(bench, {3, 7, 5})
    # Twice of the class that is forgotten now: what is taken away, and what is to be forgotten.
    assert sorted(read) == [3, 5, 5, 7]


def test_requests_withdrawals_rollbacks_and_a_purge_keep_the_sums_true(desk: Desk) -> None:
    desk.forget(3)
    first = kept(desk)
    assert first is not None
    assert [index for index, _ in first.members] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    desk.later()
    second = desk.forget(7, 8)
    renewed = kept(desk)
    assert renewed is not None
    assert [index for index, _ in renewed.members] == [0, 1, 2, 4, 5, 6, 9]
    # Of the sums before, nothing is left.
    gone = {part.object_digest for part in first.parts} - {part.object_digest for part in renewed.parts}
    assert gone
    assert not any(digest in desk.ledger.objects for digest in gone)
    desk.later()
    desk.withdraw(1)
    desk.roll_back(second.number)
    assert found(desk) == []
    desk.later()
    purge(desk.ledger, plan_purge(desk.ledger, MODEL, NOW), NOW, Silent(), clock_is_right=True)
    assert not any(part.object_digest in desk.ledger.objects for part in renewed.parts)
    assert kept(desk) is None
    desk.forget(5)
    after = kept(desk)
    assert after is not None
    assert [index for index, _ in after.members] == [0, 1, 2, 4, 6, 9]
    assert found(desk) == []
    assert differences(desk.ledger) == []


@pytest.mark.parametrize("harm", ["unlink", "flip"])
def test_damaged_sums_are_added_up_again(two_forgotten: Desk, harm: str) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    gathered(bench, {3, 7})
    before = kept(two_forgotten)
    assert before is not None
    for part in before.parts:
        path = two_forgotten.root / "objects" / part.object_digest[:2] / part.object_digest
        path = path if path.exists() else next(two_forgotten.root.rglob(part.object_digest))
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink() if harm == "unlink" else path.write_bytes(data)
    with pytest.raises(DamagedSumError):
        gathered(bench, {3, 7})
    assert found(two_forgotten)
    done = two_forgotten.forget(5)
    assert done.forgotten == {3, 5, 7}
    assert found(two_forgotten) == []


def test_a_tampered_row_is_found(two_forgotten: Desk) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    gathered(bench, {3, 7})
    with closing(sqlite3.connect(two_forgotten.root / "ledger.db")) as connection:
        connection.execute("UPDATE kept_results SET members = '[]'")
        connection.commit()
    with pytest.raises(RowError, match="kept_results"):
        gathered(bench, {3, 7})


def test_sums_that_are_no_sums_are_found(two_forgotten: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # As from a program that adds up wrongly: the log says what was stored, and only adding up tells that it is wrong.
    bench = open_workbench(two_forgotten.ledger, MODEL)
    original = kept_results.append_kept_result

    def without_the_first(tx: object, model: str, result: KeptResult, *, actor: str) -> None:
        object.__setattr__(result, "members", result.members[1:])
        original(tx, model, result, actor=actor)  # type: ignore[arg-type]

    monkeypatch.setattr(kept_results, "append_kept_result", without_the_first)
    gathered(bench, {3, 7})
    faults = {line.partition(" ")[0] for line in found(two_forgotten)}
    assert faults == {"wrong"}


@pytest.mark.parametrize("place", ["store_object", "append_kept_result", "destroy_unused"])
def test_an_interruption_leaves_true_sums_or_the_ones_before(
    two_forgotten: Desk, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_workbench(two_forgotten.ledger, MODEL)
    gathered(bench, {3, 7})

    def interrupted(*_args: object, **_options: object) -> None:
        raise LedgerError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(kept_results, place, interrupted)
        with pytest.raises(LedgerError, match="plug"):
            gathered(bench, {3, 7, 5, 6})
    assert [line for line in found(two_forgotten) if not line.startswith("unreferenced")] == []
    bases = gathered(bench, {3, 7, 5, 6, 8, 1})
    assert_same(bases, gathered(bench, {3, 7, 5, 6, 8, 1}, store=False, use_kept=False), bench)


def test_sums_that_save_nothing_are_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retained_sums, "LEAST_SAVING", 1_000_000)
    gathered(open_workbench(desk.ledger, MODEL), {3})
    assert kept(desk) is None
