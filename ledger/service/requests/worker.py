"""Carry out queued requests: claim, compute, check the gates, commit.

No transaction is open while weights are computed. The commit checks the lease in the statement that ends it,
together with the version: a worker that was presumed dead cannot write after somebody else took over.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.domain.versions import Version, VersionKind
from ledger.errors import BusyError, GateError, LedgerError, RetryLaterError, UnreachableError
from ledger.service.computation.compute import Compute, OpenModel, open_unlearning
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.retry import pauses, replayed
from ledger.service.versions.commit import append_proposal
from ledger.service.versions.proposal import Proposal
from ledger.store.repositories.leases import new_holder
from ledger.store.repositories.requests import Claim

from .claims import LEASE_SECONDS, Attentive, Heart, claim_next, give_back
from .filing import check_retained

COMMIT_ATTEMPTS = 10
"""About a quarter of a minute in all: as long as a database takes to restart, and well within a lease."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    model: Model
    request: Request
    version: Version | None
    """The new version, or None if none was made."""
    error: LedgerError | None = None
    """Why it failed or was blocked."""


def work(
    ledger: Ledger,
    progress: Progress,
    *,
    model_name: str | None = None,
    open_model: OpenModel = open_unlearning,
    owner: str | None = None,
    lease: float = LEASE_SECONDS,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Carry out claimable requests one after another until none is left.

    A request that fails is recorded as failed and yielded with its error; the others go on.

    Args:
        ledger: The ledger.
        progress: Follows the work.
        model_name: Only this model's requests.
        open_model: Lays a model out for computation; done once for a model's requests in a row.
        owner: Name of the worker; None invents one.
        lease: Seconds after which others may take over, unless a heartbeat comes first.
        check: Called at every step of the work; what it raises puts the request back in the queue.

    Raises:
        RetryLaterError: The lease was lost, another version became live, or the database was away.
        KeyboardInterrupt: After the request in progress went back to the queue.
    """
    owner = owner or new_holder()
    opened: dict[int, tuple[Model, Compute]] = {}
    while (claim := claim_next(ledger, owner, model_name, lease=lease)) is not None:
        try:
            with ledger.database.read() as tx:
                model = tx.models.by_id(claim.request.model_id)
        except LedgerError:
            give_back(ledger, claim)
            raise
        # A model is laid out again when its record changed.
        known = opened.get(model.id)
        if known is None or known[0] != model:
            known = opened[model.id] = model, _when_needed(ledger, model, open_model)
        yield carry_out(ledger, *known, claim, progress, check=check)


def _when_needed(ledger: Ledger, model: Model, open_model: OpenModel) -> Compute:
    """Put off laying a model out until weights are wanted: under a heartbeat, and what fails then fails the request."""
    ready: list[Compute] = []

    def compute(forgotten: frozenset[int], progress: Progress) -> Proposal:
        if not ready:
            ready.append(open_model(ledger, model.name))
        return ready[0](forgotten, progress)

    return compute


def carry_out(
    ledger: Ledger,
    model: Model,
    compute: Compute,
    claim: Claim,
    progress: Progress,
    *,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """Carry out a claimed request and commit its result.

    Raises:
        RetryLaterError: The lease was lost and somebody else carries the request out; or another version became
            live, or the database was away, or ``check`` said so: then the request is back in the queue, now or
            when its lease has run out.
        KeyboardInterrupt: The request is back in the queue.
    """
    heart = Heart(ledger, claim)
    try:
        with heart.beating():
            return _carry_out(ledger, model, compute, claim, Attentive(progress, heart.require, check))
    except RetryLaterError as error:
        # The lease is still ours unless that is what was lost: then this changes nothing.
        give_back(ledger, claim)
        raise error from None
    except GateError as error:
        return _end(ledger, model, claim, Action.BLOCK, error)
    except LedgerError as error:
        return _end(ledger, model, claim, Action.FAIL, error)
    except (KeyboardInterrupt, SystemExit):
        give_back(ledger, claim)
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
    return _settle(ledger, model, claim, parent, proposal)


def _settle(ledger: Ledger, model: Model, claim: Claim, parent: Version, proposal: Proposal | None) -> Outcome:
    """Commit, and find out what became of a commit during which the connection was lost."""
    doubt = False
    for pause in islice(pauses(), COMMIT_ATTEMPTS):
        try:
            done = _recorded(ledger, model, claim, proposal) if doubt else None
            return done or _commit(ledger, model, claim, parent, proposal)
        except UnreachableError:
            doubt = True
        except BusyError:
            pass
        except RetryLaterError:
            # A commit in doubt keeps its locks until it is through: it may have been only after we looked.
            done = _recorded(ledger, model, claim, proposal) if doubt else None
            if done is None:
                raise
            return done
        time.sleep(pause)
    raise UnreachableError(
        f"the result of request {claim.request.id} could not be committed", "a worker carries it out again"
    )


def _recorded(ledger: Ledger, model: Model, claim: Claim, proposal: Proposal | None) -> Outcome | None:
    """Return the outcome that this claim's commit left, found by its epoch; None if it left none."""
    with ledger.database.read() as tx:
        for event in tx.audit.events(request_id=claim.request.id):
            if event.kind == "request.fulfilled" and event.data.get("epoch") == claim.epoch:
                request = tx.requests.get(claim.request.id)
                if proposal is None:
                    return Outcome(model, request, None)
                version = tx.versions.get(model, event.data["version"])
                return Outcome(model, request, version) if version.weights == proposal.weights else None
    return None


def _commit(ledger: Ledger, model: Model, claim: Claim, parent: Version, proposal: Proposal | None) -> Outcome:
    now = ledger.clock()
    with ledger.database.write() as tx:
        version = None
        if proposal is not None:
            version = append_proposal(
                tx, model, proposal, parent, VersionKind.FORGET, claim.request.id, actor=ledger.actor, at=now
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
            request_id=claim.request.id,
            data={"version": number, "no_op": version is None, "state": done.state.value, "epoch": claim.epoch}
            | ({"gates_missed": len(proposal.missed_gates)} if proposal and proposal.missed_gates else {}),
        )
    return Outcome(model, done, version)


def _end(ledger: Ledger, model: Model, claim: Claim, action: Action, error: LedgerError) -> Outcome:
    def transaction() -> Request:
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
        return done

    return Outcome(model, replayed(transaction), None, error)
