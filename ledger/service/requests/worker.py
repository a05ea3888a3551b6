"""Carry out queued requests: claim, compute, check the gates, commit.

No transaction is open while weights are computed. The commit checks the lease in the statement that ends it,
together with the version: a worker that was presumed dead cannot write after somebody else took over.
"""

from collections.abc import Callable, Iterator
from functools import partial

from ledger import installation
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.domain.states import Action
from ledger.domain.versions import Version
from ledger.errors import GateError, LedgerError, RetryLaterError
from ledger.service.computation.compute import Compute, OpenModel
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger
from ledger.service.progress import InterruptibleProgress, Progress
from ledger.service.versions.proposal import Proposal
from ledger.store.repositories.leases import new_holder
from ledger.store.repositories.requests import Claim

from .claim_end import ClaimEnd, Outcome
from .claims import LEASE_SECONDS, claim_next
from .decisions import named_solvers
from .foretelling import check_preview, preview_of
from .heartbeat import LeaseHeartbeat
from .leases import give_back
from .retention import check_retained
from .transient import as_transient


def work(
    ledger: Ledger,
    progress: Progress,
    *,
    model_name: str | None = None,
    open_model: OpenModel = open_gated,
    owner: str | None = None,
    lease: float = LEASE_SECONDS,
    check: Callable[[], None] = lambda: None,
    avoid: set[int] | None = None,
) -> Iterator[Outcome]:
    """Carry out claimable requests one after another until none is left.

    A request that fails is recorded as failed and yielded with its error; the others go on. Where the surroundings are
    at fault (:mod:`.transient`), the request goes back to the queue and the work ends.

    Args:
        ledger: The ledger.
        progress: Follows the work.
        model_name: Only this model's requests.
        open_model: Lays a model out for computation; done once for a model's requests in a row.
        owner: Name of the worker; None invents one.
        lease: Seconds after which others may take over, unless a heartbeat comes first.
        check: Called at every step of the work; what it raises puts the request back in the queue.
        avoid: Ids of models to leave alone. The model whose request went back to the queue is added.

    Raises:
        NotInstalledError: Nothing can be computed here; no request was claimed.
        RetryLaterError: The lease was lost, another version became live, the database was away, a disk was full, ...
        EngineLostError: The engine that runs units cannot be reached: no request was claimed; or it was lost.
        UsageError: No plugin knows the executor; no request was claimed.
        KeyboardInterrupt: After the request in progress went back to the queue.
    """
    installation.require("engine", "carrying out requests")
    ledger.engine.require()
    owner = owner or new_holder()
    avoid = set() if avoid is None else avoid
    opened: tuple[Model, Compute] | None = None
    try:
        while (claim := claim_next(ledger, owner, model_name, lease=lease, avoid=avoid)) is not None:
            avoid.add(claim.request.model_id)
            try:
                with ledger.database.read() as tx:
                    model = tx.models.by_id(claim.request.model_id)
            except LedgerError:
                ClaimEnd(ledger, claim).interrupt()
                raise
            # One network is held at a time, and let go before the next one is laid out: they can be large, and many.
            # A model is laid out again when its record changed.
            if opened is None or opened[0] != model:
                opened = model, _when_needed(ledger, model, open_model)
            outcome = carry_out(ledger, *opened, claim, progress, check=check)
            _let_go(outcome.error)
            avoid.clear()
            yield outcome
    except LedgerError as error:
        if isinstance(error, RetryLaterError) or (transient := as_transient(error)) is None:
            raise
        raise transient from error
    except (KeyboardInterrupt, SystemExit):
        # The signal may have come just after a claim was committed, before anything could hold on to it.
        give_back(ledger, owner)
        raise


def _let_go(error: BaseException | None) -> None:
    """Let go of the frames that an error went through, which hold on to networks and images; what it says stays."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        error.__traceback__ = None
        seen.append(error)
        error = error.__cause__ or error.__context__


def _when_needed(ledger: Ledger, model: Model, open_model: OpenModel) -> Compute:
    """Put off laying a model out until weights are wanted: under a heartbeat, and what fails then fails the request."""
    ready: list[Compute] = []

    def compute(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
        if not ready:
            ready.append(open_model(ledger, model.name))
        return ready[0](forgotten, progress, solvers)

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
            live, or the database was away, or a disk was full and the like, or ``check`` said so: then the request is
            back in the queue, now or when its lease has run out.
        KeyboardInterrupt: The request is back in the queue.
    """
    end = ClaimEnd(ledger, claim)
    heartbeat = LeaseHeartbeat(ledger, claim)
    interruptible = InterruptibleProgress(progress, heartbeat.require_lease, check)
    try:
        with heartbeat.running():
            with ledger.database.read() as tx:
                parent, solvers = tx.versions.live(model), named_solvers(tx, claim.request)
                preview = preview_of(tx, claim.request)
            forgotten = parent.forgotten | claim.request.classes
            proposal = _result(model, parent, partial(compute, forgotten, interruptible, solvers), claim.request)
            foretold = check_preview(ledger, model, preview, forgotten, proposal, interruptible)
            return end.fulfil(model, parent, proposal, foretold)
    except RetryLaterError as error:
        # The lease is still ours unless that is what was lost: then this changes nothing.
        end.interrupt(error.message)
        raise error from None
    except GateError as error:
        return end.block(model, error)
    except LedgerError as error:
        if (transient := as_transient(error)) is not None:
            end.interrupt(transient.message)
            raise transient from error
        return end.fail(model, error)
    except (KeyboardInterrupt, SystemExit):
        end.interrupt()
        raise
    except Exception as error:
        if (transient := as_transient(error)) is not None:
            end.interrupt(transient.message)
            raise transient from error
        end.fail(model, LedgerError(f"{type(error).__name__}: {error}"))
        raise


def _result(model: Model, parent: Version, compute: Callable[[], Proposal], request: Request) -> Proposal | None:
    """Compute what a request asks for; return new weights unless the live version has forgotten all already.

    Raises:
        GateError: The new weights miss a quality gate that nobody waived.
    """
    check_retained(model, parent.forgotten | request.classes)
    if request.classes <= parent.forgotten:
        return None
    proposal = compute()
    if not request.gates_waived:
        proposal.require_gates(Action.RETRY, request.id, model.settings.solvers)
    return proposal
