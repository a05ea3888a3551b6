"""Carry out queued requests: claim, compute, check the gates, commit.

No transaction is open while weights are computed. The commit checks the lease in the transaction that
writes the version, so a worker that was presumed dead cannot write after somebody else took over.
"""

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from ledger.domain.records import Model, Request, Version, VersionKind
from ledger.domain.states import Action, RequestState
from ledger.errors import GateError, LedgerError, RetryLaterError
from ledger.store.requests import Claim
from ledger.store.unit_of_work import Transaction

from .commit import append_proposal
from .ledger import Ledger
from .progress import Progress
from .proposal import Compute, OpenModel, open_unlearning
from .requests import check_retained

LEASE_SECONDS = 60.0
MOST_CRASHES = 3
"""Attempts that ended without a word before a request is set aside."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    model: Model
    request: Request
    version: Version | None
    """The new version, or None if none was made."""
    error: LedgerError | None = None
    """Why it failed or was blocked."""


def new_owner() -> str:
    """Return a name for this worker that no other has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def work(
    ledger: Ledger, progress: Progress, *, model_name: str | None = None, open_model: OpenModel = open_unlearning
) -> Iterator[Outcome]:
    """Carry out claimable requests one after another until none is left.

    A request that fails is recorded as failed and yielded with its error; the others go on.

    Raises:
        KeyboardInterrupt: After the request in progress went back to the queue.
    """
    owner = new_owner()
    opened: dict[int, tuple[Model, Compute]] = {}
    while (claim := claim_next(ledger, owner, model_name)) is not None:
        model_id = claim.request.model_id
        if model_id not in opened:
            with ledger.database.read() as tx:
                model = tx.models.by_id(model_id)
            opened[model_id] = model, open_model(ledger, model.name)
        yield carry_out(ledger, *opened[model_id], claim, progress)


def claim_next(ledger: Ledger, owner: str, model_name: str | None = None) -> Claim | None:
    """Claim the oldest request that may be carried out now; None if there is none.

    A request whose worker vanished for the third time is quarantined on the way.
    """
    with ledger.database.write() as tx:
        now = ledger.clock()
        model = tx.models.get(model_name) if model_name else None
        while offered := tx.requests.claimable(model):
            request = offered[0]
            name = tx.models.by_id(request.model_id).name
            if request.state is RequestState.RUNNING and request.attempts >= MOST_CRASHES:
                _quarantine(tx, ledger, name, request, now)
                continue
            claim = tx.requests.claim(request, owner=owner, ttl=LEASE_SECONDS, at=now)
            tx.audit.append(
                "request.claimed",
                at=now,
                actor=ledger.actor,
                model=name,
                request_id=request.id,
                data={"worker": owner, "epoch": claim.epoch, "state": RequestState.RUNNING.value},
            )
            return claim
    return None


def _quarantine(tx: Transaction, ledger: Ledger, name: str, request: Request, now: datetime) -> None:
    outcome = f"its worker vanished {request.attempts} times"
    tx.requests.act(request.id, Action.QUARANTINE, at=now, outcome=outcome, lease_owner=None, lease_expires=None)
    tx.audit.append(
        "request.quarantined",
        at=now,
        actor=ledger.actor,
        model=name,
        request_id=request.id,
        data={"attempts": request.attempts, "state": RequestState.QUARANTINED.value},
    )


def carry_out(ledger: Ledger, model: Model, compute: Compute, claim: Claim, progress: Progress) -> Outcome:
    """Carry out a claimed request and commit its result.

    Raises:
        RetryLaterError: The lease was lost; somebody else carries the request out.
        KeyboardInterrupt: The request is back in the queue.
    """
    try:
        with _heartbeat(ledger, claim):
            return _carry_out(ledger, model, compute, claim, progress)
    except RetryLaterError as error:
        # The lease is still ours unless that is what was lost: then this changes nothing.
        _give_back(ledger, model, claim)
        raise error from None
    except GateError as error:
        return _end(ledger, model, claim, Action.BLOCK, error)
    except LedgerError as error:
        return _end(ledger, model, claim, Action.FAIL, error)
    except (KeyboardInterrupt, SystemExit):
        _give_back(ledger, model, claim)
        raise
    except Exception as error:
        _end(ledger, model, claim, Action.FAIL, LedgerError(f"{type(error).__name__}: {error}"))
        raise


def _carry_out(ledger: Ledger, model: Model, compute: Compute, claim: Claim, progress: Progress) -> Outcome:
    request = claim.request
    with ledger.database.read() as tx:
        parent = tx.versions.live(model)
    forgotten = parent.forgotten | request.classes
    check_retained(model, forgotten)
    proposal = None if forgotten == parent.forgotten else compute(forgotten, progress)
    if proposal is not None and not request.gates_waived:
        proposal.require_gates()
    now = ledger.clock()
    with ledger.database.write() as tx:
        version = None
        if proposal is not None:
            version = append_proposal(
                tx, model, proposal, parent, VersionKind.FORGET, request.id, actor=ledger.actor, at=now
            )
        elif tx.versions.live(model).number != parent.number:
            raise RetryLaterError("another version became live meanwhile", "run the same command again")
        number = version.number if version else parent.number
        done = tx.requests.finish(
            claim, Action.FULFIL, at=now, version=number, no_op=version is None, attempts=0, outcome=""
        )
        tx.audit.append(
            "request.fulfilled",
            at=now,
            actor=ledger.actor,
            model=model.name,
            request_id=request.id,
            data={"version": number, "no_op": version is None, "state": done.state.value, "epoch": claim.epoch}
            | ({"gates_missed": len(proposal.missed_gates)} if proposal and proposal.missed_gates else {}),
        )
    return Outcome(model, done, version)


def _end(ledger: Ledger, model: Model, claim: Claim, action: Action, error: LedgerError) -> Outcome:
    now = ledger.clock()
    with ledger.database.write() as tx:
        done = tx.requests.finish(claim, action, at=now, outcome=error.message)
        tx.audit.append(
            f"request.{done.state.value}",
            at=now,
            actor=ledger.actor,
            model=model.name,
            request_id=claim.request.id,
            data={"error": type(error).__name__, "state": done.state.value, "epoch": claim.epoch},
            note=error.message,
        )
    return Outcome(model, done, None, error)


def _give_back(ledger: Ledger, model: Model, claim: Claim) -> None:
    """Put an interrupted request back in the queue, unless its lease was lost meanwhile."""
    now = ledger.clock()
    try:
        with ledger.database.write() as tx:
            attempts = claim.request.attempts - 1
            back = tx.requests.finish(claim, Action.INTERRUPT, at=now, attempts=attempts)
            tx.audit.append(
                "request.interrupted",
                at=now,
                actor=ledger.actor,
                model=model.name,
                request_id=claim.request.id,
                data={"state": back.state.value, "epoch": claim.epoch},
            )
    except RetryLaterError:
        return


@contextmanager
def _heartbeat(ledger: Ledger, claim: Claim) -> Iterator[None]:
    """Prolong the lease from a thread (and so a connection) of its own while the block runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(LEASE_SECONDS / 3):
            try:
                with ledger.database.write() as tx:
                    tx.requests.extend(claim, ttl=LEASE_SECONDS)
            except LedgerError:
                # Busy or lost: the next beat tries again, and the commit decides.
                continue

    thread = threading.Thread(target=beat, name="lease heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
