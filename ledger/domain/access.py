"""Who may ask a ledger for what: scopes, the tokens and sessions that have them, and who asks."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ledger.errors import ForbiddenError, UsageError

LONGEST_NAME = 200
DEFAULT_LIFETIME_DAYS = 90
"""How long a token lets somebody in, where nobody says."""
VIA_TOKEN, VIA_LINK, VIA_OIDC = "token", "link", "oidc"
"""How it is known who asks."""


class Scope(StrEnum):
    """What somebody may do. No scope contains another: who needs two is given two."""

    READ = "read"
    """See models with their classes, versions, requests, evidence and reports; ask for previews."""
    FILE = "file"
    """File requests."""
    DECIDE = "decide"
    """Decide about requests: approve, deny, cancel, hold, release, extend, retry, withdraw."""
    OPERATE = "operate"
    """Roll back and purge."""
    AUDIT = "audit"
    """See the audit history and its proofs, certificates and their openings, and check all of it."""
    ADMIN = "admin"
    """Make and revoke tokens, end sessions, add and remove webhooks."""


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Token:
    """What a program, or a person from afar, shows to be let in. Its secret is not part of it."""

    id: str
    name: str
    """Who acts with it, as the audit history says."""
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    """From then on it lets nobody in; None for no end."""
    last_used_at: datetime | None
    """To the minute."""
    revoked_at: datetime | None

    def is_valid(self, at: datetime) -> bool:
        """Whether it lets somebody in at a moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True)
class Caller:
    """Who asks, and what they may do."""

    name: str
    """As the audit history names them."""
    scopes: frozenset[Scope]
    via: str
    """How it is known who asks: ``token``, ``link``, ``oidc``, or ``shell`` on the ledger's own machine."""
    token: str | None = None
    """The token that they showed, or that their session was opened with."""

    def require(self, scope: Scope) -> None:
        """Refuse what this caller may not do.

        Raises:
            ForbiddenError: The caller lacks the scope.
        """
        if scope not in self.scopes:
            raise ForbiddenError(
                f"this needs the scope {scope.value}, which {self.name} does not have",
                "ask whoever administers the ledger for a token with it",
            )


@dataclass(frozen=True)
class WebSession:
    """A browser that somebody logged in with."""

    id: str
    """Names it, in the audit history too; not what the browser shows."""
    caller: Caller
    created_at: datetime
    expires_at: datetime


def read_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return scopes by their names.

    Raises:
        UsageError: There is no scope of a name, or none was named.
    """
    known, wanted = ", ".join(scope.value for scope in Scope), list(names)
    if not wanted:
        raise UsageError("no scope is named", f"scopes are {known}")
    try:
        return frozenset(Scope(name) for name in wanted)
    except ValueError:
        odd = next(name for name in wanted if name not in set(Scope))
        raise UsageError(f"there is no scope {odd!r}", f"scopes are {known}") from None


def sorted_scopes(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Return scopes in the order in which they are defined."""
    held = set(scopes)
    return tuple(scope for scope in Scope if scope in held)


def caller_name(text: str) -> str:
    """Return a name that the audit history can hold.

    Raises:
        UsageError: It is empty, too long, or would not show as it is.
    """
    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(
            f"{text[:40]!r} is no name for whoever acts", f"name them in 1 to {LONGEST_NAME} visible characters"
        )
    return name
