"""A signed note of what a ledger had forgotten at a checkpoint: what to compare with when the database is lost.

It names classes by index and requests by number, and no person. It is kept where the checkpoint is kept. Its size does
not grow with the ledger: of the requests it lists those that something happened to lately.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import orjson

from ledger.audit.signed_notes import Signer, Verifier, open_note, sign_note
from ledger.domain.states import RequestState
from ledger.errors import RowError, SignatureError
from ledger.json_shapes import read_json_as
from ledger.store.unit_of_work import Transaction

TITLE = "unledger state"
REACH = 2000
"""Entries before the checkpoint whose requests are listed, in the note beside the key."""
LONGEST_REACH = 10_000
"""The same at most, in a note that continues one of long ago."""
LONGEST = 4 * 2**20
"""Characters of a note at most, as far as listing fewer requests can keep it so short; more are never read."""


@dataclass(frozen=True)
class RequestNote:
    """A request that something happened to."""

    number: int
    model: str
    classes: tuple[int, ...]
    """Indices, ascending."""
    state: RequestState
    basis: str
    received_at: datetime
    due_at: datetime


@dataclass(frozen=True)
class ModelNote:
    """What a model had forgotten, and was to forget."""

    name: str
    version: int
    """The live version."""
    forgotten: tuple[int, ...]
    """Indices of its forgotten classes, ascending."""
    awaited: tuple[tuple[int, datetime], ...]
    """Indices of the classes that open requests asked for, ascending, and when the first of these was due."""


@dataclass(frozen=True)
class StateNote:
    """What a ledger had forgotten, and had promised to."""

    size: int
    """Entries of the audit log at that time."""
    since: int
    """The requests that an entry after this one is about are listed, and no others."""
    models: tuple[ModelNote, ...]
    requests: tuple[RequestNote, ...]

    @classmethod
    def signed(cls, tx: Transaction, signer: Signer, since: int) -> str:
        """Return a signed note of the present state.

        Args:
            tx: Sees the state.
            signer: The ledger's key.
            since: Requests that an entry after this one is about are listed; fewer where they are very many.
        """
        size = tx.audit.head().size
        names = tx.models.names()
        notes = tuple(_model_notes(tx, names))
        since = min(max(since, size - LONGEST_REACH, 0), size)
        while True:
            requests = tuple(_request_notes(tx, names, since))
            text = cls(size, since, notes, requests).text()
            if len(text) <= LONGEST // 2 or not requests:
                return sign_note(text, signer)
            since = (since + size + 1) // 2

    @classmethod
    def open(cls, note: str, verifier: Verifier) -> "StateNote":
        """Read a signed note.

        Raises:
            SignatureError: This key did not sign it, or it is something else.
        """
        title, _, text = open_note(note, [verifier]).partition("\n")
        if title != TITLE:
            raise SignatureError("the note does not tell of a ledger's state")
        try:
            return read_json_as(cls, text)
        except ValueError as error:
            raise SignatureError(f"the note of a ledger's state cannot be read: {error}") from error

    def text(self) -> str:
        """Return the note's text, without a signature."""
        # Written for every result while others wait: no copy of it is made first.
        return f"{TITLE}\n{orjson.dumps(self).decode()}\n"


def _model_notes(tx: Transaction, names: dict[int, str]) -> Iterator[ModelNote]:
    # Three statements whatever the number of models: others wait for the end of this transaction.
    live, awaited = tx.versions.all_live(), tx.requests.awaited_until()
    for model_id, name in names.items():
        if model_id not in live:
            raise RowError(
                f"no row in the database says which version of {name} is live",
                "see all differences with: unledger fsck, and restore the row or the database",
            )
        number, forgotten = live[model_id]
        yield ModelNote(name, number, tuple(sorted(forgotten)), tuple(sorted(awaited.get(model_id, {}).items())))


def _request_notes(tx: Transaction, names: dict[int, str], since: int) -> list[RequestNote]:
    return [
        RequestNote(
            request.id,
            names[request.model_id],
            tuple(sorted(request.classes)),
            request.state,
            request.basis,
            request.received_at,
            request.due_at,
        )
        for request in tx.requests.touched(since)
    ]
