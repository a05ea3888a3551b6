"""Events that concern one forget request. Each says which state the request is in afterwards."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from ledger.domain.previews import PreviewOutcome, PreviewRecord
from ledger.domain.states import RequestState

from .event import Event, EventKind, key


@dataclass(frozen=True, kw_only=True)
class RequestEvent(Event):
    """What all events of a request hold."""

    state: RequestState
    """The state that the request is in afterwards."""


@dataclass(frozen=True, kw_only=True)
class RequestReceived(RequestEvent):
    """Written when a request is filed."""

    kind: ClassVar[str] = EventKind.REQUEST_RECEIVED
    classes: tuple[int, ...]
    """Indices of the classes to forget, ascending."""
    basis: str
    """The legal basis, as it was given."""
    received_at: datetime
    """When the request came in, in the time zone of whoever filed it."""
    due_at: datetime
    """By when it has to be fulfilled, in the time zone of whoever filed it."""
    body: str
    """Digest of all that was sent (:class:`ledger.domain.requests.RequestBody`)."""
    idempotency: str | None = None
    """Digest of the idempotency key, or of there being none. Absent before replay covered it."""
    preview: str | None = None
    """Digest of the preview that the request is bound to, if it is bound to one."""
    foretold: PreviewRecord | None = None
    """What that preview showed."""


@dataclass(frozen=True, kw_only=True)
class RequestDecision(RequestEvent):
    """What all decisions of a person about a request hold."""

    previous: RequestState = field(metadata=key("from"))
    """The state that the request was in before."""


@dataclass(frozen=True, kw_only=True)
class RequestApproved(RequestDecision):
    """Written when a person approves a request that waits for it."""

    kind: ClassVar[str] = EventKind.REQUEST_APPROVED


@dataclass(frozen=True, kw_only=True)
class RequestDenied(RequestDecision):
    """Written when a person denies a request."""

    kind: ClassVar[str] = EventKind.REQUEST_DENIED


@dataclass(frozen=True, kw_only=True)
class RequestCancelled(RequestDecision):
    """Written when a request is cancelled."""

    kind: ClassVar[str] = EventKind.REQUEST_CANCELLED


@dataclass(frozen=True, kw_only=True)
class RequestHeld(RequestDecision):
    """Written when a person puts a queued request on hold."""

    kind: ClassVar[str] = EventKind.REQUEST_HELD


@dataclass(frozen=True, kw_only=True)
class RequestReleased(RequestDecision):
    """Written when a person puts a request back in the queue: one that is on hold, or one that a worker holds.

    Of a request that is taken from a worker it holds ``worker`` and ``epoch``.
    """

    kind: ClassVar[str] = EventKind.REQUEST_RELEASED
    worker: str | None = None
    """Name of the worker that the request is taken from."""
    epoch: int | None = None
    """Number after that of the claim that ends, so that nothing counts that the worker may still write."""


@dataclass(frozen=True, kw_only=True)
class RequestRetried(RequestDecision):
    """Written when a person puts a request that did not succeed, or was reopened, back in the queue."""

    kind: ClassVar[str] = EventKind.REQUEST_RETRIED
    gates_waived: bool = False
    """Whether the result shall be accepted even if it misses a quality gate."""
    solvers: tuple[str, ...] | None = None
    """Names of the solvers that shall compute it; absent where those of the set or the model do."""


@dataclass(frozen=True, kw_only=True)
class RequestExtended(RequestDecision):
    """Written when a person gives a request more time. The note says why; the state stays as it is."""

    kind: ClassVar[str] = EventKind.REQUEST_EXTENDED
    due_at: datetime
    """By when it has to be fulfilled from now on, in the time zone of whoever said so."""
    was_due_at: datetime
    """By when it had to be before."""


@dataclass(frozen=True, kw_only=True)
class RequestWithdrawn(RequestDecision):
    """Written when a request is withdrawn.

    Of a fulfilled request it holds ``version`` and ``readmitted``, of a reopened one neither: no weights change.
    """

    kind: ClassVar[str] = EventKind.REQUEST_WITHDRAWN
    version: int | None = None
    """The version that is live afterwards: a new one, or the one before if no weights changed."""
    readmitted: tuple[int, ...] | None = None
    """Indices of the classes that the model knows again, ascending."""
    gates_waived: bool = False
    """Whether the new version was accepted whatever gate it misses."""
    solvers: tuple[str, ...] | None = None
    """Names of the solvers that a person had it computed by."""
    gates: str | None = None
    """Digest of the gates that held. Absent where nothing was measured, and before gates had a policy."""
    missed: tuple[str, ...] = ()
    """Quality gates that the new version misses and a person waived."""


@dataclass(frozen=True, kw_only=True)
class RequestClaimed(RequestEvent):
    """Written when a worker takes a request from the queue, or takes it over from a worker that vanished."""

    kind: ClassVar[str] = EventKind.REQUEST_CLAIMED
    worker: str
    """Name of the worker."""
    epoch: int
    """Number of the claim on this request, from 1: what a worker writes counts under the newest claim only."""


@dataclass(frozen=True, kw_only=True)
class RequestInterrupted(RequestEvent):
    """Written when a worker puts the request that it holds back in the queue."""

    kind: ClassVar[str] = EventKind.REQUEST_INTERRUPTED
    epoch: int
    """Number of the claim that ends."""


@dataclass(frozen=True, kw_only=True)
class RequestQuarantined(RequestEvent):
    """Written when a request is set aside because its workers vanished too often."""

    kind: ClassVar[str] = EventKind.REQUEST_QUARANTINED
    attempts: int
    """How many workers vanished."""


@dataclass(frozen=True, kw_only=True)
class RequestFulfilled(RequestEvent):
    """Written when a request is fulfilled: by a worker, or at once when it is filed and its classes are forgotten."""

    kind: ClassVar[str] = EventKind.REQUEST_FULFILLED
    version: int
    """The version that fulfils it."""
    no_op: bool
    """Whether the classes were forgotten already, so that no version was made."""
    epoch: int | None = None
    """Number of the claim that ends. Absent where no worker was needed."""
    gates_missed: int = 0
    """Number of quality gates that the version misses and a person waived."""
    gates: str | None = None
    """Digest of the gates that held. Absent where nothing was measured, and before gates had a policy."""
    missed: tuple[str, ...] = ()
    """The gates that were missed: names of settings, conditions and levels. Absent before each was named."""
    preview: PreviewOutcome | None = None
    """How the result compares with the preview that the request is bound to; absent without one."""


@dataclass(frozen=True, kw_only=True)
class RequestFailed(RequestEvent):
    """Written when carrying a request out ends with an error."""

    kind: ClassVar[str] = EventKind.REQUEST_FAILED
    error: str
    """Class name of the error."""
    epoch: int
    """Number of the claim that ends."""


@dataclass(frozen=True, kw_only=True)
class RequestBlocked(RequestEvent):
    """Written when the computed weights miss a quality gate that nobody waived."""

    kind: ClassVar[str] = EventKind.REQUEST_BLOCKED
    error: str
    """Class name of the error."""
    epoch: int
    """Number of the claim that ends."""
    gates: str | None = None
    """Digest of the gates that held. Absent where nothing was measured, and before gates had a policy."""
    missed: tuple[str, ...] = ()
    """The gates that were missed: names of settings, conditions and levels. Absent before each was named."""


@dataclass(frozen=True, kw_only=True)
class RequestReopened(RequestEvent):
    """Written when a rollback restores a version that does not fulfil the request."""

    kind: ClassVar[str] = EventKind.REQUEST_REOPENED
    version: int
    """The version that the rollback made."""
    due_at: datetime
    """By when the request has to be fulfilled; that did not change."""
