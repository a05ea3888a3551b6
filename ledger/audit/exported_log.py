"""The audit log as a file that can be verified without the ledger.

JSON lines: first every entry with the exact text that is hashed, ``{"seq": 1, "leaf": "...", "digest": "..."}``; then
the newest signed checkpoint if one was issued, ``{"checkpoint": "..."}``. The free-text notes of events are left out.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ledger.errors import AuditError
from ledger.json_shapes import read_json_as

from .chain import Entry


@dataclass(frozen=True)
class ExportedLog:
    """Contents of an exported file. They are not trusted before they were verified."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    """Signed checkpoints, as C2SP signed notes."""


def export_lines(entries: Iterable[Entry], notes: Iterable[str]) -> Iterator[str]:
    """Yield the lines of an export."""
    for entry in entries:
        yield json.dumps({"seq": entry.seq, "leaf": entry.leaf, "digest": entry.digest}) + "\n"
    for note in notes:
        yield json.dumps({"checkpoint": note}) + "\n"


def read_export(text: str, name: str) -> ExportedLog:
    """Read an export.

    Args:
        text: The file's contents.
        name: What to call it in an error.

    Raises:
        AuditError: A line does not belong in an export; ``seq`` is the number of the entry expected there.
    """
    entries: list[Entry] = []
    notes: list[str] = []
    for line in text.splitlines():
        try:
            said = read_json_as(_Line, line)
        except ValueError as error:
            raise AuditError(f"{name} is not an exported history: {error}", seq=len(entries) + 1) from error
        if said.seq is not None and said.leaf is not None and said.digest is not None and not notes:
            entries.append(Entry(said.seq, said.leaf, said.digest))
        elif said.checkpoint is not None:
            notes.append(said.checkpoint)
        else:
            raise AuditError(f"{name} is not an exported history", seq=len(entries) + 1)
    return ExportedLog(tuple(entries), tuple(notes))


@dataclass(frozen=True)
class _Line:
    """A line of an export: an entry with its three keys, or a checkpoint."""

    seq: int | None = None
    leaf: str | None = None
    digest: str | None = None
    checkpoint: str | None = None
