"""A proof that the log contains one entry, as a small document: leaf, audit path and signed checkpoint.

The document and the verifier key are enough to verify it. It reveals no other entry and needs no ledger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ledger.errors import SignatureError
from ledger.json_shapes import read_json_as

from .merkle import leaf_hash, verify_inclusion
from .signed_notes import Checkpoint, Verifier, open_checkpoint

SCHEMA = "unledger.proof/1"


@dataclass(frozen=True)
class Proof:
    """An RFC 6962 inclusion proof of one entry in the tree of a signed checkpoint."""

    leaf: str
    """The entry's canonical JSON text."""
    index: int
    """From 0: one less than the entry's sequence number."""
    size: int
    """Number of entries in the tree."""
    path: tuple[bytes, ...]
    """SHA-256 hashes from the entry's sibling up to the child of the root."""
    checkpoint: str
    """Signed note (:mod:`ledger.audit.signed_notes`)."""

    def check(self, verifiers: Sequence[Verifier]) -> Checkpoint:
        """Return the checkpoint once the proof is verified.

        Raises:
            SignatureError: Entry and path do not lead to the checkpoint's root, or no known key signed it.
        """
        signed = open_checkpoint(self.checkpoint, verifiers)
        proven = verify_inclusion(leaf_hash(self.leaf.encode()), self.index, self.size, self.path, signed.root)
        if signed.size != self.size or not proven:
            raise SignatureError(f"entry {self.index + 1} is not proven to stand in the signed history")
        return signed

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "schema": SCHEMA,
            "leaf": self.leaf,
            "index": self.index,
            "size": self.size,
            "path": [part.hex() for part in self.path],
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def parse(cls, text: str) -> "Proof":
        """Read the document.

        Raises:
            SignatureError: The text is not such a document.
        """
        try:
            said = read_json_as(_Document, text)
            path = tuple(bytes.fromhex(part) for part in said.path)
        except ValueError as error:
            raise SignatureError(f"this is no proof of an entry: {error}", "audit proof writes them") from error
        return cls(said.leaf, said.index, said.size, path, said.checkpoint)


@dataclass(frozen=True)
class _Document:
    schema: Literal["unledger.proof/1"]
    leaf: str
    index: int
    size: int
    path: list[str]
    checkpoint: str
