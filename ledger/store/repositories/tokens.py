"""Tokens: queries only."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, select, update
from sqlalchemy.orm import Session

from ledger.domain.access import Scope, Token, sorted_scopes
from ledger.errors import NotFoundError, RowError
from ledger.store.database.tables import TokenRow

TABLE = cast("Table", TokenRow.__table__)
# Built once, for every request that a server answers asks it.
ONE = select(*TABLE.c).where(TABLE.c.id == bindparam("wanted"))


class Tokens:
    """What lets programs, and people from afar, in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, token: Token, digest: str) -> None:
        """Insert a token.

        Args:
            token: The token.
            digest: SHA-256 of its secret.
        """
        self._session.add(
            TokenRow(
                id=token.id,
                name=token.name,
                digest=digest,
                scopes=[scope.value for scope in sorted_scopes(token.scopes)],
                created_at=token.created_at,
                expires_at=token.expires_at,
                last_used_at=token.last_used_at,
                revoked_at=token.revoked_at,
            )
        )
        self._session.flush()

    def get(self, name: str) -> Token:
        """Return a token.

        Raises:
            NotFoundError: There is none of this id.
        """
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"there is no token {name[:40]}", "see: unledger token list")
        return found[0]

    def find(self, name: str) -> tuple[Token, str] | None:
        """Return a token and the digest of its secret; None if there is none of this id."""
        self._session.flush()
        row = self._session.connection().execute(ONE, {"wanted": name}).one_or_none()
        return None if row is None else (_token(row), row.digest)

    def all(self) -> list[Token]:
        """Return every token, the oldest first."""
        return [
            _token(row) for row in self._session.scalars(select(TokenRow).order_by(TokenRow.created_at, TokenRow.id))
        ]

    def revoke(self, name: str, *, at: datetime) -> None:
        """Note that a token lets nobody in any more."""
        self._change(name, revoked_at=at)

    def used(self, name: str, *, at: datetime) -> None:
        """Note when a token was used last."""
        self._change(name, last_used_at=at)

    def _change(self, name: str, **values: Any) -> None:
        change = update(TokenRow).where(TokenRow.id == name).values(**values)
        self._session.execute(change.execution_options(synchronize_session=False))


def _token(row: TokenRow | Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=stored_scopes(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def stored_scopes(names: object) -> frozenset[Scope]:
    """Return the scopes that a column holds.

    Raises:
        RowError: Somebody wrote something else there.
    """
    try:
        return frozenset(Scope(name) for name in names)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise RowError(
            f"the database holds {str(names)[:50]!r} where scopes belong", "see all differences with: unledger fsck"
        ) from error
