"""The audit history in SQL: what is appended, what is refused, and how tampering is found."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ledger.audit.chain import GENESIS, Entry, Head, leaf_digest, leaf_text
from ledger.audit.merkle import Frontier, tree_root, verify_inclusion
from ledger.audit.signed_notes import Checkpoint
from ledger.audit.tree_builder import BLOCK
from ledger.audit.verification import ExternalRecord
from ledger.errors import AuditError, NotFoundError
from ledger.store.audit import log, verification
from ledger.store.audit.verification import note_digest
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database
from tests.fixtures.events import any_event

Tamper = Callable[[Connection], None]


def write_history(database: Database, when: datetime, *, count: int = 5) -> Head:
    """Append events, the second of them with a note, and return the head."""
    for n in range(1, count + 1):
        with database.write() as tx:
            tx.audit.append(
                any_event("request.filed" if n % 2 else "request.fulfilled", classes=[n]),
                at=when + timedelta(minutes=n),
                actor="alice",
                model="cars" if n < 4 else None,
                request_id=n if n != 3 else None,
                note="please" if n == 2 else "",
            )
    with database.read() as tx:
        return tx.audit.head()


def verify(database: Database, kept: Head | None = None) -> Head:
    with database.read() as tx:
        return tx.audit.verify(kept)


def first_bad(database: Database, kept: Head | None = None) -> int | None:
    try:
        verify(database, kept)
    except AuditError as error:
        return error.seq
    return None


# -- appending ----------------------------------------------------------------------------------------


def test_a_new_history_is_empty_and_verifies(database: Database) -> None:
    assert verify(database) == Head(0, GENESIS)
    with database.read() as tx:
        assert len(list(tx.audit.entries())) == 0
        assert list(tx.audit.events()) == []


def test_events_are_numbered_without_gaps_and_come_back_as_they_were_appended(
    database: Database, when: datetime
) -> None:
    with database.write() as tx:
        first = tx.audit.append(any_event("model.registered", digest="f" * 64), at=when, actor="Zoë", model="cars")
        second = tx.audit.append(any_event("ledger.opened"), at=when, actor="bob")
    assert (first, second) == (1, 2)
    with database.read() as tx:
        one, two = tx.audit.events()
        assert tx.audit.head() == Head(2, two.digest)
    assert (one.kind, one.actor, one.model, one.request_id) == ("model.registered", "Zoë", "cars", None)
    assert (one.at, one.data, one.note) == (when, {"digest": "f" * 64}, None)
    assert one.leaf == leaf_text(
        1,
        GENESIS,
        {"at": when.isoformat(), "kind": "model.registered", "actor": "Zoë", "model": "cars", "data": one.data},
    )
    assert one.digest == leaf_digest(one.leaf)
    assert (two.model, two.data, json.loads(two.leaf)["previous"]) == (None, {}, one.digest)
    assert "model" not in json.loads(two.leaf)


def test_events_can_be_asked_for_by_model_request_and_place(database: Database, when: datetime) -> None:
    write_history(database, when)
    with database.read() as tx:
        assert [event.seq for event in tx.audit.events()] == [1, 2, 3, 4, 5]
        assert [event.seq for event in tx.audit.events(model="cars")] == [1, 2, 3]
        assert [event.seq for event in tx.audit.events(request_id=4)] == [4]
        assert [event.seq for event in tx.audit.events(after=3)] == [4, 5]
        assert [event.seq for event in tx.audit.events(model="cars", request_id=2, after=1)] == [2]
        assert list(tx.audit.events(model="bikes")) == []
        assert len(list(tx.audit.entries())) == 5


def test_an_event_of_a_transaction_that_failed_never_was(database: Database, when: datetime) -> None:
    head = write_history(database, when)
    with pytest.raises(ZeroDivisionError), database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        tx.audit.append(any_event("request.filed"), at=when, actor="alice", note="gone")
        raise ZeroDivisionError
    assert verify(database) == head
    with database.write() as tx:
        assert tx.audit.append(any_event("request.filed"), at=when, actor="alice") == 6
    assert verify(database, head).size == 6


def test_a_long_history_is_read_page_by_page(
    database: Database, when: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PAGE", 3)
    monkeypatch.setattr(verification, "PAGE", 3)
    head = write_history(database, when, count=10)
    assert verify(database) == head
    with database.read() as tx:
        assert [event.seq for event in tx.audit.events()] == list(range(1, 11))


# -- notes --------------------------------------------------------------------------------------------


def test_a_note_is_kept_beside_its_leaf_and_not_in_it(database: Database, when: datetime) -> None:
    write_history(database, when)
    with database.read() as tx:
        event = next(tx.audit.events(after=1))
    assert event.note == "please"
    assert "please" not in event.leaf
    with database.engine.connect() as connection:
        salt, note = connection.execute(text("SELECT salt, text FROM audit_notes WHERE seq = 2")).one()
    assert json.loads(event.leaf)["note"] == note_digest(salt, note)
    assert len(salt) == 32


def test_the_same_note_twice_leaves_no_common_trace(database: Database, when: datetime) -> None:
    with database.write() as tx:
        for _ in range(2):
            tx.audit.append(any_event("request.filed"), at=when, actor="alice", note="same")
    with database.read() as tx:
        first, second = (json.loads(event.leaf)["note"] for event in tx.audit.events())
    assert first != second


def test_a_note_can_be_erased_and_the_history_still_verifies(database: Database, when: datetime) -> None:
    head = write_history(database, when)
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_notes"))
    assert verify(database, head) == head
    with database.read() as tx:
        assert [event.note for event in tx.audit.events()] == [None] * 5


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit_notes SET text = 'never mind' WHERE seq = 2", 2),
        ("UPDATE audit_notes SET salt = 'ff' WHERE seq = 2", 2),
        ("UPDATE audit_notes SET seq = 4 WHERE seq = 2", 4),
        ("INSERT INTO audit_notes (seq, salt, text) VALUES (3, 'ff', 'said later')", 3),
    ],
)
def test_an_altered_note_is_found(database: Database, when: datetime, statement: str, seq: int) -> None:
    write_history(database, when)
    with database.engine.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(AuditError, match=f"the note of entry {seq} was altered"):
        verify(database)


# -- what the database refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET kind = 'request.denied' WHERE seq = 3",
        "UPDATE audit_events SET leaf = leaf",
        "DELETE FROM audit_events WHERE seq = 5",
        "DELETE FROM audit_events",
    ],
)
def test_the_database_refuses_to_change_or_delete_events(database: Database, when: datetime, statement: str) -> None:
    head = write_history(database, when)
    with pytest.raises(DBAPIError, match="the audit history is append-only"), database.engine.begin() as connection:
        connection.execute(text(statement))
    assert verify(database) == head


@pytest.mark.postgres
def test_postgresql_refuses_to_empty_the_history(postgres_url: str, when: datetime) -> None:
    database = Database(open_engine(postgres_url))
    upgrade_schema(database.engine)
    head = write_history(database, when)
    with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.execute(text("TRUNCATE audit_events CASCADE"))
    assert verify(database) == head
    database.close()


def test_an_entry_inserted_past_the_ledger_is_found(database: Database, when: datetime) -> None:
    write_history(database, when)
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_events (seq, kind, leaf, digest) VALUES (6, 'x', '{}', '')"))
    assert first_bad(database) == 6


# -- tampering by somebody who may do anything to the database ------------------------------------------


def drop_triggers(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("DROP TRIGGER audit_events_no_update"))
        connection.execute(text("DROP TRIGGER audit_events_no_delete"))
    else:
        connection.execute(text("DROP TRIGGER audit_events_append_only ON audit_events"))


def run(*statements: str) -> Tamper:
    def tamper(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    return tamper


def forge(connection: Connection, seq: int, *, relink: bool) -> None:
    """Give an entry another text with a fitting digest; with ``relink``, every later entry and the head too."""
    rows = connection.execute(text("SELECT seq, leaf, digest FROM audit_events ORDER BY seq")).all()
    previous = rows[seq - 2].digest if seq > 1 else GENESIS
    for row in rows[seq - 1 :]:
        event = {key: value for key, value in json.loads(row.leaf).items() if key not in ("seq", "previous")}
        if row.seq == seq:
            event["actor"] = "mallory"
        elif not relink:
            break
        leaf = leaf_text(row.seq, previous, event)
        previous = leaf_digest(leaf)
        connection.execute(
            text("UPDATE audit_events SET leaf = :leaf, digest = :digest WHERE seq = :seq"),
            {"leaf": leaf, "digest": previous, "seq": row.seq},
        )
    if relink:
        rebuild_head(connection)


def rebuild_head(connection: Connection) -> None:
    """Make the head fit the entries, as somebody does who knows how it is made."""
    digests = [digest for (digest,) in connection.execute(text("SELECT digest FROM audit_events ORDER BY seq"))]
    frontier = Frontier()
    for digest in digests:
        frontier, _ = frontier.append(bytes.fromhex(digest))
    connection.execute(
        text("UPDATE audit_head SET size = :size, digest = :digest, root = :root, peaks = :peaks"),
        {
            "size": len(digests),
            "digest": digests[-1] if digests else GENESIS,
            "root": frontier.root.hex(),
            "peaks": json.dumps([peak.hex() for peak in frontier.peaks]),
        },
    )


SWAP = (
    "UPDATE audit_events SET seq = 99 WHERE seq = 3",
    "UPDATE audit_events SET seq = 3 WHERE seq = 4",
    "UPDATE audit_events SET seq = 4 WHERE seq = 99",
)

FOUND: dict[str, tuple[Tamper, int]] = {
    "text": (run("UPDATE audit_events SET leaf = REPLACE(leaf, 'alice', 'mallory') WHERE seq = 3"), 3),
    "digest": (run(f"UPDATE audit_events SET digest = '{GENESIS}' WHERE seq = 3"), 3),
    "text and digest": (lambda connection: forge(connection, 3, relink=False), 4),
    "text and digest of the last": (lambda connection: forge(connection, 5, relink=False), 6),
    "kind column": (run("UPDATE audit_events SET kind = 'request.denied' WHERE seq = 4"), 4),
    "model column": (run("UPDATE audit_events SET model = 'bikes' WHERE seq = 1"), 1),
    "model column emptied": (run("UPDATE audit_events SET model = NULL WHERE seq = 1"), 1),
    "request column": (run("UPDATE audit_events SET request_id = 9 WHERE seq = 3"), 3),
    "first deleted": (run("DELETE FROM audit_events WHERE seq = 1"), 1),
    "middle deleted": (run("DELETE FROM audit_events WHERE seq = 3"), 3),
    "last deleted": (run("DELETE FROM audit_events WHERE seq = 5"), 5),
    "deleted and renumbered": (
        run(
            "DELETE FROM audit_events WHERE seq = 3",
            "UPDATE audit_events SET seq = 3 WHERE seq = 4",
            "UPDATE audit_events SET seq = 4 WHERE seq = 5",
            "UPDATE audit_head SET size = 4",
        ),
        3,
    ),
    "exchanged": (run(*SWAP), 3),
    "renumbered from zero": (run("UPDATE audit_events SET seq = 0 WHERE seq = 1"), 1),
    "head lowered": (run("UPDATE audit_head SET size = 3"), 4),
    "head raised": (run("UPDATE audit_head SET size = 8"), 6),
    "head digest": (run(f"UPDATE audit_head SET digest = '{GENESIS}'"), 6),
    "head removed": (run("DELETE FROM audit_head"), 1),
    "root": (run(f"UPDATE audit_head SET root = '{GENESIS}'"), 6),
    "peaks": (run("UPDATE audit_head SET peaks = '[]'"), 6),
    "subtree invented": (run(f"INSERT INTO audit_subtrees VALUES (8, 0, '{GENESIS}')"), 6),
}


@pytest.mark.parametrize("how", FOUND)
def test_tampering_is_found_and_the_first_bad_entry_named(database: Database, when: datetime, how: str) -> None:
    tamper, seq = FOUND[how]
    write_history(database, when)
    with database.engine.begin() as connection:
        drop_triggers(connection)
        # The second entry's note would hold its entry in place.
        connection.execute(text("DELETE FROM audit_notes"))
        tamper(connection)
    assert first_bad(database) == seq


def truncate_to(size: int) -> Tamper:
    def tamper(connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM audit_events WHERE seq > {size}"))
        rebuild_head(connection)

    return tamper


HIDDEN: dict[str, tuple[Tamper, int]] = {
    "end cut off": (truncate_to(3), 4),
    "emptied": (truncate_to(0), 1),
    "rewritten from the third on": (lambda connection: forge(connection, 3, relink=True), 5),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_what_a_chain_cannot_show_by_itself_a_kept_head_does(database: Database, when: datetime, how: str) -> None:
    tamper, seq = HIDDEN[how]
    kept = write_history(database, when)
    assert first_bad(database, kept) is None
    with database.engine.begin() as connection:
        drop_triggers(connection)
        connection.execute(text("DELETE FROM audit_notes"))
        tamper(connection)
    assert first_bad(database) is None
    assert first_bad(database, kept) == seq


def test_nothing_is_appended_without_a_head(database: Database, when: datetime) -> None:
    write_history(database, when)
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM audit_head"))
    with pytest.raises(AuditError, match="head of the audit history is missing"), database.write():
        pass
    with database.read() as tx:
        assert len(list(tx.audit.entries())) == 5


# -- the hash tree ------------------------------------------------------------------------------------


def fill(database: Database, when: datetime, count: int) -> list[bytes]:
    """Append events in one transaction, and return the leaf hashes of all there are."""
    with database.write() as tx:
        for number in range(count):
            tx.audit.append(any_event("request.filed", n=number), at=when, actor="alice")
    with database.read() as tx:
        return [bytes.fromhex(entry.digest) for entry in tx.audit.entries()]


def test_the_tree_grows_with_the_history(database: Database, when: datetime) -> None:
    for count in (1, 2, BLOCK - 4, 1, BLOCK + 3):
        leaves = fill(database, when, count)
        with database.read() as tx:
            assert tx.audit.root() == tree_root(leaves)
            assert tx.audit.verify().size == len(leaves)
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT level, position, digest FROM audit_subtrees ORDER BY position")).all()
    blocks = [tree_root(leaves[at : at + BLOCK]).hex() for at in (0, BLOCK)]
    assert [tuple(row) for row in rows] == [(8, 0, blocks[0]), (8, 1, blocks[1])]


def test_proofs_come_from_the_stored_tree(database: Database, when: datetime) -> None:
    leaves = fill(database, when, 2 * BLOCK + 37)
    size = len(leaves)
    with database.read() as tx:
        root = tx.audit.root()
        for seq in (1, 2, BLOCK, BLOCK + 1, 2 * BLOCK + 1, size):
            assert verify_inclusion(leaves[seq - 1], seq - 1, size, tx.audit.inclusion(seq), root)
            assert verify_inclusion(leaves[0], 0, seq, tx.audit.inclusion(1, seq), tx.audit.root(seq))
            assert tx.audit.root(seq) == tree_root(leaves[:seq])
        for seq in (0, size + 1):
            with pytest.raises(NotFoundError, match="there is no entry"):
                tx.audit.inclusion(seq)


def test_a_savepoint_that_was_undone_leaves_no_gap(database: Database, when: datetime) -> None:
    with database.write() as tx:
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
        with pytest.raises(ZeroDivisionError), tx.audit._open.connection.begin_nested():  # noqa: PT012 - what is undone
            tx.audit.append(any_event("request.filed"), at=when, actor="bob")
            raise ZeroDivisionError
        assert tx.audit.append(any_event("request.filed"), at=when, actor="carol") == 2
    assert verify(database).size == 2


def test_nothing_is_appended_behind_a_head_that_somebody_moved_meanwhile(database: Database, when: datetime) -> None:
    fill(database, when, 3)
    with pytest.raises(AuditError, match="no longer at entry 3") as caught, database.write() as tx:  # noqa: PT012 - the whole block is what is undone
        tx.audit._open.connection.execute(text("UPDATE audit_head SET size = 4"))
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
    assert caught.value.seq == 4
    assert verify(database).size == 3


def test_nothing_is_appended_to_a_tree_that_does_not_fit(database: Database, when: datetime) -> None:
    fill(database, when, 3)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE audit_head SET peaks = '[\"ff\"]'"))
    with pytest.raises(AuditError, match="peaks") as caught, database.write() as tx:
        tx.audit.append(any_event("request.filed"), at=when, actor="alice")
    assert caught.value.seq == 4


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE audit_subtrees SET digest = '{GENESIS}' WHERE position = 1",
        "DELETE FROM audit_subtrees WHERE position = 1",
    ],
)
def test_an_altered_subtree_is_named_by_its_first_entry(database: Database, when: datetime, statement: str) -> None:
    fill(database, when, 2 * BLOCK + 3)
    with database.engine.begin() as connection:
        connection.execute(text(statement))
    assert first_bad(database) == BLOCK + 1


def test_entries_of_another_history_are_adopted_as_they_are(database: Database, when: datetime) -> None:
    fill(database, when, BLOCK + 5)
    with database.read() as tx:
        entries, head, root = list(tx.audit.entries()), tx.audit.head(), tx.audit.root()
    later = leaf_text(head.size + 1, head.digest, {"kind": "x", "actor": "a", "at": when.isoformat(), "data": {}})
    with database.write() as tx:
        adopted = tx.audit.adopt([Entry(head.size + 1, later, leaf_digest(later))])
        assert adopted == Head(head.size + 1, leaf_digest(later))
        path = tx.audit.inclusion(adopted.size)
        assert verify_inclusion(bytes.fromhex(adopted.digest), head.size, adopted.size, path, tx.audit.root())
        assert tx.audit.root(head.size) == root
    assert verify(database) == adopted
    with pytest.raises(AuditError, match="is missing"), database.write() as tx:
        tx.audit.adopt(entries[:1])


def test_what_continues_a_checkpoint_is_proven_from_there_on(database: Database, when: datetime) -> None:
    fill(database, when, BLOCK + 5)
    with database.read() as tx:
        known = Checkpoint("x", BLOCK + 5, tx.audit.root())
        assert tx.audit.verify_since(known).size == BLOCK + 5
        with pytest.raises(AuditError, match="its end is missing") as caught:
            tx.audit.verify_since(Checkpoint("x", BLOCK + 6, known.root))
        assert caught.value.seq == BLOCK + 6
    fill(database, when, 4)
    with database.read() as tx:
        assert tx.audit.verify_since(known).size == BLOCK + 9
        assert tx.audit.verify(ExternalRecord(checkpoints=(known,))).size == BLOCK + 9
        with pytest.raises(AuditError, match="are not those"):
            tx.audit.verify_since(Checkpoint("x", 3, known.root))
    with database.engine.begin() as connection:
        drop_triggers(connection)
        forge(connection, BLOCK + 7, relink=False)
    with database.read() as tx, pytest.raises(AuditError, match="does not follow") as caught:
        tx.audit.verify_since(known)
    assert caught.value.seq == BLOCK + 8
