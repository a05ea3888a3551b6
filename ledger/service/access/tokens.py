"""Tokens: what a program, or a person from afar, shows to be let in.

A token is a text ``ul_ID_SECRET``, shown once. The row holds a digest of the secret. It is believed only as far as the
audit log tells of it: who can write the database alone can neither make a token, widen one nor bring one back.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from ledger.domain.access import VIA_TOKEN, Caller, Scope, Token, caller_name, sorted_scopes
from ledger.domain.events.access import TokenCreated, TokenRevoked
from ledger.domain.moments import require_in_calendar
from ledger.errors import AuthenticationError, ConflictError, UsageError
from ledger.service.audit.checkpoints import keep_checkpoint
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy

from .seals import new_secret, same_digest, secret_digest

PREFIX = "ul"
PURPOSE = "token"
ID_BYTES = 6
LONGEST_TEXT = 200
USE_IS_NOTED_AFTER = timedelta(minutes=1)
"""A token that is used all the time is noted as used once in so long."""


def create_token(
    ledger: Ledger, name: str, scopes: Collection[Scope], expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Make a token; return it with the text that lets somebody in, which cannot be shown again.

    Args:
        ledger: The ledger.
        name: Who will act with it, as the audit history shall say. Several tokens may have one name.
        scopes: What it allows.
        expires_at: From when on it lets nobody in; None for no end.

    Raises:
        UsageError: The name is none, there are no scopes, or it would have expired already.
    """
    known, now = caller_name(name), ledger.clock()
    if not scopes:
        raise UsageError("a token without any scope allows nothing", f"scopes are {', '.join(Scope)}")
    if expires_at is not None:
        require_in_calendar(expires_at, "the end of the token")
    if expires_at is not None and expires_at <= now:
        raise UsageError(f"the token would have expired already: {expires_at} is past", "name a later moment")
    token = Token(secrets.token_hex(ID_BYTES), known, frozenset(scopes), now, expires_at, None, None)
    secret = new_secret()

    def transaction() -> None:
        with ledger.database.write() as tx:
            tx.trusted.unrecorded("tokens", [(token.id,)])
            tx.tokens.add(token, secret_digest(PURPOSE, secret))
            row = tx.projections.digest("tokens", id=token.id)
            held = tuple(scope.value for scope in sorted_scopes(token.scopes))
            tx.audit.append(TokenCreated(token=token.id, scopes=held, row=row), at=now, actor=ledger.actor)

    retry_when_busy(transaction)
    return token, f"{PREFIX}_{token.id}_{secret}"


def list_tokens(ledger: Ledger) -> list[Token]:
    """Return every token, those that let nobody in any more included, the oldest first.

    Raises:
        RowError: One is not what the audit log says.
    """
    with ledger.database.read() as tx:
        tx.trusted.tokens()
        return tx.tokens.all()


def revoke_token(ledger: Ledger, token_id: str) -> Token:
    """Let nobody in with a token any more, nor with sessions that were opened with it.

    Raises:
        NotFoundError: There is no such token.
        ConflictError: It was revoked before.
    """

    def transaction() -> Token:
        now = ledger.clock()
        with ledger.database.write() as tx:
            token = tx.tokens.get(token_id)
            tx.trusted.token(token_id)
            if token.revoked_at is not None:
                raise ConflictError(f"token {token_id} was revoked before", "nothing was changed")
            tx.tokens.revoke(token_id, at=now)
            tx.audit.append(TokenRevoked(token=token_id), at=now, actor=ledger.actor)
            return tx.tokens.get(token_id)

    revoked = retry_when_busy(transaction)
    # Who puts back a database from before this finds that a newer one was signed.
    keep_checkpoint(ledger)
    return revoked


def authenticate(ledger: Ledger, text: str) -> Caller:
    """Return who shows a token.

    Raises:
        AuthenticationError: It is no token of this ledger, or it lets nobody in any more.
        RowError: Its row is not what the audit log says.
    """
    token_id, secret = _parts(text)
    now = ledger.clock()
    with ledger.database.read() as tx:
        found = tx.tokens.find(token_id)
        if found is None or not same_digest(found[1], secret_digest(PURPOSE, secret)):
            raise _unknown()
        tx.trusted.token(token_id)
    token = found[0]
    require_valid(token, now)
    if token.last_used_at is None or now - token.last_used_at >= USE_IS_NOTED_AFTER:
        with ledger.database.touch() as tx:
            tx.tokens.used(token.id, at=now)
    return Caller(token.name, token.scopes, VIA_TOKEN, token.id)


def require_valid(token: Token, at: datetime) -> None:
    """Refuse a token that lets nobody in at a moment.

    Raises:
        AuthenticationError: It was revoked, or has expired.
    """
    if not token.is_valid(at):
        said = "was revoked" if token.revoked_at is not None else f"expired on {token.expires_at:%Y-%m-%d}"
        raise AuthenticationError(f"the token {token.id} {said}", "ask whoever administers the ledger for a new one")


def _parts(text: str) -> tuple[str, str]:
    prefix, _, rest = text.strip().partition("_")
    token_id, _, secret = rest.partition("_")
    if prefix != PREFIX or not token_id or not secret or len(text) > LONGEST_TEXT:
        raise _unknown()
    return token_id, secret


def _unknown() -> AuthenticationError:
    return AuthenticationError(
        "this is no token of this ledger", "a token begins with ul_; whoever administers the ledger makes one"
    )
