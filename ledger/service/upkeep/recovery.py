"""Go on with an older database, when the newer one is lost for good.

What the lost entries said is gone. The state notes that were signed with the last checkpoints tell what the ledger had
forgotten and had promised to forget then; all of that is filed or queued again, with the dates it had.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from ledger.domain.events.ledgers import LedgerRecovered
from ledger.domain.events.requests import RequestReleased
from ledger.domain.models import Model
from ledger.domain.requests import NewRequest, Request
from ledger.domain.states import OPEN_STATES, Action, RequestState
from ledger.durable_files import Existing, write_file
from ledger.errors import ConflictError, LedgerError, NotFoundError, TooFewRetainedError, UsageError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.state_note import ModelNote, RequestNote
from ledger.service.guard import require_own_keys
from ledger.service.kept_checkpoints import LOST, STATE
from ledger.service.ledger import Ledger
from ledger.service.requests.decisions import decide_in
from ledger.service.requests.filing import enqueue_in
from ledger.service.signing import MEMORY
from ledger.store.unit_of_work import Transaction

from .lost_stretch import Lost, find_lost

PROMISED = OPEN_STATES | {RequestState.FULFILLED}
STOPPED = {
    RequestState.AWAITING_APPROVAL: Action.APPROVE,
    RequestState.ON_HOLD: Action.RELEASE,
    RequestState.REOPENED: Action.RETRY,
    RequestState.FAILED: Action.RETRY,
    RequestState.BLOCKED: Action.RETRY,
    RequestState.QUARANTINED: Action.RETRY,
}
"""States in which a request waits for a person, and what puts it into the queue."""
ACTIVE = (RequestState.QUEUED, RequestState.RUNNING)
WENT_ON = (*ACTIVE, RequestState.FULFILLED)
GIVEN_UP = (RequestState.DENIED, RequestState.CANCELLED, RequestState.WITHDRAWN)


@dataclass(frozen=True)
class Unnamed:
    """Classes of a model that were forgotten or promised for no request that is known."""

    model: str
    classes: frozenset[int]
    due_at: datetime | None
    """When the first open request for one of them was due; None without any."""


@dataclass(frozen=True)
class RecoveryPlan:
    """What going on with this database means."""

    size: int
    """Entries that it has."""
    lost: Lost | None
    """None if it is not older than any known checkpoint: there is nothing to recover."""
    returning: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Models whose live version here knows classes that were forgotten, with the labels of these."""
    filed_again: tuple[RequestNote, ...] = ()
    """Requests that this database does not know, or knows as others or as given up."""
    unnamed: tuple[Unnamed, ...] = ()
    """What is filed for besides, one request for each model."""
    queued_again: tuple[int, ...] = ()
    """Requests that wait for a person here and were fulfilled, or waited to be, in the lost stretch."""
    held: tuple[int, ...] = ()
    """Requests that wait here and were given up in the lost stretch; they are put on hold until a person decides."""
    withdrawn: tuple[int, ...] = ()
    """Requests that are fulfilled here and were not any more in the lost stretch; they stay as they are."""
    lost_models: tuple[str, ...] = ()
    """Models that this database does not know; they have to be registered again."""
    lost_weights: tuple[str, ...] = ()
    """Models whose weights here were destroyed in the lost stretch: no request of theirs can be carried out."""


@dataclass(frozen=True)
class Recovered:
    """What a recovery did."""

    filed: tuple[Request, ...]
    refused: tuple[tuple[RequestNote | Unnamed, LedgerError], ...]
    """What could not be filed again, and why."""


def plan_recovery(ledger: Ledger) -> RecoveryPlan:
    """Say what going on with this database means, without doing it.

    Raises:
        KeysError: The keys are missing, or another ledger's.
        AuditError: The audit log of this database does not verify.
        RowError: A row is not what its audit log says.
    """
    with ledger.database.read() as tx:
        return _plan(tx, ledger)


