"""Close the rollback window: destroy superseded weights, and the class spaces and their sums that went into them.

The order is a promise, then the destruction, then the record of it: first one transaction says which versions are
purged, and from then on nobody gets them; then each object's key is destroyed, then its bytes; then it is noted. A
crash in between leaves objects that are promised to go and still there: the next purge, of anything, goes on with them.

Rows, digests and audit entries stay, so the audit log still verifies. The oldest version that is kept becomes the
*anchor*: later requests are computed from its weights and need nothing of what it has forgotten.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger.digest import json_digest
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.models import ModelPurged
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.errors import ConflictError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.clock import read_clocks
from ledger.service.ledger import Ledger
from ledger.service.progress import Progress, counted
from ledger.store.unit_of_work import Transaction

LONGEST_QUIET = timedelta(days=7)
"""A clock that is further ahead of everything recorded is not believed without a person's word. Nor is one that is
ahead by more than the age of what a purge destroys: all that it would destroy may be minutes old."""


@dataclass(frozen=True)
class PurgePlan:
    """What a purge would do."""

    model: Model
    anchor: Version
    """The oldest version that stays: what was live when the window that is kept began."""
    purged: tuple[Version, ...]
    """Versions whose weights go, oldest first."""
    final: tuple[Request, ...]
    """Fulfilled requests that can be withdrawn no more, since what it takes goes."""
    spaces: int
    """Stored class spaces that go."""
    now: datetime
    clock_doubt: str = ""
    """Why the clock may be wrong, which decides how old versions are; empty if nothing speaks against it."""

    @property
    def confirmation(self) -> str:
        """What confirms just this plan: a digest of what it destroys."""
        return json_digest(["purge", self.model.name, self.anchor.number, [version.number for version in self.purged]])

    def require(self, confirmation: str) -> None:
        """Return if this is the plan that was confirmed.

        Raises:
            ConflictError: The ledger changed since, or another plan was.
        """
        if confirmation != self.confirmation:
            raise ConflictError("the ledger changed since this purge was shown", "run the command again")

    def require_clock(self) -> None:
        """Return if nothing speaks against the clock, or if nothing would be destroyed by it.

        Raises:
            ConflictError: Says what does.
        """
        if self.purged:
            require_clock(self.clock_doubt)


def require_clock(doubt: str) -> None:
    """Return if nothing speaks against the clock.

    Raises:
        ConflictError: Says what does.
    """
    if doubt:
        raise ConflictError(
            f"the clock decides what is old enough to be destroyed, and it may be wrong: {doubt}",
            "set the clock right; if it is right now, run the same command with --clock-is-right",
        )


def plan_purge(ledger: Ledger, model_name: str, older_than: timedelta) -> PurgePlan:
    """Say what closing the rollback window would do, without doing it.

    Args:
        ledger: The ledger.
        model_name: The model.
        older_than: How long a superseded version is kept.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: A version that would be kept knows a class again that the oldest of them has forgotten.
    """
    with ledger.database.read() as tx:
        return _plan(tx, ledger, model_name, older_than)


def purge(
    ledger: Ledger, plan: PurgePlan, older_than: timedelta, progress: Progress, *, clock_is_right: bool = False
) -> list[str]:
    """Carry out a plan that a person has seen, and whatever an interrupted purge left; return the digests destroyed.

    Args:
        ledger: The ledger.
        plan: From :func:`plan_purge`.
        older_than: How long a superseded version is kept.
        progress: Follows the work.
        clock_is_right: A person looked at the clock.

    Raises:
        ConflictError: The ledger changed since the plan was made, a request is being carried out, or the clock may be
            wrong.
    """
    with ledger.database.write() as tx:
        current = _plan(tx, ledger, plan.model.name, older_than)
        current.require(plan.confirmation)
        if not clock_is_right:
            current.require_clock()
        if current.purged:
            _promise(tx, ledger, current)
    destroyed = destroy_promised(ledger, progress)
    keep_checkpoint(ledger)
    return destroyed


def destroy_promised(ledger: Ledger, progress: Progress) -> list[str]:
    """Destroy every object that is promised to go and still there; return their digests.

    Raises:
        AuditError: The audit log does not verify.
        RowError: A row that refers to objects is not what the audit log says. Nothing is destroyed.
    """
    with ledger.database.read() as tx:
        tx.trusted.references()
        doomed = tx.objects.doomed()
    progress.phase("destroy", len(doomed))
    destroyed = []
    for digest in counted(progress, doomed):
        with ledger.database.write() as tx:
            # Looked at again under the lock: somebody may have stored the same bytes for a version that is kept.
            if not tx.objects.doomed(digest):
                continue
            ledger.objects.destroy(digest)
            now = ledger.clock()
            tx.objects.note_destroyed(digest, at=now)
            tx.audit.append(ObjectDestroyed(object=digest), at=now, actor=ledger.actor)
        destroyed.append(digest)
    return destroyed


def _promise(tx: Transaction, ledger: Ledger, plan: PurgePlan) -> None:
    running = tx.requests.all(plan.model, [RequestState.RUNNING])
    if running:
        raise ConflictError(
            f"request {running[0].id} is being carried out", "wait until it is done, then run the same command again"
        )
    for version in plan.purged:
        tx.versions.note_purged(version, at=plan.now)
    tx.models.start_from(plan.model, plan.anchor.number)
    tx.audit.append(
        ModelPurged(
            anchor=plan.anchor.number,
            versions=tuple(version.number for version in plan.purged),
            final=tuple(request.id for request in plan.final),
        ),
        at=plan.now,
        actor=ledger.actor,
        model=plan.model.name,
    )


def _plan(tx: Transaction, ledger: Ledger, model_name: str, older_than: timedelta) -> PurgePlan:
    model, now = tx.models.get(model_name), ledger.clock()
    tx.trusted.covered(model_name)
    tx.trusted.requests(model_name)
    tx.trusted.class_spaces(model_name)
    tx.trusted.kept_results(model_name)
    versions, anchor = tx.versions.all(model), _anchor(tx, model, now - older_than)
    returned = [v for v in versions[anchor.number + 1 :] if v.purged_at is None and not anchor.forgotten <= v.forgotten]
    if returned:
        raise ConflictError(
            f"version {returned[0].number} of {model.name} knows classes that version {anchor.number} had forgotten, "
            "so neither can be computed from the other",
            "purge with a longer or a shorter --older-than",
        )
    purged = tuple(v for v in versions[: anchor.number] if v.purged_at is None)
    final = tuple(
        request for request in tx.requests.all(model, [RequestState.FULFILLED]) if request.classes & anchor.forgotten
    )
    outdated = [s for s in tx.class_spaces.all(model) if s.anchor < anchor.number]
    doubt = _clock_doubt(tx, ledger, model, older_than)
    return PurgePlan(model, anchor, purged, final, len(outdated) if purged else 0, now, doubt)


def _clock_doubt(tx: Transaction, ledger: Ledger, model: Model, older_than: timedelta) -> str:
    clocks = read_clocks(tx, ledger.clock, recorded=(move.moved_at for move in tx.versions.moves(model)))
    doubts = list(clocks.doubts)
    if older_than and clocks.newest is not None and clocks.now - clocks.newest > min(LONGEST_QUIET, older_than):
        doubts.append(
            f"nothing was recorded since {clocks.newest:%Y-%m-%d %H:%M} UTC, as if the clock had been set forward"
        )
    return "; ".join(doubts)


def _anchor(tx: Transaction, model: Model, moment: datetime) -> Version:
    """Return the version that was live at a moment, and no earlier one than computations start from already."""
    before = [move.version for move in tx.versions.moves(model) if move.moved_at <= moment]
    return tx.versions.get(model, max(before[-1] if before else 0, model.anchor))
