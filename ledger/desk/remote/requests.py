"""Requests to a server's ledger, and decisions about them."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ledger.desk.asked import FiledRequest, ModelKey
from ledger.documents.document import Document
from ledger.domain.states import Action, RequestState
from ledger.errors import LedgerError, UsageError

from .client import ServerClient
from .names import ModelNames, identified, numbered

PART = 1000
"""Requests that are filed in one transaction."""
MOST_BYTES = 900_000
"""Of requests that are sent together: servers take a million bytes."""


class RemoteRequests:
    """Asks about requests, files them, and hands on decisions about them.

    Args:
        client: The server.
        names: Finds models by name.
    """

    def __init__(self, client: ServerClient, names: ModelNames) -> None:
        self._client = client
        self._names = names

    def all(
        self,
        model: ModelKey | None = None,
        states: Sequence[RequestState] = (),
        *,
        after: int = 0,
        limit: int | None = None,
    ) -> Document:
        """Return requests in the order they were filed: those numbered above ``after``, at most ``limit``."""
        return self._client.listing(
            "/requests",
            limit,
            model=self._names.optional(model),
            state=[state.value for state in states] or None,
            after=max(after, 0),
        )

    def show(self, request: int) -> Document:
        """Return a request and everything that happened to it."""
        return self._client.get(_path(request))

    def file(
        self,
        model: ModelKey,
        filed: Sequence[FiledRequest],
        *,
        needs_approval: bool = False,
        key: str | None = None,
    ) -> Document:
        """File one or many requests, all or none of them up to a thousand.

        Raises:
            UsageError: There is a key for all of them, and they are too many for one message.
        """
        path = f"/models/{self._names.number(model)}/requests"
        receipts: Document = {"items": []}
        parts = list(_parts([_body(one) for one in filed]))
        if key is not None and len(parts) > 1:
            raise UsageError("these are too many requests for one idempotency key", "give each request its own")
        for part in parts:
            done = len(receipts["items"])
            try:
                found = self._client.post(path, {"requests": part, "needs_approval": needs_approval}, key=key)
            except LedgerError as error:
                if done:
                    error.hint = (
                        f"the first {done} of {len(filed)} requests were filed; those with an idempotency key may be "
                        f"sent again, the others not" + (f"; {error.hint}" if error.hint else "")
                    )
                raise
            receipts = {**found, "items": [*receipts["items"], *found["items"]]}
        return receipts

    def file_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """File the requests of a whole file; where one line is bad, none."""
        return self._bulk(model, text, form, name, needs_approval=needs_approval, dry_run=False)

    def check_bulk(
        self, model: ModelKey, text: str, *, form: str | None = None, name: str = "", needs_approval: bool = False
    ) -> Document:
        """Return every line of a file of requests that is bad; nothing is filed."""
        return self._bulk(model, text, form, name, needs_approval=needs_approval, dry_run=True)

    def _bulk(
        self, model: ModelKey, text: str, form: str | None, name: str, *, needs_approval: bool, dry_run: bool
    ) -> Document:
        body = {"text": text, "format": form, "name": name, "needs_approval": needs_approval, "dry_run": dry_run}
        return self._client.post(f"/models/{self._names.number(model)}/requests/bulk", body)

    def decide(
        self,
        request: int,
        action: Action,
        reason: str = "",
        *,
        waive_gates: bool = False,
        solvers: Sequence[str] = (),
        expected: str | None = None,
    ) -> Document:
        """Approve, deny, cancel, hold, release or retry a request that no worker holds."""
        body = {"action": action.value, "reason": reason, "waive_gates": waive_gates, "solvers": list(solvers)}
        return self._client.post(f"{_path(request)}/decisions", body, expected)

    def extend(self, request: int, due_at: datetime, reason: str, *, expected: str | None = None) -> Document:
        """Move the due date of an open request to a later moment."""
        body = {"due_at": due_at.isoformat(), "reason": reason}
        return self._client.post(f"{_path(request)}/extensions", body, expected)

    def withdraw(
        self,
        request: int,
        reason: str = "",
        *,
        waive_gates: bool = False,
        solvers: Sequence[str] = (),
        expected: str | None = None,
    ) -> Document:
        """Withdraw a request. Where that takes new weights, return the job of a worker beside the server."""
        return self.decide(
            request, Action.WITHDRAW, reason, waive_gates=waive_gates, solvers=solvers, expected=expected
        )

    def withdrawal(self, job: str) -> Document:
        """Return a withdrawal that waits for a worker, with the decision once it is carried out.

        Raises:
            NotFoundError: There is none of this id.
        """
        return self._client.get(f"/withdrawals/{identified('withdrawal', job)}")

    def lease(self, request: int) -> Document:
        """Return which worker holds a request."""
        return self._client.get(f"{_path(request)}/lease")

    def break_lease(self, request: int, reason: str, *, expected: str | None = None) -> Document:
        """Take a running request from the worker that holds it."""
        return self._client.post(f"{_path(request)}/lease-breaks", {"reason": reason}, expected)


def _path(request: int) -> str:
    return f"/requests/{numbered('request', request, 'request list')}"


def _body(filed: FiledRequest) -> Document:
    """Return a request as the server takes it: classes by index, moments as text, and nothing that was not said."""
    said: dict[str, Any] = {name: value for name, value in vars(filed).items() if value not in (None, "")}
    said["classes"] = [index_or_label(text) for text in filed.classes]
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in said.items()}


def index_or_label(text: str) -> int | str:
    """Return what names a class as the server takes it: indices are numbers."""
    index = text.removeprefix("index:")
    return int(index) if index != text and index.isdecimal() else text


def _parts(bodies: Sequence[Document]) -> Iterator[list[Document]]:
    """Yield requests as many at a time as one transaction and one message take."""
    part: list[Document] = []
    size = 0
    for body in bodies:
        length = len(json.dumps(body))
        if length > MOST_BYTES:
            raise UsageError(f"a request takes {length:,} bytes, and a server reads {MOST_BYTES:,}", "say less in it")
        if part and (len(part) == PART or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(body)
        size += length
    yield part