def recover(ledger: Ledger, plan: RecoveryPlan, reason: str) -> Recovered:
    """Carry out a plan that a person has seen.

    Done again after a crash, it finishes what was begun and files nothing twice.

    Raises:
        ConflictError: The ledger changed since the plan was made.
        AuditError: The audit log of this database does not verify.
        RowError: A row is not what its audit log says.
        LedgerError: The keys folder cannot be written.
    """
    filed: list[Request] = []
    refused: list[tuple[RequestNote | Unnamed, LedgerError]] = []
    with ledger.database.write(guarded=False) as tx:
        current = _plan(tx, ledger)
        if current != plan:
            raise ConflictError("the ledger changed since this was shown", "run the command again")
        if current.lost is None:
            return Recovered((), ())
        checkpoint = current.lost.checkpoint
        event = LedgerRecovered(size=current.size, lost=checkpoint.size, root=checkpoint.root.hex())
        tx.audit.append(event, at=ledger.clock(), actor=ledger.actor, note=reason)
        why = f"an older database took the place of the one with {checkpoint.size} entries"
        # First what makes room for others.
        for number in current.held:
            _hold(tx, ledger, number, why)
        for number in current.queued_again:
            try:
                decide_in(tx, ledger, number, STOPPED[tx.requests.get(number).state], why)
            except TooFewRetainedError as error:
                refused += [(note, error) for note in current.lost.requests if note.number == number]
        again: tuple[RequestNote | Unnamed, ...] = (*current.filed_again, *current.unnamed)
        for one in again:
            try:
                filed.append(_file_again(tx, ledger, one, current.lost, why))
            except (TooFewRetainedError, UsageError) as error:
                # A date may be in the future of a clock that was set right meanwhile.
                refused.append((one, error))
    _give_up(ledger, current.lost)
    issue_checkpoint(ledger)
    return Recovered(tuple(filed), tuple(refused))


def _plan(tx: Transaction, ledger: Ledger) -> RecoveryPlan:
    verifier = require_own_keys(tx.audit, ledger.config)
    size = tx.audit.verify().size
    lost = find_lost(tx.audit, ledger.config, verifier) if verifier is not None else None
    if lost is None:
        return RecoveryPlan(size, None)
    here = {model.name: model for model in tx.models.all()}
    for name in here:
        tx.trusted.covered(name)
        tx.trusted.requests(name)
    notes = [note for note in lost.requests if note.model in here]
    known = {note.number: _known(tx, here[note.model], note) for note in notes}
    again = tuple(note for note in notes if note.state in PROMISED and not _is_promised(known[note.number]))
    returning = [(note, _returning(tx, here[note.name], note)) for note in lost.models if note.name in here]
    queued = tuple(_numbers(known, notes, STOPPED, WENT_ON))
    unnamed = [_unnamed(tx, note, here[note.name], again, queued) for note, _ in returning]
    return RecoveryPlan(
        size,
        lost,
        tuple((note.name, tuple(here[note.name].labels.names(back))) for note, back in returning if back),
        again,
        tuple(one for one in unnamed if one.classes),
        queued,
        tuple(_numbers(known, notes, ACTIVE, GIVEN_UP)),
        tuple(_numbers(known, notes, (RequestState.FULFILLED,), (*GIVEN_UP, RequestState.REOPENED))),
        tuple(note.name for note in lost.models if note.name not in here),
        tuple(name for name, model in here.items() if _lacks_weights(tx, ledger, model)),
    )


def _known(tx: Transaction, model: Model, note: RequestNote) -> Request | None:
    """Return the request that a note tells of, as it is here; None if there is none, or another one of its number."""
    try:
        request = tx.requests.get(note.number)
    except NotFoundError:
        return None
    said = (request.model_id, request.classes, request.received_at)
    return request if said == (model.id, frozenset(note.classes), note.received_at) else None


def _is_promised(request: Request | None) -> bool:
    return request is not None and request.state in PROMISED


