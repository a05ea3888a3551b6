"""A witness file: what somebody else keeps of a history, so that its writers cannot change their story.

One line a visit, each a JSON object with the digest of every entry since the visit before and the signed checkpoint of
that moment. The digests name the first entry that was changed, which a checkpoint alone cannot; the checkpoints make
the file provable to third parties. Digests say nothing of what the entries hold.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.errors import SignatureError

from .growth import Growth
from .signed_notes import Checkpoint, Verifier, open_checkpoint
from .verification import Kept

SCHEMA = "unledger.witness/1"
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Witness:
    """What a witness file holds."""

    digests: tuple[str, ...] = ()
    """Of every entry from the first on."""
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def kept(self) -> Kept:
        """What a history must agree with."""
        return Kept(checkpoints=self.checkpoints, digests=self.digests)


def witness_line(first: int, digests: Sequence[str], note: str) -> str:
    """Return the line of one visit.

    Args:
        first: Number of the first entry whose digest is new.
        digests: Of the entries from that one on.
        note: Signed checkpoint of everything up to the last of them.
    """
    line = {"schema": SCHEMA, "first": first, "digests": list(digests), "checkpoint": note}
    return json.dumps(line, separators=(",", ":")) + "\n"


def read_witness(text: str, verifiers: Sequence[Verifier]) -> Witness:
    """Read a witness file and check it in itself: no gaps, signatures genuine, each root that of the digests.

    Raises:
        SignatureError: It is no witness file, or a line of it does not hold.
    """
    digests: list[str] = []
    checkpoints = []
    growth = Growth()
    if text and not text.endswith("\n"):
        raise SignatureError("the witness file ends in the middle of a line", "delete its last line: the others hold")
    for number, line in enumerate(text.splitlines(), start=1):
        new, note = _visit(line, number, len(digests) + 1)
        digests += new
        growth.extend([bytes.fromhex(digest) for digest in new])
        checkpoint = open_checkpoint(note, verifiers)
        if (checkpoint.size, checkpoint.root) != (growth.size, growth.frontier.root):
            raise SignatureError(f"line {number} of the witness file: the checkpoint is not that of the digests")
        checkpoints.append(checkpoint)
    return Witness(tuple(digests), tuple(checkpoints))


def _visit(line: str, number: int, first: int) -> tuple[list[str], str]:
    try:
        visit = json.loads(line)
    except (ValueError, RecursionError):
        visit = None
    if not isinstance(visit, dict) or visit.get("schema") != SCHEMA:
        raise SignatureError(f"line {number} is not one of a witness file", "audit witness writes them")
    digests, note = visit.get("digests"), visit.get("checkpoint")
    whole = isinstance(digests, list) and all(isinstance(d, str) and _DIGEST.fullmatch(d) for d in digests)
    if not whole or not isinstance(note, str) or visit.get("first") != first:
        raise SignatureError(f"line {number} of the witness file is malformed, or one before it is missing")
    return digests or [], note
