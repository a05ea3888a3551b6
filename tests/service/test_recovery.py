"""What works on after something stored was damaged, and what refuses to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.errors import IntegrityError
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledgers.desk import Desk


def damage(desk: Desk, digest: str) -> None:
    path = desk.root / "objects" / digest[:2] / digest[2:]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_damaged_class_space_is_collected_again_by_the_next_request(
    two_forgotten: Desk, open_desk: Callable[[Path], Desk]
) -> None:
    undisturbed = open_desk(two_forgotten.root)
    with two_forgotten.ledger.database.read() as tx:
        spaces = [space.object_digest for space in tx.class_spaces.all(tx.models.get("digits"))]
    for digest in spaces[::2]:
        damage(two_forgotten, digest)
    report = fsck(two_forgotten.ledger, Silent(), read_data=True)
    assert {finding.what for finding in report.findings} == set(spaces[::2])
    assert (report.quarantined, two_forgotten.live().quarantined) == ((), None)
    assert two_forgotten.forget(5).weights == undisturbed.forget(5).weights
    assert len(two_forgotten.events("class_space.collected")) > len(undisturbed.events("class_space.collected"))
    # Those that this request needed are whole again; the rest was of other images.
    left = {finding.what for finding in fsck(two_forgotten.ledger, Silent(), read_data=True).findings}
    assert left < set(spaces[::2])


def test_a_quarantined_version_is_not_evaluated_nor_computed_from(two_forgotten: Desk) -> None:
    damage(two_forgotten, two_forgotten.versions()[1].weights)
    assert fsck(two_forgotten.ledger, Silent(), read_data=True).quarantined == ("digits:1",)
    with pytest.raises(IntegrityError, match="version 1 of digits is quarantined"):
        evaluate(two_forgotten.ledger, "digits", 1, Silent(), only=["accuracy"], train_per_class=1)
    # The others are served as before.
    assert len(two_forgotten.test_accuracy(2)) == 10
    damage(two_forgotten, two_forgotten.versions()[0].weights)
    fsck(two_forgotten.ledger, Silent(), read_data=True)
    filed = two_forgotten.file(5)
    [done] = two_forgotten.work()
    assert isinstance(done.error, IntegrityError)
    assert (done.request.id, done.request.state.value, done.version) == (filed.id, "failed", None)
