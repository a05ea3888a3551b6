"""End a worker's claim on a request: fulfilled, blocked, failed or interrupted.

Each way is one transaction that demands the lease in the statement which ends the claim: a worker that was presumed
dead cannot write after somebody else took over.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from ledger.domain.command_lines import RETRY_FAILED
from ledger.domain.events.requests import (
    RequestBlocked,
    RequestEvent,
    RequestFailed,
    RequestFulfilled,
    RequestInterrupted,
)
from ledger.domain.evidence import WeightsEvidence
from ledger.domain.missed_gates import MissedGate
from ledger.domain.models import Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.domain.versions import Version, VersionKind
from ledger.errors import BusyError, GateError, LedgerError, RetryLaterError, UnreachableError
from ledger.service.audit.checkpoints import keep_signed, sign_with_change
from ledger.service.ledger import Ledger
from ledger.service.retry import pauses, retry_when_busy
from ledger.service.versions.commit import append_proposal
from ledger.service.versions.proposal import Proposal
from ledger.store.repositories.requests import Claim

from .claims import record
from .foretelling import PreviewCheck

COMMIT_ATTEMPTS = 10
"""Attempts to commit a result: about a quarter of a minute, as long as a database takes to restart and far less than
a lease lasts."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    model: Model
    request: Request
    version: Version | None
    """The new version, or None if none was made."""
    error: LedgerError | None = None
    """Why it failed or was blocked."""
    proposal: Proposal | None = None
    """What the new version was made of."""
    foretold: PreviewCheck | None = None
    """How the result compares with the preview that the request is bound to; None without one."""

    @property
    def evidence(self) -> WeightsEvidence | None:
        """What is known of the new version's weights; None where nothing was measured, or nothing was made."""
        return None if self.proposal is None else self.proposal.evidence

    @property
    def missed_gates(self) -> tuple[MissedGate, ...]:
        """The gates that the new version misses and a person waived."""
        return () if self.proposal is None else self.proposal.missed_gates

    @property
    def about(self) -> str:
        """The request, with its model and classes."""
        labels = ", ".join(self.model.labels.names(self.request.classes))
        return f"request {self.request.id} ({self.model.name}: {labels})"

    @property
    def not_known_before(self) -> frozenset[int]:
        """The request's classes of which the model knew nothing before: nothing could be forgotten of them."""
        if self.version is None:
            return frozenset()
        return self.request.classes & self.version.recipe.not_known_before(len(self.model.labels))

    @property
    def detail(self) -> str:
        """What belongs behind the name of the state: why it failed, or which version fulfils it."""
        if self.error is not None:
            return f": {self.error.message}"
        if self.version is None:
            return f": already forgotten in version {self.request.version}"
        by_version, recipe = f" by version {self.version.number}", self.version.recipe
        if not recipe.computed:
            return by_version
        note = f"; {told}" if (told := not_known_note(self.model, self.request, recipe)) else ""
        return (
            f"{by_version} ({recipe.solver} of the last {recipe.depth} of {recipe.layers} layers, "
            f"alpha_r {recipe.alpha_r:g}, alpha_f {recipe.alpha_f:g}){note}"
        )


def not_known_note(model: Model, request: Request, recipe: VersionRecipe) -> str:
    """Say which classes of a request the model did not know before; an empty text if it knew all of them."""
    counts = recipe.base_forgotten
    unknown = sorted(request.classes & recipe.not_known_before(len(model.labels)))
    named = [f"{model.labels[k]} ({counts[k].correct} of {counts[k].images} images recognised)" for k in unknown]
    return f"was not known before: {', '.join(named)}" if named else ""


def _told(model: Model, request: Request, proposal: Proposal) -> str:
    """Return what a person should know of a fulfilled request: what it misses, and what was not known before."""
    missed = [f"waived: {one.told}" for one in proposal.missed_gates]
    unknown = not_known_note(model, request, proposal.recipe)
    return "; ".join([*missed, *([unknown] if unknown else [])])


def _gates_of(proposal: Proposal | None) -> dict[str, Any]:
    """Return what the entry of a fulfilled request tells of gates."""
    if proposal is None:
        return {}
    missed = tuple(one.gate for one in proposal.missed_gates)
    return {"gates": proposal.gates, "missed": missed, "gates_missed": len(missed)}


