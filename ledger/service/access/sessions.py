"""Browser sessions and the links that open one: rows that end by themselves, under the digest of a secret.

Each row is sealed, so a row that somebody writes into the database lets nobody in. That a session was opened, and that
it was ended before its time, are entries of the audit log, and a checkpoint is signed over every end: a row that is put
back after its session was ended lets nobody in, nor does a link that was used. A session that was opened with a token
ends with the token.
"""

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ledger.digest import sha256_hex
from ledger.domain.access import (
    ALL_SCOPES,
    VIA_LINK,
    Caller,
    Scope,
    WebSession,
    caller_name,
    sorted_scopes,
)
from ledger.domain.events.access import SessionEnded, SessionOpened, SessionsEnded
from ledger.errors import AuthenticationError, UsageError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.store.unit_of_work import Transaction

from .seals import is_sealed, new_secret, seal, secret_digest

SESSION = "session"
LINK = "login link"
ID_BYTES = 8
SESSION_LASTS = timedelta(hours=8)
LINK_LASTS = timedelta(minutes=15)
LONGEST_SECRET = 200


def open_session(ledger: Ledger, caller: Caller) -> str:
    """Open a session for a caller; return what the cookie shall hold."""

    def transaction() -> str:
        with ledger.database.write() as tx:
            return _open(tx, ledger, caller, secrets.token_hex(ID_BYTES))

    return retry_when_busy(transaction)


def session_of(ledger: Ledger, cookie: str) -> Caller | None:
    """Return whose session a cookie belongs to; None if it has ended, or never was one.

    Raises:
        AuditError: The audit log does not verify.
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
        if now >= opened.expires_at or not _is_good(tx, ledger, digest, opened, sealed):
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
    digest = secret_digest(SESSION, cookie)

    def transaction() -> bool:
        with ledger.database.write() as tx:
            found = tx.web_sessions.find(digest)
            tx.web_sessions.remove(digest)
            if found is None or not _is_good(tx, ledger, digest, *found):
                return False
            opened = found[0]
            tx.audit.append(SessionEnded(session=opened.id), at=ledger.clock(), actor=opened.caller.name)
            return True

    if retry_when_busy(transaction):
        keep_checkpoint(ledger)


def list_sessions(ledger: Ledger) -> list[WebSession]:
    """Return the sessions that are open, the oldest first.

    Raises:
        AuditError: The audit log does not verify.
    """
    now = ledger.clock()
    with ledger.database.read() as tx:
        return [
            opened
            for digest, opened, sealed in tx.web_sessions.all()
            if now < opened.expires_at and _is_good(tx, ledger, digest, opened, sealed)
        ]


def end_sessions(ledger: Ledger, name: str | None) -> int:
    """End every session of a person, or of everybody, and make their login links useless; return how many were open.

    Args:
        ledger: The ledger; its actor ends them.
        name: The person, as the audit history names them; None for everybody.

    Raises:
        UsageError: The name is none.
        AuditError: The audit log does not verify.
    """
    of = None if name is None else caller_name(name)

    def transaction() -> int:
        now = ledger.clock()
        with ledger.database.write() as tx:
            # As the log knows them: a row may have been put aside, to be put back later.
            ended = tx.trusted.open_sessions(of)
            tx.web_sessions.remove_of(of)
            tx.audit.append(SessionsEnded(of=of, sessions=ended), at=now, actor=ledger.actor)
        return len(ended)

    count = retry_when_busy(transaction)
    keep_checkpoint(ledger)
    return count


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
        lasts: How long the link waits to be followed; at most as long as a session.

    Raises:
        UsageError: It would wait for longer.
    """
    if lasts > SESSION_LASTS:
        # That it was used is known for as long as the session that it opened.
        raise UsageError(f"a login link waits for {SESSION_LASTS} at most", "name a shorter time")
    secret, now = new_secret(), ledger.clock()
    digest = secret_digest(LINK, secret)
    link = WebSession(
        _id_of_link(digest), Caller(caller_name(name or ledger.actor), scopes, VIA_LINK), now, now + lasts
    )

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
        with ledger.database.write() as tx:
            found = tx.web_sessions.find_link(digest)
            if found is None:
                raise _spent()
            link, sealed = replace(found[0], id=_id_of_link(digest)), found[1]
            ended = tx.trusted.sessions_ended_at(link.caller.name)
            if (
                not is_sealed(ledger.config, LINK, _facts(digest, link), sealed)
                or now >= link.expires_at
                or tx.trusted.was_opened(link.id)
                or (ended is not None and link.created_at <= ended)
                or not tx.web_sessions.take_link(digest)
            ):
                raise _spent()
            return _open(tx, ledger, link.caller, link.id)

    return retry_when_busy(transaction)


def _open(tx: Transaction, ledger: Ledger, caller: Caller, name: str) -> str:
    cookie, now = new_secret(), ledger.clock()
    digest, opened = secret_digest(SESSION, cookie), WebSession(name, caller, now, now + SESSION_LASTS)
    tx.web_sessions.add(digest, opened, seal(ledger.config, SESSION, _facts(digest, opened)))
    held = tuple(scope.value for scope in sorted_scopes(caller.scopes))
    event = SessionOpened(session=name, via=caller.via, scopes=held, expires_at=opened.expires_at, token=caller.token)
    tx.audit.append(event, at=now, actor=caller.name)
    return cookie


def _is_good(tx: Transaction, ledger: Ledger, digest: str, opened: WebSession, sealed: str) -> bool:
    """Whether a row is one that the ledger wrote, and nobody ended its session."""
    return is_sealed(ledger.config, SESSION, _facts(digest, opened), sealed) and tx.trusted.is_open(opened.id)


def _id_of_link(digest: str) -> str:
    """Return what the session is called that a link opens: one link opens one session."""
    return sha256_hex(f"unledger session of a link\n{digest}".encode())[: 2 * ID_BYTES]


def _facts(digest: str, opened: WebSession) -> dict[str, Any]:
    """Return what a seal covers: the whole row."""
    return {
        "digest": digest,
        "id": opened.id,
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
