"""Kept activations of the anchor weights: they decide nothing but how much of the network is run again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ledger.answers.activations import Activations
from ledger.domain.kept_results import ResultKind
from ledger.errors import LedgerError
from ledger.service.audit.replay import differences
from ledger.service.computation import kept_activations, kept_results
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.kept_activations import KeptActivations, written
from ledger.service.computation.kept_blocks import modules_in, places
from tests.ledgers.kept import close_window, found, harm, kept_of, parts_of, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ledger.answers.activations import Recorded
    from ledger.answers.answer_blocks import AnswerBlock
    from ledger.domain.kept_results import KeptPart, KeptResult
    from tests.ledgers.desk import Desk


@pytest.fixture(autouse=True)
def _small_networks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_activations, "FEWEST_WEIGHT_BYTES", 0)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the class of every block of which the network computes activations in this process."""
    seen: list[int] = []
    original = Activations.recording

    def recording(self: Activations, block: AnswerBlock) -> Any:
        seen.append(block.class_index)
        return original(self, block)

    monkeypatch.setattr(Activations, "recording", recording)
    return seen


def kept(desk: Desk) -> KeptResult | None:
    return kept_of(desk, ResultKind.ACTIVATIONS)


def parts(desk: Desk) -> tuple[KeptPart, ...]:
    return parts_of(desk, ResultKind.ACTIVATIONS)


def classes_in(desk: Desk) -> set[int]:
    return {k for part in parts(desk) for k, _, _ in places(part)}


def without_kept_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_activations, "find_kept_result", lambda *_: None)
    monkeypatch.setattr(KeptActivations, "keep", lambda *_: None)


def test_a_later_request_computes_only_what_its_own_images_ask_for(desk: Desk, recorded: list[int]) -> None:
    desk.forget(3)
    assert set(recorded) == set(range(10))
    assert all(modules_in(part) for part in parts(desk))
    assert len(recorded) == len({name for part in parts(desk) for name in part.names if "@" not in name})
    recorded.clear()
    desk.forget(7)
    assert recorded.count(7) > 10
    assert all(recorded.count(k) <= 1 for k in range(10) if k != 7), "with fewer retained classes, each is asked more"
    recorded.clear()
    desk.withdraw(1)
    assert set(recorded) <= {7}
    assert found(desk) == []
    assert differences(desk.ledger) == []


