"""What a route asks of its caller: declared once, checked before the route runs, and written into the API's schema."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Depends
from fastapi.routing import RouteContext
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from ledger.desk.asked import FiledRequest, ModelKey
from ledger.desk.local.desk import LocalDesk
from ledger.desk.local.filing import Asked
from ledger.documents.document import Document
from ledger.domain.access import Caller, Scope
from ledger.errors import ForbiddenError
from ledger.web.filing_queue import FilingQueue
from ledger.web.ledgers import LedgerPool

from .authentication import authenticated
from .cross_site import SAFE_METHODS


@dataclass(frozen=True)
class Visit:
    """Somebody who was let in, and the way to the ledger."""

    caller: Caller
    pool: LedgerPool
    filings: FilingQueue
    writes: bool = False
    """Whether they came to change something, as far as the method of their request tells."""

    @contextmanager
    def desk(self) -> Iterator[LocalDesk]:
        """Open the desk for the caller, for one thread, until the answer is known."""
        with self.pool.borrow(self.caller.name, writes=self.writes) as ledger:
            yield LocalDesk(ledger, computes=False)

    def file(
        self, model: ModelKey, filed: Sequence[FiledRequest], *, needs_approval: bool = False, key: str | None = None
    ) -> Document:
        """File requests in the caller's name as the desk does, in one transaction with those of others who wait, too.

        Raises:
            LedgerError: As the desk raises it.
        """
        return self.filings.file(Asked(self.caller.name, model, filed, needs_approval, key))

    @property
    def reads(self) -> bool:
        """Whether the caller may read names of classes."""
        return Scope.READ in self.caller.scopes


class ScopeCheck:
    """Lets in who has the scopes that a route takes.

    Args:
        scopes: The scopes.
        every: Whether all of them are needed; else one of them is enough.
    """

    def __init__(self, scopes: tuple[Scope, ...], *, every: bool) -> None:
        self.scopes = scopes
        self.every = every

    async def __call__(self, request: Request) -> Visit:
        """Find out who asks, and let them in.

        Raises:
            AuthenticationError: Nobody knows who asks.
            ForbiddenError: They may not, or the request comes from another site.
        """
        known: tuple[ScopeCheck, Visit] | None = getattr(request.state, "admitted", None)
        if known is not None and known[0] is self:
            # They were let in before what they sent was read.
            return known[1]
        # Asks the database, so it does not belong on the thread that all requests share.
        return await run_in_threadpool(self.admit, request)

    def admit(self, request: Request) -> Visit:
        """Do so now, in this thread.

        Raises:
            AuthenticationError: Nobody knows who asks.
            ForbiddenError: They may not, or the request comes from another site.
        """
        pool: LedgerPool = request.app.state.ledgers
        with pool.borrow() as ledger:
            caller = authenticated(request, ledger)
        request.state.caller = caller
        if not self.admits(caller.scopes):
            wanted = (" and " if self.every else " or ").join(sorted(self.scopes))
            raise ForbiddenError(
                f"this takes the scope {wanted}", "ask whoever administers the ledger for a token with it"
            )
        return Visit(caller, pool, request.app.state.filings, request.method not in SAFE_METHODS)

    def admits(self, held: frozenset[Scope]) -> bool:
        """Whether somebody with some scopes is let in."""
        return (all if self.every else any)(scope in held for scope in self.scopes)


class OpenToAll:
    """Marks a route that answers everybody, logged in or not."""

    async def __call__(self) -> None:
        """Let in."""


def requires(*scopes: Scope) -> Any:
    """Return the dependency of a route that takes all of some scopes; it gives the route a :class:`Visit`."""
    return Depends(ScopeCheck(scopes, every=True))


def requires_one_of(*scopes: Scope) -> Any:
    """Return the dependency of a route that takes one of some scopes; it gives the route a :class:`Visit`."""
    return Depends(ScopeCheck(scopes, every=False))


def open_to_all() -> Any:
    """Return the dependency of a route that answers everybody."""
    return Depends(OpenToAll())


def admission(route: RouteContext) -> ScopeCheck | OpenToAll | None:
    """Return what a route declares about its callers; None for a route that declares nothing, which must not be."""
    found = (inner.call for inner in route.dependant.dependencies)
    return next((call for call in found if isinstance(call, ScopeCheck | OpenToAll)), None)
