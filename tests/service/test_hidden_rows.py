"""Rows that somebody hides, invents or makes unreadable: nothing is removed, overlooked or numbered again for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from ledger.errors import LedgerError, OlderDatabaseError, RowError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.verification import verify_log
from ledger.service.evidence.certificates import issue, list_certificates
from ledger.service.progress import Silent
from ledger.service.requests.listing import request_history
from ledger.service.requests.status import status
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import destroy_promised
from ledger.service.versions.export import export
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.service.ledger import Ledger
    from tests.ledgers.desk import Desk
    from tests.ledgers.shelf import Shelf

UNLOCK = tuple(
    f"DROP TRIGGER {name}" for name in ("versions_no_update", "versions_no_delete", "audit_events_no_delete")
)
LONG_AGO = "2026-01-01 00:00:00"


def tamper(ledger: Ledger, *statements: str) -> None:
    """Write to the database by other means, which mind no foreign keys."""
    url = ledger.database.engine.url
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return
    with ledger.database.engine.begin() as transaction:
        for statement in ("SET LOCAL session_replication_role = replica", *statements):
            transaction.execute(text(statement))


# -- removal for good --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statements",
    [
        (f"UPDATE blobs SET destroyed_at = '{LONG_AGO}' WHERE kind <> 'weights'",),
        ("DELETE FROM basis_terms", "DELETE FROM class_spaces", "DELETE FROM blobs WHERE kind <> 'weights'"),
        ("DELETE FROM models", "DELETE FROM class_spaces", "DELETE FROM blobs WHERE kind <> 'weights'"),
    ],
)
def test_garbage_collection_removes_nothing_that_the_log_still_needs(shelf: Shelf, statements: tuple[str, ...]) -> None:
    ledger = shelf.ledger
    tamper(ledger, *statements)
    before = set(ledger.objects.digests())
    for dry_run in (True, False):
        with pytest.raises(RowError, match=r"behind the audit log: blobs [0-9a-f]{64}: "):
            collect_garbage(ledger, grace=-60, dry_run=dry_run)
    assert set(ledger.objects.digests()) == before


def test_weights_whose_version_was_hidden_stay(two_forgotten: Desk) -> None:
    weights = two_forgotten.versions()[1].weights
    tamper(
        two_forgotten.ledger,
        *UNLOCK,
        "DELETE FROM basis_terms WHERE version = 1",
        "DELETE FROM versions WHERE number = 1",
        f"DELETE FROM blobs WHERE digest = '{weights}'",
    )
    refused = Cli(two_forgotten.root)("gc", "--older-than", "0h", code=5)
    assert f"blobs {weights}: the row is missing, the history tells of it" in refused.err
    assert weights in set(two_forgotten.ledger.objects.digests())


def test_an_emptied_log_is_an_older_database(two_forgotten: Desk) -> None:
    issue_checkpoint(two_forgotten.ledger)
    tables = ("audit_notes", "audit_events", "audit_subtrees", "blobs", "versions", "class_spaces", "models")
    tamper(two_forgotten.ledger, *UNLOCK, *(f"DELETE FROM {table}" for table in tables), "UPDATE audit_head SET size=0")
    before = set(two_forgotten.ledger.objects.digests())
    with pytest.raises(OlderDatabaseError, match="since the beginning"):
        collect_garbage(two_forgotten.ledger, grace=-60)
    assert set(two_forgotten.ledger.objects.digests()) == before


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE versions SET purged_at = '{LONG_AGO}'",
        "UPDATE class_spaces SET anchor = -1",
        "UPDATE models SET anchor = 2",
    ],
)
def test_nothing_is_destroyed_that_the_log_does_not_give_up(shelf: Shelf, statement: str) -> None:
    tamper(shelf.ledger, statement)
    before = set(shelf.ledger.objects.digests())
    with pytest.raises(RowError):
        destroy_promised(shelf.ledger, Silent())
    assert set(shelf.ledger.objects.digests()) == before


def test_a_version_does_not_become_old_because_somebody_says_so(two_forgotten: Desk) -> None:
    tamper(two_forgotten.ledger, f"UPDATE alias_moves SET moved_at = '{LONG_AGO}'")
    before = set(two_forgotten.ledger.objects.digests())
    cli = Cli(two_forgotten.root)
    for command in (("purge", "digits", "--older-than", "30d", "--yes"), ("rollback", "digits", "--to", "1", "--yes")):
        assert "alias_moves " in cli(*command, code=5).err
    assert "alias_moves " in cli("model", "versions", "digits", "--at", "2026-01-02", code=5).err
    assert set(two_forgotten.ledger.objects.digests()) == before


# -- the queue ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM requests WHERE id = 3",
        "UPDATE requests SET state = 'fulfilled', version = 2 WHERE id = 3",
        "UPDATE requests SET state = 'on_hold' WHERE id = 3",
        "UPDATE requests SET state = 'awaiting_approval' WHERE id = 3",
        "UPDATE requests SET state = 'no such state' WHERE id = 3",
        # A worker that vanished too often: nobody ever claimed the request.
        "UPDATE requests SET state = 'running', attempts = 9, lease_expires = 0 WHERE id = 3",
    ],
)
def test_a_request_is_not_hidden_from_the_queue(two_forgotten: Desk, statement: str) -> None:
    two_forgotten.file(8)
    tamper(two_forgotten.ledger, statement)
    events = two_forgotten.events("request.quarantined")
    refused = Cli(two_forgotten.root)("work", code=5)
    assert "requests 3: " in refused.err
    assert two_forgotten.live().number == 2
    assert two_forgotten.events("request.quarantined") == events


def test_a_changed_request_is_not_shown(two_forgotten: Desk) -> None:
    tamper(two_forgotten.ledger, "UPDATE requests SET classes = '[1]' WHERE id = 1")
    with pytest.raises(RowError, match="requests 1: classes"):
        request_history(two_forgotten.ledger, 1)


def test_a_note_that_was_rewritten_is_not_shown(two_forgotten: Desk) -> None:
    cli = Cli(two_forgotten.root)
    cli("forget", "digits", "-c", "8", "--reason", "as asked")
    assert "as asked" in cli("request", "show", "3").out
    tamper(two_forgotten.ledger, "UPDATE audit_notes SET text = 'another reason'")
    refused = cli("request", "show", "3", code=5)
    assert "was altered" in refused.err
    assert "another reason" not in refused.out


def test_invented_and_hidden_certificates_are_not_listed(two_forgotten: Desk) -> None:
    issue(two_forgotten.ledger, 1)
    assert [certificate.id for certificate, _ in list_certificates(two_forgotten.ledger)] == [1]
    tamper(two_forgotten.ledger, "UPDATE certificates SET id = 7")
    with pytest.raises(RowError, match="certificates 1: the row is missing"):
        list_certificates(two_forgotten.ledger)


# -- numbers and names -------------------------------------------------------------------------------


def test_the_number_of_a_request_that_was_hidden_is_not_given_again(two_forgotten: Desk) -> None:
    two_forgotten.file(8)
    tamper(two_forgotten.ledger, "DELETE FROM requests WHERE id = 3")
    with two_forgotten.unchanged(), pytest.raises(RowError, match="requests 3: the row is missing"):
        two_forgotten.file(9)


def test_the_number_of_a_certificate_that_was_hidden_is_not_given_again(two_forgotten: Desk) -> None:
    issue(two_forgotten.ledger, 1)
    tamper(two_forgotten.ledger, "DELETE FROM certificates")
    with two_forgotten.unchanged(), pytest.raises(RowError, match="certificates 1: the row is missing"):
        issue(two_forgotten.ledger, 2)


def test_the_name_of_a_model_that_was_hidden_is_not_taken_again(desk: Desk) -> None:
    tables = ("aliases", "alias_moves", "versions", "models")
    tamper(desk.ledger, *UNLOCK, *(f"DELETE FROM {table}" for table in tables))
    registered = desk.events("model.registered")
    with pytest.raises(RowError, match="models digits: the row is missing"):
        desk.register("digits")
    assert desk.events("model.registered") == registered


# -- values that nothing of ours writes --------------------------------------------------------------


@pytest.mark.parametrize("depth", [150, 900, 9000])
@pytest.mark.parametrize(
    "column", ["versions SET recipe", "versions SET forgotten", "models SET labels", "models SET data_record"]
)
def test_json_that_is_nested_too_deeply_is_a_changed_row(
    two_forgotten: Desk, column: str, depth: int, tmp_path: Path
) -> None:
    tamper(two_forgotten.ledger, *UNLOCK, f"UPDATE {column} = '{'[' * depth}{']' * depth}'")
    acts = (
        lambda: verify_log(two_forgotten.ledger),
        lambda: status(two_forgotten.ledger),
        lambda: export(two_forgotten.ledger, "digits", None, tmp_path / "out"),
        lambda: issue(two_forgotten.ledger, 1),
    )
    for act in acts:
        with pytest.raises(LedgerError):
            act()


def test_a_state_that_no_request_has_is_an_error_of_ours(two_forgotten: Desk) -> None:
    tamper(two_forgotten.ledger, "UPDATE requests SET state = 'no such state' WHERE id = 1")
    answer = Cli(two_forgotten.root)("status", code=5)
    assert "'no such state' is not a valid RequestState" in answer.err


@pytest.mark.parametrize(
    "change",
    [
        "models SET settings = '{\"x\": 1e999}'",
        f"models SET options = '{{\"x\": {'9' * 400}}}'",
        'models SET options = \'{"x": "\\ud800"}\'',
        "basis_terms SET class_index = 'three' WHERE version = 2 AND class_index = 3",
        "basis_terms SET role = x'00' WHERE version = 2 AND class_index = 3",
        f"requests SET classes = '[{'9' * 400}]' WHERE id = 3",
        "requests SET idempotency_key = x'ff' WHERE id = 3",
    ],
)
def test_values_without_a_canonical_form_are_changed_rows(two_forgotten: Desk, change: str, tmp_path: Path) -> None:
    two_forgotten.file(8)
    tamper(two_forgotten.ledger, f"UPDATE {change}")
    cli = Cli(two_forgotten.root)
    for command in (
        ("audit", "verify"),
        ("fsck",),
        ("work",),
        ("model", "export", "digits", "-o", str(tmp_path / "out")),
    ):
        answer = cli(*command, code=None)
        assert answer.code == 5 or ("export" in command and change.startswith("requests"))
    assert two_forgotten.live().number == 2
