"""Tamper with ledgers in every way we know, and count what verification finds.

    python -m tests.faults.tamper --count 1000 --seed 0

Each round makes a ledger of its own, checks that it is found clean, lets an intruder change it, and checks it again:
alone, with a checkpoint that was kept, and with a witness file. It says what was found, and whether the right entry or
row was named.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ledger.audit.signed_notes import Verifier, open_checkpoint
from ledger.audit.verification import ExternalRecord
from ledger.audit.witness import read_witness
from ledger.errors import AuditError
from ledger.service.audit.replay import replay
from ledger.service.signing import load_signer
from ledger.store.unit_of_work import Database
from tests.faults.intruder import Intruder
from tests.faults.story import Story


@dataclass(frozen=True)
class Done:
    """What an intruder did: the first entry that is bad then, or the row."""

    seq: int | None
    row: tuple[str, tuple[object, ...]] | None = None


Tamper = Callable[[Intruder], Done]


def place(intruder: Intruder, *, last: int = 0) -> int:
    """Return the number of an entry, not among the last few."""
    return intruder.choice.randint(1, intruder.size - last)


def edit_text(i: Intruder) -> Done:
    seq = place(i)
    i.sql.execute("UPDATE audit_events SET leaf = replace(leaf, 'actor', 'Actor') WHERE seq = ?", (seq,))
    return Done(seq)


def edit_text_and_digest(i: Intruder) -> Done:
    seq = place(i)
    i.rewrite(seq, i.forge(seq))
    return Done(seq)


def edit_digest(i: Intruder) -> Done:
    seq = place(i)
    i.sql.execute("UPDATE audit_events SET digest = ? WHERE seq = ?", (i.choice.randbytes(32).hex(), seq))
    return Done(seq)


def swap(i: Intruder) -> Done:
    first, second = sorted(i.choice.sample(range(1, i.size + 1), 2))
    for old, new in ((first, -1), (second, first), (-1, second)):
        i.sql.execute("UPDATE audit_events SET seq = ? WHERE seq = ?", (new, old))
    return Done(first)


def insert(i: Intruder) -> Done:
    seq = place(i)
    forged = i.forge(seq)
    i.renumber(seq, 1)
    i.insert(seq, forged)
    i.sql.execute("UPDATE audit_head SET size = size + 1")
    return Done(seq)


def insert_and_rehash(i: Intruder) -> Done:
    done = insert(i)
    assert done.seq is not None
    i.relink(done.seq)
    return done


def delete(i: Intruder) -> Done:
    seq = place(i, last=1)
    i.delete(seq)
    return Done(seq)


def delete_and_renumber(i: Intruder) -> Done:
    seq = place(i, last=1)
    i.delete(seq)
    i.renumber(seq + 1, -1)
    i.sql.execute("UPDATE audit_head SET size = size - 1")
    return Done(seq)


def cut_tail(i: Intruder) -> Done:
    seq = place(i)
    for number in range(seq, i.size + 1):
        i.delete(number)
    i.rebuild()
    i.sql.execute("DELETE FROM checkpoints WHERE size >= ?", (seq,))
    return Done(seq)


def rehash(i: Intruder) -> Done:
    seq = place(i)
    i.rewrite(seq, i.forge(seq))
    i.relink(seq)
    return Done(seq)


def rehash_and_drop_checkpoints(i: Intruder) -> Done:
    done = rehash(i)
    i.sql.execute("DELETE FROM checkpoints")
    return done


def rehash_and_resign(i: Intruder) -> Done:
    done = rehash(i)
    i.resign()
    return done


def edit_root(i: Intruder) -> Done:
    i.sql.execute("UPDATE audit_head SET root = ?", (i.choice.randbytes(32).hex(),))
    return Done(i.size + 1)


def edit_peaks(i: Intruder) -> Done:
    i.sql.execute("UPDATE audit_head SET peaks = replace(peaks, substr(peaks, 4, 4), 'abcd')")
    return Done(i.size + 1)


def edit_head(i: Intruder) -> Done:
    by = i.choice.choice([-1, 1, 5])
    i.sql.execute("UPDATE audit_head SET size = size + ?", (by,))
    return Done(i.size + min(by, 0) + 1)


def edit_subtree(i: Intruder) -> Done:
    level, position = i.one("SELECT level, position FROM audit_subtrees")
    i.sql.execute(
        "UPDATE audit_subtrees SET digest = ? WHERE level = ? AND position = ?",
        (i.choice.randbytes(32).hex(), level, position),
    )
    return Done((position << level) + 1)


def delete_subtree(i: Intruder) -> Done:
    level, position = i.one("SELECT level, position FROM audit_subtrees")
    i.sql.execute("DELETE FROM audit_subtrees WHERE level = ? AND position = ?", (level, position))
    return Done((position << level) + 1)


def edit_note(i: Intruder) -> Done:
    (seq,) = i.one("SELECT seq FROM audit_notes")
    column = i.choice.choice(["text", "salt"])
    i.sql.execute(f"UPDATE audit_notes SET {column} = {column} || 'x' WHERE seq = ?", (seq,))
    return Done(seq)


def invent_note(i: Intruder) -> Done:
    (seq,) = i.one("SELECT seq FROM audit_events WHERE seq NOT IN (SELECT seq FROM audit_notes)")
    i.sql.execute("INSERT INTO audit_notes (seq, salt, text) VALUES (?, 'ff', 'said later')", (seq,))
    return Done(seq)


def edit_column(i: Intruder) -> Done:
    seq = place(i)
    column, value = i.choice.choice([("kind", "request.denied!"), ("model", "boats"), ("request_id", 99)])
    i.sql.execute(f"UPDATE audit_events SET {column} = ? WHERE seq = ?", (value, seq))
    return Done(seq)


def edit_checkpoint(i: Intruder) -> Done:
    number, size = i.one("SELECT id, size FROM checkpoints")
    column, value = i.choice.choice([("root", "'" + "ab" * 32 + "'"), ("note", "replace(note, ' ', '  ')")])
    i.sql.execute(f"UPDATE checkpoints SET {column} = {value} WHERE id = ?", (number,))
    return Done(size)


def edit_request(i: Intruder) -> Done:
    number, state = i.one("SELECT id, state FROM requests")
    column, value = i.choice.choice(
        [
            ("state", "fulfilled" if state != "fulfilled" else "denied"),
            ("classes", "[5, 4]"),
            ("actor", "mallory"),
            ("external_id", "T-none"),
            ("due_at", "2031-01-01 00:00:00.000000"),
            ("version", 77),
            ("gates_waived", 2),
        ]
    )
    i.sql.execute(f"UPDATE requests SET {column} = ? WHERE id = ?", (value, number))
    return Done(None, ("requests", (number,)))


def delete_request(i: Intruder) -> Done:
    (number,) = i.one("SELECT id FROM requests")
    i.sql.execute("DELETE FROM requests WHERE id = ?", (number,))
    return Done(None, ("requests", (number,)))


def edit_version(i: Intruder) -> Done:
    name, number = i.one("SELECT name, number FROM versions JOIN models ON models.id = model_id")
    column, value = i.choice.choice(
        [("forgotten", "[0, 5]"), ("weights", "f" * 64), ("kind", "other"), ("parent", 55), ("recipe", '{"alpha": 9}')]
    )
    i.sql.execute(
        f"UPDATE versions SET {column} = ? WHERE number = ? AND model_id = (SELECT id FROM models WHERE name = ?)",
        (value, number, name),
    )
    return Done(None, ("versions", (name, number)))


def edit_model(i: Intruder) -> Done:
    (name,) = i.one("SELECT name FROM models")
    column, value = i.choice.choice(
        [
            ("anchor", 1),
            ("data_digest", "e" * 64),
            ("architecture", "timm/other"),
            ("settings", '{"max_forgotten_accuracy": 1}'),
            ("options", '{"pretrained": true}'),
        ]
    )
    i.sql.execute(f"UPDATE models SET {column} = ? WHERE name = ?", (value, name))
    return Done(None, ("models", (name,)))


def invent_version(i: Intruder) -> Done:
    name, model, number = i.one(
        "SELECT name, models.id, max(number) FROM versions JOIN models ON models.id = model_id GROUP BY model_id"
    )
    i.sql.execute(
        "INSERT INTO versions (model_id, number, kind, forgotten, weights, recipe, created_at) "
        "VALUES (?, ?, 'forget', '[1]', ?, '{}', '2026-01-01 00:00:00.000000')",
        (model, number + 1, "f" * 64),
    )
    return Done(None, ("versions", (name, number + 1)))


def edit_alias(i: Intruder) -> Done:
    name, version = i.one("SELECT models.name, version FROM aliases JOIN models ON models.id = model_id")
    i.sql.execute(
        "UPDATE aliases SET version = ? WHERE model_id = (SELECT id FROM models WHERE name = ?)",
        (0 if version else 1, name),
    )
    return Done(None, ("aliases", (name, "live")))


def edit_move(i: Intruder) -> Done:
    seq, column = i.one("SELECT audit_seq, 'version' FROM alias_moves")
    i.sql.execute(f"UPDATE alias_moves SET {column} = {column} + 1 WHERE audit_seq = ?", (seq,))
    return Done(None, ("alias_moves", (seq,)))


SHOWN: dict[str, Tamper] = {
    kind.__name__: kind
    for kind in (
        edit_text, edit_digest, swap, delete, delete_and_renumber, edit_root, edit_peaks, edit_head, edit_subtree,
        delete_subtree, edit_note, invent_note, edit_column, edit_checkpoint, edit_text_and_digest, insert,
    )
}  # fmt: skip
"""Found from the database alone."""
KEYED = {"edit_checkpoint"}
"""The same, by who knows the key that signs."""
ROWS: dict[str, Tamper] = {
    kind.__name__: kind
    for kind in (edit_model, edit_request, delete_request, edit_version, invent_version, edit_alias, edit_move)
}
"""Found by replaying the history, which stays as it was."""
HIDDEN: dict[str, Tamper] = {
    kind.__name__: kind
    for kind in (cut_tail, rehash_and_drop_checkpoints, rehash_and_resign, rehash, insert_and_rehash)
}
"""Found only by who kept something; the last two also by the signed checkpoints in the database and their key."""
SIGNED = {"rehash", "insert_and_rehash"}
RESTORE = "restore_old_file"
KINDS = [*SHOWN, *ROWS, *HIDDEN, RESTORE]
LATE_BY_ONE = {"edit_text_and_digest", "insert"}
"""A chain alone sees that the entry after does not follow; the witness sees the entry itself."""


@dataclass
class Findings:
    """What a round found."""

    seq: int | None
    """First bad entry, by verification."""
    rows: set[tuple[str, tuple[object, ...]]]
    """By replay; empty where verification failed, since a history that does not verify says nothing."""

    @property
    def nothing(self) -> bool:
        """Whether all seems well."""
        return self.seq is None and not self.rows


def look(database: Database, kept: ExternalRecord, verifiers: list[Verifier]) -> Findings:
    """Verify and replay a database, read from its file anew."""
    database.close()
    with database.read() as tx:
        try:
            tx.audit.verify(kept, verifiers=verifiers)
        except AuditError as error:
            return Findings(error.seq, set())
        return Findings(None, {(difference.table, difference.key) for difference in replay(tx)})


class Round:
    """One ledger, one act of tampering."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        self.kind = kind
        choice = random.Random(f"{seed} {kind}")
        story = Story(folder / "ledger", choice)
        story.file()
        story.live(choice.randint(4, 10))
        self.first_size = story.size
        story.checkpoint()
        story.witness()
        old = folder / "old.db"
        shutil.copy(story.database, old)
        story.live(choice.randint(3, 8))
        story.chat(1)
        if kind.endswith("subtree") or choice.random() < 0.2:
            story.chat(choice.randint(256, 600))
        note = story.checkpoint()
        story.witness()
        self.size = story.size
        story.close()
        self.database = story.ledger.database
        self.verifiers = [load_signer(story.ledger.config).verifier]
        self.checkpoint = ExternalRecord(checkpoints=(open_checkpoint(note, self.verifiers),))
        self.witness = read_witness(story.witness_file.read_text(), self.verifiers).kept
        self.clean = all(
            look(self.database, kept, self.verifiers).nothing
            for kept in (ExternalRecord(), self.checkpoint, self.witness)
        )
        self.database.close()
        if kind == RESTORE:
            shutil.copy(old, story.database)
            self.done = Done(self.first_size + 1)
            return
        intruder = Intruder(story.database, choice)
        self.done = {**SHOWN, **ROWS, **HIDDEN}[kind](intruder)
        intruder.close()

    def problems(self) -> list[str]:
        """Return what verification missed or got wrong, in words."""
        found = []
        alone = look(self.database, ExternalRecord(), [])
        signed = look(self.database, ExternalRecord(), self.verifiers)
        with_checkpoint = look(self.database, self.checkpoint, self.verifiers)
        with_witness = look(self.database, self.witness, self.verifiers)
        seq = self.done.seq
        if seq is None:
            looks = (alone, signed, with_checkpoint, with_witness)
            missed = [look for look in looks if look.seq is not None or self.done.row not in look.rows]
            return [f"{self.done.row} not named: {look}" for look in missed]
        if with_witness.seq != seq:
            found.append(f"the witness named {with_witness.seq} instead of {seq}")
        if with_checkpoint.nothing or not self._within(with_checkpoint.seq, seq):
            found.append(f"the kept checkpoint named {with_checkpoint.seq}, {seq} is bad")
        if self.kind in SHOWN:
            late = seq + 1 if self.kind in LATE_BY_ONE else seq
            seen = signed if self.kind in KEYED else alone
            if seen.nothing or seen.seq not in {seq, late} | self._bounds(seq):
                found.append(f"the database alone named {seen.seq} instead of {late}")
        elif self.kind in SIGNED:
            if signed.seq is None:
                found.append("the signed checkpoints in the database did not show it")
        elif alone.seq is not None:
            found.append(f"found without anything kept ({alone.seq}): the documentation says it cannot be")
        return found

    def _bounds(self, seq: int) -> set[int]:
        """Return what a checkpoint names where it knows only a range: the first entry it does not prove."""
        return {self.first_size + 1 if seq > self.first_size else 1}

    def _within(self, named: int | None, seq: int) -> bool:
        late = seq + 1 if self.kind in LATE_BY_ONE else seq
        return named in {seq, late} | self._bounds(seq) | {1}


def sweep(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Run rounds over all kinds in turn; return how many of each, and what went wrong."""
    counts: Counter[str] = Counter()
    problems = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        with tempfile.TemporaryDirectory(dir=folder) as place_:
            done = Round(Path(place_), kind, seed + number)
            counts[kind] += 1
            if not done.clean:
                problems.append(f"round {number} ({kind}): false alarm on a clean ledger")
            problems += [f"round {number} ({kind}): {text}" for text in done.problems()]
            done.database.close()
    return counts, problems


def main() -> None:
    """Run the sweep and print what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, problems = sweep(arguments.count, arguments.seed, Path(folder))
    for kind, number in counts.items():
        print(f"{number:6} {kind}")  # noqa: T201
    for problem in problems:
        print(problem)  # noqa: T201
    print(f"{sum(counts.values())} tamperings of {len(counts)} kinds, seed {arguments.seed}: {len(problems)} problems")  # noqa: T201
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
