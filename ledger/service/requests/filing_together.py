"""File what several callers ask for at the same time, in one transaction.

A database lets one write at a time and flushes its file at the end of each transaction. Callers who wait for that
anyway wait less if the next transaction files for all of them. Each call is filed whole or not at all, as if it came
alone: one that is refused is told why, and the others are none the worse for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.domain.requests import NewRequest
from ledger.errors import ConflictError, LedgerError, RefusedError, RetryLaterError, UsageError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .calls import Call
from .filing import FEW, PART, Receipt, enqueue, write_all
from .intake import Intake, Sent

REFUSALS = (UsageError, ConflictError, RefusedError)
"""What a call can be refused for by what it asks; anything else has to do with the database."""
Filed = list[Receipt] | LedgerError
"""What comes of a call."""


@dataclass(frozen=True)
class FilingCall:
    """What one caller asks for: see :func:`ledger.service.requests.filing.enqueue`."""

    model: str
    requests: Sequence[NewRequest]
    approval: bool = False
    key: str | None = None


@dataclass(frozen=True)
class _Taken:
    """A call whose requests were taken in, and the rows that are still to be written."""

    place: int
    sent: list[Sent]
    rows: list[dict[str, object] | None]


def enqueue_together(ledger: Ledger, calls: Sequence[FilingCall]) -> list[Filed]:
    """File for several callers, each call all or none of it; return the receipts, or the error, of each call.

    Args:
        ledger: The ledger.
        calls: What each asks for. A call for many requests is filed in a transaction of its own.
    """
    alone = [place for place, call in enumerate(calls) if len(call.requests) > FEW]
    found: dict[int, Filed] = {}
    together = [place for place in range(len(calls)) if place not in alone]
    if len(together) > 1:
        try:
            found = retry_when_busy(lambda: _transaction(ledger, {place: calls[place] for place in together}))
        except RetryLaterError as error:
            found = dict.fromkeys(together, error)
        except LedgerError:
            # Something is wrong with what one of them rests on: nothing was filed, and each is told of its own.
            alone = list(range(len(calls)))
    else:
        alone = list(range(len(calls)))
    receipts = [receipt for one in found.values() if isinstance(one, list) for receipt in one]
    if any(receipt.request.no_op and not receipt.repeated for receipt in receipts):
        keep_checkpoint(ledger)
    found |= {place: _alone(ledger, calls[place]) for place in alone}
    return [found[place] for place in range(len(calls))]


def _alone(ledger: Ledger, call: FilingCall) -> Filed:
    try:
        return enqueue(ledger, call.model, call.requests, approval=call.approval, key=call.key)
    except LedgerError as error:
        return error


def _transaction(ledger: Ledger, calls: dict[int, FilingCall]) -> dict[int, Filed]:
    found: dict[int, Filed] = {}
    ledger.database.catch_up()
    with ledger.database.write() as tx:
        for model in dict.fromkeys(call.model for call in calls.values()):
            about = {place: call for place, call in calls.items() if call.model == model}
            found |= _ModelFilings(tx, ledger, model).file(about)
    return found


class _ModelFilings:
    """Files the calls about one model, inside a transaction."""

    def __init__(self, tx: Transaction, ledger: Ledger, model: str) -> None:
        self._tx = tx
        self._model = model
        self._intake = Intake.open(tx, model, ledger, approval=False)
        self._taken: list[_Taken] = []
        self._found: dict[int, Filed] = {}

    def file(self, calls: dict[int, FilingCall]) -> dict[int, Filed]:
        """File calls in order; return what comes of each."""
        prepared: list[tuple[int, Call, list[Sent]]] = []
        for place, asked in calls.items():
            call = Call(asked.key, len(asked.requests), asked.approval)
            try:
                prepared.append((place, call, [Sent.to(self._model, new) for new in call.keyed(asked.requests, PART)]))
            except REFUSALS as error:
                self._found[place] = error
        self._intake.known_numbers(self._tx, [one for _, _, sent in prepared for one in sent], frozenset())
        for place, call, sent in prepared:
            try:
                self._take(place, call, sent)
            except REFUSALS as error:
                self._found[place] = error
        self._write()
        return self._found

    def _take(self, place: int, call: Call, sent: list[Sent]) -> None:
        if call.key is not None:
            # Its requests are looked for in the database, so those of the calls before it must be there.
            self._write()
            call.require_same(self._tx)
        intake = self._intake
        intake.begin(approval=call.approval)
        before = intake.expected, dict(intake.known)
        try:
            rows = [intake.take(one) for one in sent]
        except LedgerError:
            intake.expected, intake.known = before
            raise
        self._taken.append(_Taken(place, sent, rows))

    def _write(self) -> None:
        """Write what was taken in and not written yet."""
        taken, self._taken = self._taken, []
        sent, rows = [one for call in taken for one in call.sent], [row for call in taken for row in call.rows]
        receipts = iter(write_all(self._tx, self._intake, sent, rows))
        self._found |= {call.place: [next(receipts) for _ in call.sent] for call in taken}
