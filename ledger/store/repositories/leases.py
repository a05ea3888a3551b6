"""Promises that stored objects are about to be referred to: garbage collection leaves them alone until then.

A lease is taken, and committed, before an object is written or an existing one is trusted; the transaction that
refers to the object gives it back. Collecting holds the same write lock, so either it sees the lease, or the writer
sees that the object is gone.
"""

import os
import socket
import uuid

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ledger.errors import RetryLaterError
from ledger.store.database.engine import database_time
from ledger.store.database.tables import ObjectLeaseRow

TTL = 3600.0
"""Seconds that a lease lasts: far longer than from the end of a computation to its commit."""
REMEMBERED = 7 * 86_400.0
"""Seconds that a lease which ran out is remembered, so that its holder learns that it did."""


def new_holder() -> str:
    """Return a name that nobody else holds anything under, and that tells a person which process it is."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class ObjectLeases:
    """The leases on stored objects.

    Args:
        session: An open transaction.
        holder: Who asks: no two opened ledgers have the same name.
    """

    def __init__(self, session: Session, holder: str) -> None:
        self._session = session
        self._holder = holder

    def take(self, digest: str, *, ttl: float = TTL) -> None:
        """Promise to refer to an object soon, or renew the promise."""
        expires = self._now() + ttl
        row = self._session.get(ObjectLeaseRow, (digest, self._holder), populate_existing=True)
        if row is None:
            self._session.add(ObjectLeaseRow(digest=digest, holder=self._holder, expires=expires))
        else:
            row.expires = expires
        self._session.flush()

    def give_back(self, digest: str, *, needed: bool = True) -> None:
        """End one's lease, in the transaction that refers to the object; without a lease, nothing happens.

        Args:
            digest: The object.
            needed: Whether nothing but the lease kept the object from being collected.

        Raises:
            RetryLaterError: It was needed and ran out, so that the object may have been collected as garbage.
        """
        row = self._session.get(ObjectLeaseRow, (digest, self._holder), populate_existing=True)
        if row is None:
            return
        if needed and row.expires <= self._now():
            raise RetryLaterError(
                f"the lease on object {digest} ran out before anything referred to it", "run the same command again"
            )
        self._session.delete(row)
        self._session.flush()

    def live(self) -> frozenset[str]:
        """Return the digests that somebody has promised to refer to."""
        query = select(ObjectLeaseRow.digest).where(ObjectLeaseRow.expires > self._now())
        return frozenset(self._session.scalars(query))

    def forget_old(self) -> None:
        """Delete leases that ran out long ago."""
        self._session.execute(delete(ObjectLeaseRow).where(ObjectLeaseRow.expires < self._now() - REMEMBERED))

    def _now(self) -> float:
        return float(self._session.scalar(select(database_time())) or 0.0)