def _numbers(
    known: dict[int, Request | None],
    notes: list[RequestNote],
    here: Collection[RequestState],
    then: Collection[RequestState],
) -> Iterator[int]:
    for note in notes:
        request = known[note.number]
        if request is not None and request.state in here and note.state in then:
            yield request.id


def _returning(tx: Transaction, model: Model, note: ModelNote) -> frozenset[int]:
    return frozenset(note.forgotten) - tx.versions.live(model).forgotten


def _unnamed(
    tx: Transaction, note: ModelNote, model: Model, again: Collection[RequestNote], queued: Collection[int]
) -> Unnamed:
    """Return the classes that were forgotten and that nothing here will forget, or that nobody here waits for."""
    active, waiting = tx.versions.live(model).forgotten, tx.requests.awaited(model)
    for request in tx.requests.all(model, [*ACTIVE, *STOPPED]):
        if request.state in ACTIVE or request.id in queued:
            active |= request.classes
    for one in again:
        if one.model == note.name:
            waiting |= frozenset(one.classes)
            active |= frozenset(one.classes if one.state in WENT_ON else ())
    awaited = dict(note.awaited)
    rest = (frozenset(note.forgotten) - active) | (awaited.keys() - active - waiting)
    return Unnamed(note.name, rest, min((awaited[k] for k in rest & awaited.keys()), default=None))


def _lacks_weights(tx: Transaction, ledger: Ledger, model: Model) -> bool:
    versions = (tx.versions.live(model), tx.versions.get(model, model.anchor))
    return any(ledger.objects.size(version.weights) is None for version in versions)


def _hold(tx: Transaction, ledger: Ledger, number: int, why: str) -> None:
    before = tx.requests.get(number)
    if before.state is RequestState.RUNNING:
        now = ledger.clock()
        after = tx.requests.break_lease(number, at=now, outcome=why)
        event = RequestReleased(
            previous=before.state, state=after.state, worker=before.lease_owner, epoch=after.lease_epoch
        )
        model = tx.models.by_id(before.model_id)
        tx.audit.append(event, at=now, actor=ledger.actor, model=model.name, request_id=number, note=why)
    decide_in(tx, ledger, number, Action.HOLD, f"{why}, where it was given up")


def _file_again(tx: Transaction, ledger: Ledger, one: RequestNote | Unnamed, lost: Lost, why: str) -> Request:
    key = f"recovered-{lost.checkpoint.root.hex()[:16]}-"
    if isinstance(one, Unnamed):
        # Overdue or not, it is received now; the day that was promised stays on record in its reason.
        was_due = "" if one.due_at is None else f", due {one.due_at:%Y-%m-%d}"
        reason = f"forgotten or asked for before{was_due}; {why}"
        new = NewRequest(one.classes, ledger.actor, reason=reason)
        if one.due_at is not None:
            now = ledger.clock()
            new = NewRequest(
                one.classes, ledger.actor, reason=reason, received_at=min(now, one.due_at), due_at=one.due_at
            )
        return enqueue_in(tx, ledger, one.model, new, approval=False).request
    new = NewRequest(
        frozenset(one.classes),
        ledger.actor,
        reason=f"filed again: it was request {one.number}; {why}",
        basis=one.basis,
        received_at=one.received_at,
        due_at=one.due_at,
        idempotency_key=f"{key}{one.number}",
    )
    # What somebody had stopped is not carried out unasked.
    return enqueue_in(tx, ledger, one.model, new, approval=one.state not in WENT_ON).request


def _give_up(ledger: Ledger, lost: Lost) -> None:
    """Keep the lost checkpoints on record beside the key, in place of the one that is remembered."""
    keys = ledger.config.keys_path
    try:
        for name, note in lost.notes:
            write_file(keys / f"{LOST}{name}", [note.encode()], existing=Existing.KEEP, mode=0o600)
        (keys / MEMORY).unlink(missing_ok=True)
        (keys / STATE).unlink(missing_ok=True)
    except OSError as error:
        raise LedgerError(
            f"cannot write to {keys}: {error.strerror}", "check permissions, then run the same command again"
        ) from error
