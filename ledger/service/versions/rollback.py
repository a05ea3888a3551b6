"""Go back to an earlier version by going forward: its exact bytes become a new version.

History is never rewritten. A request whose classes the restored version does not forget would be
undone silently, so it is reopened in the same transaction, with its due date.
"""

from dataclasses import dataclass
from datetime import datetime

from ledger.digest import json_digest
from ledger.domain.due import days_left
from ledger.domain.events.models import ModelRolledBack
from ledger.domain.events.requests import RequestReopened
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version, VersionKind
from ledger.errors import ConflictError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.ledger import Ledger
from ledger.store.unit_of_work import Transaction

from .availability import require_available
from .commit import append_version


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do."""

    model: Model
    live: Version
    target: Version
    reopened: tuple[Request, ...]
    """Fulfilled requests that the target does not fulfil."""
    now: datetime

    @property
    def confirmation(self) -> str:
        """What confirms just this plan: a digest of what it does."""
        does = [self.model.name, self.live.number, self.target.number, [request.id for request in self.reopened]]
        return json_digest(["rollback", *does])

    def require(self, confirmation: str) -> None:
        """Return if this is the plan that was confirmed.

        Raises:
            ConflictError: The ledger changed since, or another plan was.
        """
        if confirmation != self.confirmation:
            raise ConflictError("the ledger changed since this rollback was shown", "run the command again")

    def days_left(self, request: Request) -> int:
        """Return whole days until a request's due date."""
        return days_left(request.due_at, self.now)


def plan_rollback(ledger: Ledger, model_name: str, number: int) -> RollbackPlan:
    """Say what rolling back to a version would do, without doing it.

    Raises:
        NotFoundError: There is no such model or version.
        ConflictError: It is the live version, or has the same weights.
        PurgedError: Its weights were destroyed.
        ObjectError: The version's bytes are missing or altered.
    """
    with ledger.database.read() as tx:
        # Many requests are compared one by one with the log when it is carried out, not for showing what it would do.
        tx.trusted.requests_in(model_name, RequestState.FULFILLED)
        plan = _plan(tx, ledger, model_name, number)
    ledger.objects.get(plan.target.weights)
    return plan


def roll_back(ledger: Ledger, plan: RollbackPlan, reason: str) -> Version:
    """Carry out a plan that a person has seen.

    Raises:
        ConflictError: The ledger changed since the plan was made.
    """
    size = len(ledger.objects.get(plan.target.weights))
    with ledger.database.write() as tx:
        tx.trusted.requests(plan.model.name)
        current = _plan(tx, ledger, plan.model.name, plan.target.number)
        current.require(plan.confirmation)
        model, target, now = current.model, current.target, current.now
        version = Version(
            model_id=model.id,
            number=tx.versions.next_number(model),
            parent=current.live.number,
            kind=VersionKind.ROLLBACK,
            request_id=None,
            restores=target.number,
            forgotten=target.forgotten,
            weights=target.weights,
            recipe=target.recipe,
            created_at=now,
        )
        terms = tuple(tx.versions.basis(target))
        append_version(tx, model, version, size=size, terms=terms, actor=ledger.actor, at=now)
        tx.audit.append(
            ModelRolledBack(
                version=version.number,
                restores=target.number,
                reopened=tuple(request.id for request in current.reopened),
            ),
            at=now,
            actor=ledger.actor,
            model=model.name,
            note=reason,
        )
        for request in current.reopened:
            outcome = f"reopened by the rollback to version {target.number}"
            tx.requests.act(request.id, Action.REOPEN, at=now, outcome=outcome, version=None, no_op=False)
            tx.audit.append(
                RequestReopened(version=version.number, state=RequestState.REOPENED, due_at=request.due_at),
                at=now,
                actor=ledger.actor,
                model=model.name,
                request_id=request.id,
            )
    keep_checkpoint(ledger)
    return version


def _plan(tx: Transaction, ledger: Ledger, model_name: str, number: int) -> RollbackPlan:
    model = tx.models.get(model_name)
    tx.trusted.covered(model_name)
    live, target = tx.versions.live(model), tx.versions.get(model, number)
    require_available(model, target)
    if target.weights == live.weights and target.forgotten == live.forgotten:
        raise ConflictError(
            f"version {number} of {model.name} has the same weights as version {live.number}, which is live",
            f"see: unledger model versions {model.name}",
        )
    fulfilled = tx.requests.all(model, [RequestState.FULFILLED])
    reopened = tuple(request for request in fulfilled if not request.classes <= target.forgotten)
    return RollbackPlan(model, live, target, reopened, ledger.clock())
