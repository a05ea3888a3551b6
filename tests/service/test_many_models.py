"""A request costs the same beside one model as beside many: others wait for its transactions."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.replay import differences
from ledger.service.audit.state_note import StateNote
from ledger.service.kept_checkpoints import STATE
from ledger.service.signing import load_signer
from tests.faults.intruder import Intruder
from tests.ledgers.desk import MODEL, START
from tests.ledgers.stand_in import register_stand_in
from tests.ledgers.statements import statements

if TYPE_CHECKING:
    import pytest

    from tests.ledgers.desk import Desk

OTHERS = 30
LABELS = tuple(f"class {k}" for k in range(10))


def with_others(desk: Desk) -> None:
    """Register other models."""
    for number in range(OTHERS):
        register_stand_in(desk.ledger, f"other {number}", LABELS, b"weights", at=START)


def test_a_request_takes_as_many_statements_beside_many_models_as_beside_one(desk: Desk) -> None:
    desk.forget(3)
    with statements(desk.ledger) as alone:
        desk.forget(4)
    with_others(desk)
    # The first one reads what was appended meanwhile.
    desk.forget(5)
    with statements(desk.ledger) as beside:
        desk.forget(6)
    more = Counter(beside) - Counter(alone)
    assert len(alone) > 50
    # An entry more or less completes another block of the audit log's tree.
    assert more.total() < OTHERS / 3, more


def test_what_is_noted_of_many_models_is_what_each_of_them_forgot(desk: Desk) -> None:
    with_others(desk)
    desk.forget(3)
    first = desk.file(5)
    desk.later()
    second = desk.file(7, 5)
    assert second.due_at > first.due_at
    issue_checkpoint(desk.ledger)
    note = StateNote.open((desk.ledger.config.keys_path / STATE).read_text(), load_signer(desk.ledger.config).verifier)
    found = {model.name: model for model in note.models}
    assert len(found) == OTHERS + 1
    assert found[MODEL].version == 1
    assert found[MODEL].forgotten == (3,)
    assert dict(found[MODEL].awaited) == {5: first.due_at, 7: second.due_at}
    assert {(other.version, other.forgotten, other.awaited) for name, other in found.items() if name != MODEL} == {
        (0, (), ())
    }


def test_a_model_whose_live_version_somebody_removed_is_named_and_others_go_on(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with_others(desk)
    desk.forget(3)
    sql = Intruder(desk.root / "ledger.db", Random(0)).sql
    sql.execute("DELETE FROM aliases WHERE model_id = (SELECT id FROM models WHERE name = 'other 7')")
    sql.close()
    assert desk.forget(4).forgotten == {3, 4}
    assert "says which version of other 7 is live" in caplog.text
    assert "no checkpoint was signed" in caplog.text
    [found] = differences(desk.ledger)
    assert found == "aliases other 7/live: the row is missing, the history tells of it"
