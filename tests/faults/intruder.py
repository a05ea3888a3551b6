"""Somebody who may do anything to the database, and knows how the history is made. Plain SQL, none of the ledger's."""

import hashlib
import json
import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.audit.signed_notes import Checkpoint, Signer, sign_checkpoint

GENESIS = "0" * 64
LEVELS = (8, 16, 24)


def canonical(value: dict[str, Any]) -> str:
    """Return JSON as the history has it: keys in order, no spaces. No entry here holds a fraction."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hashed(leaf: str) -> str:
    return hashlib.sha256(b"\x00" + leaf.encode()).hexdigest()


def tree(leaves: list[bytes]) -> bytes:
    """Return the RFC 6962 root by its recursive definition."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()


@dataclass
class Intruder:
    """Changes one database file.

    Args:
        path: The file.
        choice: What decides where.
    """

    path: Path
    choice: random.Random

    def __post_init__(self) -> None:
        self.sql = sqlite3.connect(self.path, isolation_level=None)
        # A power cut would be no loss.
        self.sql.execute("PRAGMA synchronous = OFF")
        for (name,) in self.sql.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.sql.execute(f"DROP TRIGGER {name}")

    @property
    def size(self) -> int:
        """How many entries there are."""
        return int(self.sql.execute("SELECT count(*) FROM audit_events").fetchone()[0])

    def event(self, seq: int) -> dict[str, Any]:
        """Return an entry's contents."""
        (leaf,) = self.sql.execute("SELECT leaf FROM audit_events WHERE seq = ?", (seq,)).fetchone()
        found: dict[str, Any] = json.loads(leaf)
        return found

    def rewrite(self, seq: int, event: dict[str, Any]) -> None:
        """Give an entry another text, with the digest that fits it."""
        leaf = canonical(event)
        self.sql.execute("UPDATE audit_events SET leaf = ?, digest = ? WHERE seq = ?", (leaf, hashed(leaf), seq))

    def forge(self, seq: int) -> dict[str, Any]:
        """Return an entry's contents with something in them changed."""
        event = self.event(seq)
        event["actor"] += "!"
        return event

    def relink(self, start: int) -> None:
        """Compute the chain anew from an entry on, and everything that is derived from it."""
        previous = GENESIS
        if start > 1:
            (previous,) = self.sql.execute("SELECT digest FROM audit_events WHERE seq = ?", (start - 1,)).fetchone()
        for seq in range(start, self.size + 1):
            event = {**self.event(seq), "seq": seq, "previous": previous}
            self.rewrite(seq, event)
            previous = hashed(canonical(event))
        self.rebuild()

    def rebuild(self) -> None:
        """Make head, root, peaks and stored subtrees fit the entries."""
        leaves = [bytes.fromhex(d) for (d,) in self.sql.execute("SELECT digest FROM audit_events ORDER BY seq")]
        size, peaks, start = len(leaves), [], 0
        while start < size:
            width = 1 << (size - start).bit_length() - 1
            peaks.append(tree(leaves[start : start + width]).hex())
            start += width
        digest = leaves[-1].hex() if leaves else GENESIS
        values = (size, digest, tree(leaves).hex(), json.dumps(peaks))
        self.sql.execute("UPDATE audit_head SET size = ?, digest = ?, root = ?, peaks = ?", values)
        self.sql.execute("DELETE FROM audit_subtrees")
        for level in LEVELS:
            for position in range(size >> level):
                part = leaves[position << level : (position + 1) << level]
                self.sql.execute("INSERT INTO audit_subtrees VALUES (?, ?, ?)", (level, position, tree(part).hex()))

    def renumber(self, start: int, by: int) -> None:
        """Move every entry from one on, with its columns and text, and leave the chain as it is."""
        for (seq,) in self.sql.execute(
            f"SELECT seq FROM audit_events WHERE seq >= ? ORDER BY seq {'DESC' if by > 0 else ''}", (start,)
        ).fetchall():
            self.sql.execute("UPDATE audit_events SET seq = ? WHERE seq = ?", (seq + by, seq))
            self.sql.execute("UPDATE audit_notes SET seq = ? WHERE seq = ?", (seq + by, seq))

    def delete(self, seq: int) -> None:
        """Delete an entry and its note."""
        self.sql.execute("DELETE FROM audit_notes WHERE seq = ?", (seq,))
        self.sql.execute("DELETE FROM audit_events WHERE seq = ?", (seq,))

    def insert(self, seq: int, event: dict[str, Any]) -> None:
        """Insert an entry whose number is free."""
        leaf = canonical(event)
        self.sql.execute(
            "INSERT INTO audit_events (seq, kind, model, request_id, leaf, digest) VALUES (?, ?, ?, ?, ?, ?)",
            (seq, event["kind"], event.get("model"), event.get("request"), leaf, hashed(leaf)),
        )

    def resign(self) -> None:
        """Sign every stored checkpoint anew with a key of one's own, for the history as it is now."""
        leaves = [bytes.fromhex(d) for (d,) in self.sql.execute("SELECT digest FROM audit_events ORDER BY seq")]
        for number, size, note in self.sql.execute("SELECT id, size, note FROM checkpoints").fetchall():
            kept = min(size, len(leaves))
            signer = Signer(note.partition("\n")[0], Ed25519PrivateKey.from_private_bytes(self.choice.randbytes(32)))
            checkpoint = Checkpoint(signer.name, kept, tree(leaves[:kept]))
            self.sql.execute(
                "UPDATE checkpoints SET size = ?, root = ?, note = ? WHERE id = ?",
                (kept, checkpoint.root.hex(), sign_checkpoint(checkpoint, signer), number),
            )

    def one(self, query: str, *values: Any) -> tuple[Any, ...]:
        """Return a row of a query, at random."""
        return tuple(self.choice.choice(self.sql.execute(query, values).fetchall()))

    def close(self) -> None:
        """Close the database."""
        self.sql.close()
