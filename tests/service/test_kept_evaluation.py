"""Kept answers to the images that versions are measured on: they decide nothing but how often the network is run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.kept_results import ResultKind
from ledger.service.audit.replay import differences
from ledger.service.computation import kept_evaluation
from ledger.service.computation.kept_evaluation import KeptEvaluation
from ledger.service.evidence.answering_tasks import AnsweringTask
from ledger.service.evidence.gating import open_gated
from ledger.service.progress import Silent
from ledger.service.upkeep.purge import plan_purge, purge
from tests.ledgers.desk import MODEL, Desk
from tests.ledgers.kept import found, kept_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.domain.kept_results import KeptResult
    from ledger.domain.versions import Version
    from ledger.units.answering import AnsweredImages

NOW = timedelta(0)


@pytest.fixture
def measured(open_desk: Callable[[Path], Desk], _registered: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose workers measure what they compute."""
    monkeypatch.setattr(Desk, "open_model", staticmethod(open_gated))
    return open_desk(_registered)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the images that each set of weights answers in this process."""
    seen: dict[str, int] = {}
    original = AnsweringTask.here

    def here(task: AnsweringTask) -> dict[str, AnsweredImages]:
        for digest in task.asked:
            seen[digest] = seen.get(digest, 0) + len(task.indices)
        return original(task)

    monkeypatch.setattr(AnsweringTask, "here", here)
    return seen


def kept(desk: Desk) -> KeptResult | None:
    return kept_of(desk, ResultKind.EVALUATION)


def limit(desk: Desk, text: str) -> None:
    """Write a policy into ``unledger.toml``, and open the ledger again."""
    file = desk.root / "unledger.toml"
    file.write_text(f"{file.read_text().split('[gates]')[0]}[gates]\n{text}\n")
    desk.ledger = desk.open_again()


def told(desk: Desk, version: Version) -> list[Any]:
    with desk.ledger.database.read() as tx:
        standing = tx.versions.weights_evidence(version).standing
    return [(name, one.metrics, one.samples, one.inputs_digest) for name, one in sorted(standing.items())]


def test_the_anchor_answers_the_images_of_every_request_once(measured: Desk, answered: dict[str, int]) -> None:
    limit(measured, "test_images = 100\ntrain_images = 50")
    original = measured.live().weights
    first = measured.forget(3)
    assert answered[original] == answered[first.weights] > 150
    answered.clear()
    second = measured.forget(7)
    # Of the two forgotten classes more images are looked at than the limit allows of the others.
    own = answered[second.weights] - 100 - 50
    assert own > 0
    assert answered == {second.weights: 150 + own, original: own}
    assert found(measured) == []
    assert differences(measured.ledger) == []


@pytest.mark.parametrize("executor", ["local", "processes:2"])
def test_evidence_is_the_same_without_kept_answers(
    measured: Desk, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(measured, "test_images = 100")
    measured.forget(3)
    measured.ledger.executor = executor
    with_kept = told(measured, measured.forget(7))
    assert len(with_kept) == 2
    with monkeypatch.context() as patch:
        patch.setattr(KeptEvaluation, "find", lambda _: None)
        limit(measured, "test_images = 100\ntest_per_class = 99")
        measured.withdraw(1)
        measured.forget(3)
        measured.ledger.executor = executor
        # Measured again under a policy that asks for the same images, with other words.
        assert told(measured, measured.live()) == with_kept


def test_another_policy_or_damage_makes_the_anchor_answer_again(measured: Desk, answered: dict[str, int]) -> None:
    limit(measured, "test_images = 100")
    original = measured.live().weights
    measured.forget(3)
    before = kept(measured)
    assert before is not None
    limit(measured, "test_images = 60")
    assert [one.partition(" ")[0] for one in found(measured)] == ["not"]
    answered.clear()
    measured.forget(7)
    after = kept(measured)
    assert after is not None
    assert after.parts != before.parts
    assert answered[original] > 60
    assert before.parts[0].object_digest not in measured.ledger.objects
    [part] = after.parts
    path = measured.root / "objects" / part.object_digest[:2] / part.object_digest[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    answered.clear()
    measured.forget(5)
    assert answered[original] > 60
    assert found(measured) == []


def test_answers_that_are_not_the_networks_are_found(measured: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = KeptEvaluation.keep
    monkeypatch.setattr(
        KeptEvaluation, "keep", lambda self, logits: keep(self, {name: one + 1e-6 for name, one in logits.items()})
    )
    measured.forget(3)
    [wrong] = found(measured)
    assert wrong.startswith("wrong answers")


def test_a_purge_destroys_them(measured: Desk) -> None:
    measured.forget(3)
    measured.later()
    before = kept(measured)
    assert before is not None
    assert 3 in dict(before.members)
    purge(measured.ledger, plan_purge(measured.ledger, MODEL, NOW), NOW, Silent(), clock_is_right=True)
    assert kept(measured) is None
    assert not any(part.object_digest in measured.ledger.objects for part in before.parts)
    measured.forget(5)
    assert kept(measured) is not None
    assert found(measured) == []


def test_they_are_cut_into_parts_of_bounded_size(measured: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_evaluation, "PART_BYTES", 4000)
    first = told(measured, measured.forget(3))
    result = kept(measured)
    assert result is not None
    assert len(result.parts) > 1
    assert found(measured) == []
    assert first
    measured.forget(7)
    assert kept(measured) == result