@pytest.mark.parametrize("executor", ["local", "processes:2"])
def test_weights_and_record_are_the_same_without_kept_activations(
    desk: Desk, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.forget(3)
    with_kept = told(desk.forget(7))
    assert len(parts(desk)) == 2
    with monkeypatch.context() as patch:
        without_kept_activations(patch)
        desk.ledger.executor = executor
        desk.open_model = open_unlearning_afresh  # type: ignore[misc]
        # The same set again, by way of a withdrawal: nothing that was kept is looked at.
        desk.withdraw(1)
        assert told(desk.forget(3)) == with_kept


def test_a_network_that_is_quicker_than_storage_keeps_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.forget(3)
    with_kept = told(desk.forget(7))
    monkeypatch.setattr(kept_activations, "FEWEST_WEIGHT_BYTES", 1 << 40)
    before = kept(desk)
    desk.open_model = open_unlearning_afresh  # type: ignore[misc]
    desk.withdraw(1)
    assert told(desk.forget(3)) == with_kept
    assert kept(desk) == before


def test_after_a_purge_nothing_is_left_of_the_forgotten_class(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.forget(3)
    desk.later()
    assert 3 in classes_in(desk), "it was kept"
    before = parts(desk)
    close_window(desk)
    assert not any(part.object_digest in desk.ledger.objects for part in before)
    assert kept(desk) is None
    desk.open_model = open_unlearning_afresh  # type: ignore[misc]
    first = told(desk.forget(5))
    assert 3 not in classes_in(desk)
    with monkeypatch.context() as patch:
        without_kept_activations(patch)
        desk.forget(6)
        desk.withdraw(3)
        assert told(desk.live()) == first
    assert found(desk) == []
    assert differences(desk.ledger) == []


def test_a_ledger_may_keep_none(desk: Desk) -> None:
    desk.ledger.config = replace(desk.ledger.config, kept_activations=0)
    desk.forget(3)
    assert kept(desk) is None
    assert kept_of(desk, ResultKind.ANSWERS) is not None


@pytest.mark.parametrize("how", ["unlink", "flip"])
def test_damaged_activations_are_computed_again(desk: Desk, how: str, recorded: list[int]) -> None:
    desk.forget(3)
    [part] = parts(desk)
    harm(desk, part, how)
    assert found(desk)
    recorded.clear()
    desk.forget(7)
    assert set(recorded) == set(range(10))
    assert found(desk) == []


def test_what_is_kept_in_many_parts_is_put_together_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, recorded: list[int]
) -> None:
    monkeypatch.setattr(kept_activations, "MOST_SMALL_PARTS", 1)
    desk.forget(3)
    [first] = parts(desk)
    recorded.clear()
    desk.forget(7)
    [second] = parts(desk)
    assert classes_in(desk) == set(range(10))
    assert first.object_digest not in desk.ledger.objects
    assert second.object_digest in desk.ledger.objects
    assert recorded.count(0) <= 1, "they were read, not computed again"
    assert found(desk) == []


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_no_more_is_kept_than_may_be(
    desk: Desk, share: float, monkeypatch: pytest.MonkeyPatch, recorded: list[int]
) -> None:
    desk.forget(3)
    most = int(share * sum(part.size for part in parts(desk)))
    desk.withdraw(1)
    monkeypatch.setattr(kept_activations, "MB", max(1, most))
    desk.ledger.config = replace(desk.ledger.config, kept_activations=1)
    desk.open_model = open_unlearning_afresh  # type: ignore[misc]
    with_less = told(desk.forget(7))
    now = kept(desk)
    assert now is not None
    if share:
        # Names of tensors and the like come on top.
        assert 0 < now.size <= most + 4096
    recorded.clear()
    desk.withdraw(2)
    assert told(desk.forget(7)) == with_less
    assert recorded, "what did not fit is computed again"
    with monkeypatch.context() as patch:
        without_kept_activations(patch)
        desk.withdraw(3)
        assert told(desk.forget(7)) == with_less
    assert found(desk) == []


def test_activations_that_are_not_the_networks_are_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # As from a program that computes wrongly: the log says what was stored, and only the network tells it is wrong.
    def wrong(recorded: Mapping[AnswerBlock, Recorded]) -> bytes:
        return written({block: {name: own + 1 for name, own in one.items()} for block, one in recorded.items()})

    with monkeypatch.context() as patch:
        patch.setattr(kept_activations, "written", wrong)
        desk.forget(3)
    assert {line.rpartition(" ")[0] for line in found(desk)} == {"wrong answers"}


def test_what_is_large_enough_is_not_put_together_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_activations, "MOST_SMALL_PARTS", 3)
    monkeypatch.setattr(kept_activations, "PART_BYTES", 1)
    desk.forget(3)
    before = parts(desk)
    assert len(before) > 3
    desk.forget(7)
    assert parts(desk)[: len(before)] == before
    assert found(desk) == []


@pytest.mark.parametrize("place", ["store_object", "append_kept_result", "destroy_unused"])
def test_a_request_is_fulfilled_though_activations_cannot_be_kept(
    desk: Desk, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.forget(3)
    keep = KeptActivations.keep
    heard: list[str] = []
    desk.ledger.tell = heard.append

    def interrupted(*_args: object, **_options: object) -> Iterator[None]:
        raise LedgerError("pulled the plug")

    def keep_badly(self: KeptActivations, activations: Activations) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(kept_results, place, interrupted)
            keep(self, activations)

    with monkeypatch.context() as patch:
        patch.setattr(KeptActivations, "keep", keep_badly)
        patch.setattr(kept_activations, "MOST_SMALL_PARTS", 1)
        without = told(desk.forget(7))
    assert [line for line in heard if "pulled the plug" in line]
    assert [line for line in found(desk) if not line.startswith("unreferenced")] == []
    desk.open_model = open_unlearning_afresh  # type: ignore[misc]
    desk.withdraw(1)
    assert told(desk.forget(3)) == without
    assert classes_in(desk) == set(range(10))
