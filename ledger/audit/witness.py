"""Witness files, which somebody else keeps so that the ledger's operators cannot rewrite the log unnoticed.

Each visit of the witness adds one line: a JSON object with the digests of all entries since the last visit and a signed
checkpoint. The digests tell which entry was changed first, which a checkpoint alone does not; the checkpoints prove to
third parties that the ledger signed this log. A digest does not reveal what its entry says.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ledger.errors import SignatureError
from ledger.json_shapes import read_json_as

from .signed_notes import Checkpoint, Verifier, open_checkpoint
from .tree_builder import TreeBuilder
from .verification import ExternalRecord

SCHEMA = "unledger.witness/1"
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Witness:
    """The contents of a witness file."""

    digests: tuple[str, ...] = ()
    """Of every entry from the first on, hexadecimal."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """One for each visit; their signatures have been verified."""

    @property
    def kept(self) -> ExternalRecord:
        """What a log must agree with."""
        return ExternalRecord(checkpoints=self.checkpoints, digests=self.digests)


def witness_line(first: int, digests: Sequence[str], note: str) -> str:
    """Return the line that one visit adds.

    Args:
        first: Number of the first entry since the last visit.
        digests: Of the entries from that one on, hexadecimal.
        note: Signed checkpoint over all entries up to the last of them.
    """
    line = {"schema": SCHEMA, "first": first, "digests": list(digests), "checkpoint": note}
    return json.dumps(line, separators=(",", ":")) + "\n"


def read_witness(text: str, verifiers: Sequence[Verifier]) -> Witness:
    """Read a witness file and verify it: no gaps, genuine signatures, and checkpoints whose roots match the digests.

    Raises:
        SignatureError: The text is not a witness file, or one of its lines does not verify.
    """
    digests: list[str] = []
    checkpoints = []
    tree = TreeBuilder()
    if text and not text.endswith("\n"):
        raise SignatureError("the witness file ends in the middle of a line", "delete its last line: the others hold")
    for number, line in enumerate(text.splitlines(), start=1):
        new, note = _visit(line, number, len(digests) + 1)
        digests += new
        tree.extend([bytes.fromhex(digest) for digest in new])
        checkpoint = open_checkpoint(note, verifiers)
        if (checkpoint.size, checkpoint.root) != (tree.size, tree.frontier.root):
            raise SignatureError(f"line {number} of the witness file: the checkpoint is not that of the digests")
        checkpoints.append(checkpoint)
    return Witness(tuple(digests), tuple(checkpoints))


@dataclass(frozen=True)
class _Line:
    schema: Literal["unledger.witness/1"]


@dataclass(frozen=True)
class _Visit(_Line):
    first: int
    digests: list[str]
    checkpoint: str


def _visit(line: str, number: int, first: int) -> tuple[list[str], str]:
    try:
        read_json_as(_Line, line)
    except ValueError as error:
        raise SignatureError(f"line {number} is not one of a witness file", "audit witness writes them") from error
    try:
        visit = read_json_as(_Visit, line)
    except ValueError:
        visit = None
    if visit is None or visit.first != first or not all(_DIGEST.fullmatch(digest) for digest in visit.digests):
        raise SignatureError(f"line {number} of the witness file is malformed, or one before it is missing")
    return visit.digests, visit.checkpoint
