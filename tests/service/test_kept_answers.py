"""Kept answers of the anchor weights: they decide nothing but how much of the network is run again."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.domain.kept_results import ResultKind
from ledger.errors import LedgerError
from ledger.service.audit.replay import differences
from ledger.service.computation import kept_answers, kept_results
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.kept_answers import AnchorTask, KeptAnswers
from ledger.units.anchoring import written
from tests.faults.intruder import Intruder
from tests.ledgers.kept import close_window, found, harm, kept_of, parts_of, told

if TYPE_CHECKING:
    from ledger.answers.featured_answers import FeaturedAnswers
    from ledger.domain.kept_results import KeptPart, KeptResult
    from tests.ledgers.desk import Desk

ONE = torch.ones(1)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the class of every block that the network answers in this process."""
    seen: list[int] = []
    original = AnchorTask.here

    def here(task: AnchorTask) -> FeaturedAnswers:
        seen.extend(block.class_index for block in task.blocks)
        return original(task)

    monkeypatch.setattr(AnchorTask, "here", here)
    return seen


def kept(desk: Desk) -> KeptResult | None:
    return kept_of(desk, ResultKind.ANSWERS)


def parts(desk: Desk) -> tuple[KeptPart, ...]:
    return parts_of(desk, ResultKind.ANSWERS)


def without_kept_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "find_kept_result", lambda *_: None)
    monkeypatch.setattr(KeptAnswers, "_keep", lambda *_: None)


def test_a_later_request_lets_only_its_own_images_be_answered(desk: Desk, answered: list[int]) -> None:
    desk.forget(3)
    assert set(answered) == set(range(10))
    answered.clear()
    desk.forget(7)
    # Retained images of it were answered before. Now those of its forget space are, and as many of 3 less.
    assert set(answered) <= {7} | set(range(10)) - {3}
    assert answered.count(7) > 10
    assert all(answered.count(k) <= 1 for k in range(10) if k != 7), "with fewer retained classes, each is asked more"
    answered.clear()
    desk.withdraw(1)
    assert set(answered) <= {7}
    assert found(desk) == []
    assert differences(desk.ledger) == []


@pytest.mark.parametrize("executor", ["local", "processes:2"])
def test_weights_and_record_are_the_same_without_kept_answers(
    desk: Desk, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.forget(3)
    desk.ledger.executor = executor
    with_kept = told(desk.forget(7))
    assert len(parts(desk)) == 2
    with monkeypatch.context() as patch:
        without_kept_answers(patch)
        desk.open_model = open_unlearning_afresh  # type: ignore[misc]
        # The same set again, by way of a withdrawal: nothing that was kept is looked at.
        desk.withdraw(1)
        assert told(desk.forget(3)) == with_kept


def test_after_a_purge_the_same_holds_and_nothing_is_left_of_the_forgotten_class(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.forget(3)
    desk.later()
    before = parts(desk)
    assert any(name.startswith("3:") for part in before for name in part.names), "it was kept"
    close_window(desk)
    assert not any(part.object_digest in desk.ledger.objects for part in before)
    assert kept(desk) is None
    desk.open_model = open_unlearning_afresh  # type: ignore[misc]
    first = told(desk.forget(5))
    assert not any(name.startswith("3:") for part in parts(desk) for name in part.names)
    desk.forget(6)
    desk.withdraw(3)
    assert told(desk.live()) == first
    with monkeypatch.context() as patch:
        without_kept_answers(patch)
        desk.forget(6)
        desk.withdraw(4)
        assert told(desk.live()) == first
    assert found(desk) == []
    assert differences(desk.ledger) == []


@pytest.mark.parametrize("how", ["unlink", "flip"])
def test_damaged_answers_are_given_again(desk: Desk, how: str, answered: list[int]) -> None:
    desk.forget(3)
    [part] = parts(desk)
    harm(desk, part, how)
    assert found(desk)
    answered.clear()
    desk.forget(7)
    assert set(answered) == set(range(10))
    assert found(desk) == []


def test_what_is_kept_in_many_parts_is_put_together_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answered: list[int]
) -> None:
    monkeypatch.setattr(kept_answers, "MOST_PARTS", 1)
    desk.forget(3)
    [first] = parts(desk)
    answered.clear()
    desk.forget(7)
    [second] = parts(desk)
    assert set(first.names) < set(second.names)
    assert first.object_digest not in desk.ledger.objects
    assert answered.count(0) <= 1, "they were read, not given again"
    assert found(desk) == []


def test_answers_that_are_not_the_networks_are_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # As from a program that answers wrongly: the log says what was stored, and only the network tells that it is wrong.
    with monkeypatch.context() as patch:
        patch.setattr(
            kept_answers, "written", lambda answers: written(replace(answers, logits=answers.logits.nextafter(ONE)))
        )
        desk.forget(3)
    assert {line.rpartition(" ")[0] for line in found(desk)} == {"wrong answers"}


@pytest.mark.parametrize(("table", "column"), [("versions", "weights"), ("class_spaces", "blob")])
def test_what_nothing_uses_by_a_changed_row_alone_is_not_destroyed(desk: Desk, table: str, column: str) -> None:
    desk.forget(3)
    live = desk.live().weights
    # Somebody lets a version, or a class space, be another object: no row refers to its own any more.
    sql = Intruder(desk.root / "ledger.db", Random(0)).sql
    chosen = f"SELECT {column} FROM {table} WHERE {column} != ? ORDER BY 1 LIMIT 1"
    (victim,) = sql.execute(chosen, (live,)).fetchone()
    sql.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (live, victim))
    sql.close()
    kept_results.destroy_unused(desk.ledger)
    with desk.ledger.database.read() as tx:
        assert tx.objects.doomed() == [victim]
    assert victim in desk.ledger.objects


@pytest.mark.parametrize("place", ["store_object", "append_kept_result", "destroy_unused"])
def test_an_interruption_leaves_true_answers_or_the_ones_before(
    desk: Desk, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.forget(3)
    keep = KeptAnswers._keep

    def interrupted(*_args: object, **_options: object) -> None:
        raise LedgerError("pulled the plug")

    def keep_badly(self: KeptAnswers, *args: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(kept_results, place, interrupted)
            keep(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(KeptAnswers, "_keep", keep_badly)
        patch.setattr(kept_answers, "MOST_PARTS", 1)
        filed = desk.file(7)
        [done] = desk.work()
        assert "plug" in str(done.error)
    assert [line for line in found(desk) if not line.startswith("unreferenced")] == []
    desk.retry(filed.id)
    with_kept = told(desk.live())
    with monkeypatch.context() as patch:
        without_kept_answers(patch)
        desk.open_model = open_unlearning_afresh  # type: ignore[misc]
        desk.withdraw(1)
        assert told(desk.forget(3)) == with_kept
