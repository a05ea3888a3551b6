"""Browsers that are logged in, and links that log one in: queries only.

Each row bears a seal that only who has the ledger's keys can make, and the audit log tells of every session that was
opened and of every one that somebody ended; who reads a row checks both.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.orm import Session

from ledger.domain.access import VIA_LINK, Caller, WebSession, sorted_scopes
from ledger.store.database.tables import LoginLinkRow, WebSessionRow

from .tokens import stored_scopes


class WebSessions:
    """Sessions and login links, each under the digest of its secret."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, digest: str, opened: WebSession, seal: str) -> None:
        """Insert a session, and forget those that have ended."""
        self._forget_ended(opened.created_at)
        self._session.add(
            WebSessionRow(
                digest=digest,
                id=opened.id,
                name=opened.caller.name,
                scopes=[scope.value for scope in sorted_scopes(opened.caller.scopes)],
                via=opened.caller.via,
                token=opened.caller.token,
                created_at=opened.created_at,
                expires_at=opened.expires_at,
                seal=seal,
            )
        )
        self._session.flush()

    def find(self, digest: str) -> tuple[WebSession, str] | None:
        """Return a session and its seal; None if there is none."""
        row = self._session.get(WebSessionRow, digest, populate_existing=True)
        if row is None:
            return None
        return _session(row), row.seal

    def all(self) -> list[tuple[str, WebSession, str]]:
        """Return every session that is stored with its digest and seal, the oldest first."""
        rows = self._session.scalars(select(WebSessionRow).order_by(WebSessionRow.created_at, WebSessionRow.id))
        return [(row.digest, _session(row), row.seal) for row in rows]

    def remove_of(self, name: str | None) -> None:
        """Remove the sessions and login links of a person, or of everybody."""
        for table in (WebSessionRow, LoginLinkRow):
            gone = delete(table) if name is None else delete(table).where(table.name == name)
            self._session.execute(gone.execution_options(synchronize_session=False))

    def remove(self, digest: str) -> None:
        """End a session; one that is not there has ended."""
        self._session.execute(delete(WebSessionRow).where(WebSessionRow.digest == digest))

    def add_link(self, digest: str, link: WebSession, seal: str) -> None:
        """Insert a login link."""
        self._session.add(
            LoginLinkRow(
                digest=digest,
                name=link.caller.name,
                scopes=[scope.value for scope in sorted_scopes(link.caller.scopes)],
                created_at=link.created_at,
                expires_at=link.expires_at,
                seal=seal,
            )
        )
        self._session.flush()

    def find_link(self, digest: str) -> tuple[WebSession, str] | None:
        """Return what a login link stands for, and its seal; None if there is none, or it was used."""
        row = self._session.get(LoginLinkRow, digest, populate_existing=True)
        if row is None:
            return None
        caller = Caller(row.name, stored_scopes(row.scopes), VIA_LINK)
        return WebSession("", caller, row.created_at, row.expires_at), row.seal

    def take_link(self, digest: str) -> bool:
        """Remove a login link; whether it was there: of several browsers that follow it at once, one gets in."""
        gone = self._session.execute(delete(LoginLinkRow).where(LoginLinkRow.digest == digest))
        return cast("CursorResult[object]", gone).rowcount == 1

    def _forget_ended(self, now: datetime) -> None:
        for table in (WebSessionRow, LoginLinkRow):
            ended = delete(table).where(table.expires_at <= now)
            self._session.execute(ended.execution_options(synchronize_session=False))


def _session(row: WebSessionRow) -> WebSession:
    caller = Caller(row.name, stored_scopes(row.scopes), row.via, row.token)
    return WebSession(row.id, caller, row.created_at, row.expires_at)
