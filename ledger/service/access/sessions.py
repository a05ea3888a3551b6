"""Browser sessions and the links that open one: rows that end by themselves, under the digest of a secret.

No entry of the audit log tells of them. Each row is sealed, so a row that somebody writes into the database lets nobody
in. A session that was opened with a token ends with the token.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ledger.domain.access import (
    ALL_SCOPES,
    VIA_LINK,
    Caller,
    Scope,
    WebSession,
    caller_name,
    sorted_scopes,
)
from ledger.errors import AuthenticationError
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .seals import is_sealed, new_secret, seal, secret_digest

SESSION = "session"
LINK = "login link"
SESSION_LASTS = timedelta(hours=8)
LINK_LASTS = timedelta(minutes=15)
LONGEST_SECRET = 200


def open_session(ledger: Ledger, caller: Caller) -> str:
    """Open a session for a caller; return what the cookie shall hold."""

    def transaction() -> str:
        with ledger.database.touch() as tx:
            return _open(tx, ledger, caller)

    return retry_when_busy(transaction)


def session_of(ledger: Ledger, cookie: str) -> Caller | None:
    """Return whose session a cookie belongs to; None if it has ended, or never was one.

    Raises:
        RowError: The token that it was opened with is not what the audit log says.
    """
    if not cookie or len(cookie) > LONGEST_SECRET:
        return None
    digest, now = secret_digest(SESSION, cookie), ledger.clock()
    with ledger.database.read() as tx:
        found = tx.web_sessions.find(digest)
        if found is None:
            return None
        opened, sealed = found
        if now >= opened.expires_at or not is_sealed(ledger.config, SESSION, _facts(digest, opened), sealed):
            return None
        caller = opened.caller
        if caller.token is None:
            return caller
        known = tx.tokens.find(caller.token)
        if known is None or not known[0].is_valid(now):
            return None
        tx.trusted.token(caller.token)
    return replace(caller, scopes=caller.scopes & known[0].scopes)


def close_session(ledger: Ledger, cookie: str) -> None:
    """End a session; one that has ended is fine."""

    def transaction() -> None:
        with ledger.database.touch() as tx:
            tx.web_sessions.remove(secret_digest(SESSION, cookie))

    retry_when_busy(transaction)


def create_login_link(
    ledger: Ledger,
    name: str | None = None,
    scopes: frozenset[Scope] = ALL_SCOPES,
    *,
    lasts: timedelta = LINK_LASTS,
) -> str:
    """Make a link that logs one browser in, once; return the secret that the link holds.

    Args:
        ledger: The ledger.
        name: Who will act in that browser; None for whoever acts now.
        scopes: What they may do there.
        lasts: How long the link waits to be followed.
    """
    secret, now = new_secret(), ledger.clock()
    digest = secret_digest(LINK, secret)
    link = WebSession(Caller(caller_name(name or ledger.actor), scopes, VIA_LINK), now, now + lasts)

    def transaction() -> None:
        with ledger.database.touch() as tx:
            tx.web_sessions.add_link(digest, link, seal(ledger.config, LINK, _facts(digest, link)))

    retry_when_busy(transaction)
    return secret


def use_login_link(ledger: Ledger, secret: str) -> str:
    """Follow a login link: open a session, and return what its cookie shall hold.

    Raises:
        AuthenticationError: It is no login link of this ledger, or it was used, or waited too long.
    """
    digest, now = secret_digest(LINK, secret[: LONGEST_SECRET + 1]), ledger.clock()

    def transaction() -> str:
        with ledger.database.touch() as tx:
            found = tx.web_sessions.find_link(digest)
            if found is None or not is_sealed(ledger.config, LINK, _facts(digest, found[0]), found[1]):
                raise _spent()
            if now >= found[0].expires_at or not tx.web_sessions.take_link(digest):
                raise _spent()
            return _open(tx, ledger, found[0].caller)

    return retry_when_busy(transaction)


def _open(tx: Transaction, ledger: Ledger, caller: Caller) -> str:
    cookie, now = new_secret(), ledger.clock()
    digest, opened = secret_digest(SESSION, cookie), WebSession(caller, now, now + SESSION_LASTS)
    tx.web_sessions.add(digest, opened, seal(ledger.config, SESSION, _facts(digest, opened)))
    return cookie


def _facts(digest: str, opened: WebSession) -> dict[str, Any]:
    """Return what a seal covers: the whole row."""
    return {
        "digest": digest,
        "name": opened.caller.name,
        "scopes": [scope.value for scope in sorted_scopes(opened.caller.scopes)],
        "via": opened.caller.via,
        "token": opened.caller.token,
        "created_at": opened.created_at,
        "expires_at": opened.expires_at,
    }


def _spent() -> AuthenticationError:
    return AuthenticationError(
        "this login link was used, or waited too long",
        "make another one with: unledger serve, or log in with a token",
    )
