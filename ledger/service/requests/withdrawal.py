"""Withdraw a fulfilled request: the model gets back what only that request made it forget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger import installation
from ledger.domain.events.requests import RequestWithdrawn
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import Action, RequestState, next_state
from ledger.domain.versions import Version, VersionKind
from ledger.errors import PurgedError, RetryLaterError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.computation.compute import OpenModel
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress
from ledger.service.versions.commit import append_proposal
from ledger.store.unit_of_work import Transaction

from .decisions import decide, require_nothing_computed, require_reason_to_waive, require_solvers
from .two_people import require_second_person

Also = Callable[[Transaction, Request, Version | None], None]
"""Does something in the transaction that withdraws a request, with the request and the version that it made."""


@dataclass(frozen=True)
class PlannedWithdrawal:
    """What withdrawing a request takes."""

    request: Request
    model: Model
    parent: Version
    """What is live."""
    readmitted: frozenset[int]
    """Classes that the model would know again: none where no weights change."""


def plan_withdrawal(
    tx: Transaction,
    ledger: Ledger,
    request_id: int,
    *,
    waive_gates: bool = False,
    solvers: Sequence[str] = (),
    expected: str | None = None,
) -> PlannedWithdrawal:
    """Return what withdrawing a request takes, or refuse it, before anything is computed.

    Args:
        tx: The transaction.
        ledger: The ledger; its actor decides.
        request_id: Which request.
        waive_gates: Whether a new version would be accepted even if it misses a quality gate.
        solvers: Solvers that would compute it.
        expected: Revision of the request that the decision is about; None takes it as it is.

    Raises:
        UsageError: Nothing has to be computed, but solvers are named or gates are waived.
        ForbiddenError: Who filed it would waive gates, where two people are asked for.
        TransitionError: The request is neither fulfilled nor reopened.
        PreconditionError: Something happened to the request since that revision.
        PurgedError: A class of it can never come back.
    """
    request = tx.requests.get(request_id)
    request.require(expected)
    next_state(request.state, Action.WITHDRAW, request_id=request_id)
    model = tx.models.by_id(request.model_id)
    tx.trusted.covered(model.name)
    tx.trusted.requests(model.name)
    require_second_person(tx, ledger, request, Action.WITHDRAW, waive_gates=waive_gates)
    parent, reopened = tx.versions.live(model), request.state is RequestState.REOPENED
    readmitted = frozenset[int]() if reopened else _readmitted(tx, request, parent)
    if not readmitted:
        require_nothing_computed(Action.WITHDRAW, waive_gates=waive_gates, solvers=solvers)
    _check_reachable(model, readmitted & tx.versions.get(model, model.anchor).forgotten)
    return PlannedWithdrawal(request, model, parent, readmitted)


def withdraw(
    ledger: Ledger,
    request_id: int,
    reason: str,
    progress: Progress,
    *,
    waive_gates: bool = False,
    solvers: Sequence[str] = (),
    open_model: OpenModel = open_gated,
    expected: str | None = None,
    also: Also = lambda *_: None,
) -> tuple[Request, Version | None]:
    """Withdraw a request, from the middle of the model's history if need be.

    The new version forgets what all other fulfilled requests ask for: its weights are those the
    model would have had if this request had never been filed. Classes that the live version forgets
    for no fulfilled request (after a rollback) stay forgotten.

    Args:
        ledger: The ledger.
        request_id: Which request.
        reason: Why, kept as a note beside the audit log.
        progress: Follows the work.
        waive_gates: Accept the new version even if it misses a quality gate; the reason tells why.
        solvers: Solvers that compute it in the place of those of the model.
        open_model: Lays the model out for computation.
        expected: Revision of the request that the decision is about; None takes it as it is.
        also: Called at the end of the transaction that withdraws a fulfilled request; what it raises undoes it.

    Returns:
        The request, and the new version, or None where no weights change: the request was only
        reopened, or every class of it is asked for by another one.

    Raises:
        UsageError: There is no solver of a name, gates are waived without a reason, or there are solvers or waived
            gates though nothing has to be computed.
        ForbiddenError: Who filed it would waive gates, where two people are asked for.
        TransitionError: The request is neither fulfilled nor reopened.
        PreconditionError: Something happened to the request since that revision.
        PurgedError: A class of it can never come back.
        NotInstalledError: New weights are needed, and nothing can be computed here.
        GateError: Without the request, the other classes miss a quality gate.
        RetryLaterError: Another version became live meanwhile.
    """
    require_reason_to_waive(reason, waive_gates=waive_gates)
    named = require_solvers(ledger, solvers)
    with ledger.database.read() as tx:
        planned = plan_withdrawal(tx, ledger, request_id, waive_gates=waive_gates, solvers=named, expected=expected)
    request, model, parent, readmitted = planned.request, planned.model, planned.parent, planned.readmitted
    if request.state is RequestState.REOPENED:
        return decide(ledger, request_id, Action.WITHDRAW, reason, expected=expected), None
    proposal = None
    if readmitted:
        installation.require("engine", "withdrawing a fulfilled request")
        proposal = open_model(ledger, model.name)(parent.forgotten - readmitted, progress, named)
        if not waive_gates:
            proposal.require_gates(Action.WITHDRAW, request_id, model.settings.solvers)
    now = ledger.clock()
    with ledger.database.write() as tx:
        tx.trusted.covered(model.name)
        tx.trusted.requests(model.name)
        tx.requests.get(request_id).require(expected)
        if tx.versions.live(model) != parent or _readmitted(tx, request, parent) != readmitted:
            raise RetryLaterError(f"{model.name} or its requests changed meanwhile", "run the same command again")
        version = None
        if proposal is not None:
            version = append_proposal(
                tx, model, proposal, parent, VersionKind.WITHDRAW, request_id, actor=ledger.actor, at=now
            )
        number = version.number if version else parent.number
        after = tx.requests.act(request_id, Action.WITHDRAW, at=now, outcome=reason or f"withdrawn in version {number}")
        tx.audit.append(
            RequestWithdrawn(
                previous=request.state,
                state=after.state,
                version=number,
                readmitted=tuple(sorted(readmitted)),
                gates_waived=waive_gates,
                solvers=named or None,
                gates=proposal.gates if proposal else None,
                missed=tuple(missed.gate for missed in proposal.missed_gates) if proposal else (),
            ),
            at=now,
            actor=ledger.actor,
            model=model.name,
            request_id=request_id,
            note=reason,
        )
        also(tx, after, version)
    keep_checkpoint(ledger)
    return after, version


def _check_reachable(model: Model, lost: frozenset[int]) -> None:
    if lost:
        raise PurgedError(
            f"{', '.join(model.labels.names(lost))} cannot come back to {model.name}: what it takes was purged",
            "the request stays fulfilled; to know the class again, register a model that was trained on it",
        )


def _readmitted(tx: Transaction, request: Request, live: Version) -> frozenset[int]:
    """Return the forgotten classes that no other fulfilled request of the model asks for."""
    fulfilled = tx.requests.all(tx.models.by_id(request.model_id), [RequestState.FULFILLED])
    still_wanted = frozenset[int]().union(*(other.classes for other in fulfilled if other.id != request.id))
    return (request.classes & live.forgotten) - still_wanted