class ClaimEnd:
    """Ends one claim, in one of four ways.

    Args:
        ledger: The ledger.
        claim: The claim; it ends once.
    """

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim

    def fulfil(
        self, model: Model, parent: Version, proposal: Proposal | None, foretold: PreviewCheck | None = None
    ) -> Outcome:
        """Commit the result, and find out what became of a commit during which the connection was lost.

        Args:
            model: The request's model.
            parent: The version that was live when the computation began; it must still be live.
            proposal: The computed weights; None if the parent has forgotten the classes already.
            foretold: How they compare with the preview that the request is bound to.

        Raises:
            LeaseLostError: Another worker may carry the request out.
            RetryLaterError: Another version became live, or a purge changed what computations start from.
            UnreachableError: The database stayed away for too long.
        """
        in_doubt = False
        for pause in islice(pauses(), COMMIT_ATTEMPTS):
            try:
                done = self._committed(model, proposal, foretold) if in_doubt else None
                return done or self._commit(model, parent, proposal, foretold)
            except UnreachableError:
                in_doubt = True
            except BusyError:
                pass
            except RetryLaterError:
                # A commit in doubt holds its locks until it is through, which may be after we looked. Look again.
                done = self._committed(model, proposal, foretold) if in_doubt else None
                if done is None:
                    raise
                return done
            time.sleep(pause)
        raise UnreachableError(
            f"the result of request {self._claim.request.id} could not be committed", "a worker carries it out again"
        )

    def block(self, model: Model, error: GateError) -> Outcome:
        """Record that the computed weights missed a quality gate.

        Raises:
            LeaseLostError: Another worker may carry the request out.
        """
        blocked = partial(RequestBlocked, gates=error.gates, missed=error.missed)
        return self._unsuccessful(model, Action.BLOCK, blocked, error)

    def fail(self, model: Model, error: LedgerError) -> Outcome:
        """Record that the request cannot be carried out.

        Raises:
            LeaseLostError: Another worker may carry the request out.
        """
        return self._unsuccessful(model, Action.FAIL, RequestFailed, error)

    def interrupt(self, why: str = "") -> None:
        """Put the request back in the queue; the attempt does not count.

        If the lease was lost, nothing changes. If the database cannot be written, the lease runs out, and the next
        worker takes the request over.

        Args:
            why: What came in between; kept as a note beside the audit log.
        """

        def transaction() -> None:
            now = self._ledger.clock()
            with self._ledger.database.write() as tx:
                attempts = self._claim.request.attempts - 1
                back = tx.requests.finish(self._claim, Action.INTERRUPT, at=now, attempts=attempts)
                event = RequestInterrupted(state=back.state, epoch=self._claim.epoch)
                record(tx, self._ledger, event, back, at=now, note=why)

        try:
            retry_when_busy(transaction)
        except LedgerError:
            return

    def _commit(
        self, model: Model, parent: Version, proposal: Proposal | None, foretold: PreviewCheck | None
    ) -> Outcome:
        ledger, claim = self._ledger, self._claim
        now = ledger.clock()
        made = "" if proposal is None else _told(model, claim.request, proposal)
        told = "; ".join(filter(None, (made, foretold.told if foretold else "")))
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
                claim, Action.FULFIL, at=now, version=number, no_op=version is None, attempts=0, outcome=told
            )
            tx.audit.append(
                RequestFulfilled(
                    version=number,
                    no_op=version is None,
                    state=done.state,
                    epoch=claim.epoch,
                    **_gates_of(proposal),
                    preview=None if foretold is None else foretold.outcome,
                ),
                at=now,
                actor=ledger.actor,
                model=model.name,
                request_id=claim.request.id,
                note=told,
            )
            signed = sign_with_change(tx, ledger)
        keep_signed(ledger, signed)
        return Outcome(model, done, version, proposal=proposal, foretold=foretold)

    def _committed(self, model: Model, proposal: Proposal | None, foretold: PreviewCheck | None) -> Outcome | None:
        """Return the outcome that this claim's commit left, found by its epoch; None if it left none."""
        claim = self._claim
        with self._ledger.database.read() as tx:
            for entry in tx.audit.events(request_id=claim.request.id, kinds=(RequestFulfilled.kind,)):
                event = entry.payload
                if isinstance(event, RequestFulfilled) and event.epoch == claim.epoch:
                    request = tx.requests.get(claim.request.id)
                    if proposal is None:
                        return Outcome(model, request, None, foretold=foretold)
                    version = tx.versions.get(model, event.version)
                    same = version.weights == proposal.weights
                    return Outcome(model, request, version, proposal=proposal, foretold=foretold) if same else None
        return None

    def _unsuccessful(
        self, model: Model, action: Action, event: Callable[..., RequestEvent], error: LedgerError
    ) -> Outcome:
        ledger, claim = self._ledger, self._claim
        known = RETRY_FAILED.removesuffix("N") + str(claim.request.id)
        error.hint = error.hint.replace(RETRY_FAILED, known)

        def transaction() -> Request:
            now = ledger.clock()
            with ledger.database.write() as tx:
                done = tx.requests.finish(claim, action, at=now, outcome=error.message)
                tx.audit.append(
                    event(error=type(error).__name__, state=done.state, epoch=claim.epoch),
                    at=now,
                    actor=ledger.actor,
                    model=model.name,
                    request_id=claim.request.id,
                    note=error.message,
                )
            return done

        return Outcome(model, retry_when_busy(transaction), None, error)
