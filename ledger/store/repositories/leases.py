"""Promises that stored objects are about to be referred to: garbage collection leaves them alone until then.

A lease is taken, and committed, before an object is written or an existing one is trusted; the transaction that
refers to the object gives it back. Whoever looks at leases to remove what nobody promised keeps others from taking any
until its transaction ends. So either it sees the lease, or the writer sees that the object is gone.
"""

import os
import socket
import uuid
from collections.abc import Collection

from sqlalchemy import ColumnElement, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ledger.errors import RetryLaterError
from ledger.store.database.engine import database_time
from ledger.store.database.tables import ObjectLeaseRow

from .chunks import chunked

TTL = 3600.0
"""Seconds that a lease lasts: far longer than from the end of a computation to its commit."""
REMEMBERED = 7 * 86_400.0
"""Seconds that a lease which ran out is remembered, so that its holder learns that it did."""

TAKING_LOCK = 0x756E6C6C
"""Number of the advisory lock of a PostgreSQL database that is held while leases are taken; ASCII for "unll"."""
ONE_OF_MANY, ALONE = "pg_advisory_xact_lock_shared", "pg_advisory_xact_lock"
"""How it is held: by those who take leases, and by one who removes objects."""


def new_holder() -> str:
    """Return a name that nobody else holds anything under, and that tells a person which process it is."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class ObjectLeases:
    """The leases on stored objects.

    Args:
        session: An open transaction.
        holder: Who asks: no two opened ledgers have the same name.
        steady: Whether it only reads, so that nothing is removed in it.
    """

    def __init__(self, session: Session, holder: str, *, steady: bool = False) -> None:
        self._session = session
        self._holder = holder
        self._steady = steady
        self._on_server = session.get_bind().dialect.name == "postgresql"

    def take(self, *digests: str, ttl: float = TTL) -> None:
        """Promise to refer to some objects soon, or renew the promise."""
        self._lock(ONE_OF_MANY)
        # In one order, whoever asks: two threads of a holder may promise the same at a time.
        rows = [{"digest": digest, "holder": self._holder} for digest in sorted(set(digests))]
        insert = postgresql.insert if self._on_server else sqlite.insert
        new = insert(ObjectLeaseRow).values(expires=database_time() + ttl)
        key = [ObjectLeaseRow.digest, ObjectLeaseRow.holder]
        self._session.execute(
            new.on_conflict_do_update(index_elements=key, set_={"expires": new.excluded.expires}), rows
        )

    def give_back(self, digests: Collection[str], *, needed: Collection[str] | None = None) -> None:
        """End one's leases, in the transaction that refers to the objects; without a lease, nothing happens.

        Args:
            digests: The objects.
            needed: Those of them that nothing but the lease kept from being collected; None for all.

        Raises:
            RetryLaterError: One was needed and ran out, so that the object may have been collected as garbage.
        """
        ran_out = ObjectLeaseRow.expires <= database_time()
        for some in chunked(digests):
            end = delete(ObjectLeaseRow).where(*self._held(some)).returning(ObjectLeaseRow.digest, ran_out)
            for digest, too_late in self._session.execute(end):
                if too_late and (needed is None or digest in needed):
                    raise RetryLaterError(
                        f"the lease on object {digest} ran out before anything referred to it",
                        "run the same command again",
                    )

    def _held(self, digests: Collection[str]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return ObjectLeaseRow.holder == self._holder, ObjectLeaseRow.digest.in_(digests)

    def live(self) -> frozenset[str]:
        """Return the digests that somebody has promised to refer to; nobody promises more until a writer has ended."""
        self._lock(ALONE)
        query = select(ObjectLeaseRow.digest).where(ObjectLeaseRow.expires > self._now())
        return frozenset(self._session.scalars(query))

    def forget_old(self) -> None:
        """Delete leases that ran out long ago."""
        self._lock(ALONE)
        self._session.execute(delete(ObjectLeaseRow).where(ObjectLeaseRow.expires < self._now() - REMEMBERED))

    def _lock(self, how: str) -> None:
        # A writer on SQLite excludes all others anyway. Nobody waits in a circle: who takes leases holds no other lock
        # that somebody who removes objects could wait for.
        if self._on_server and not self._steady:
            self._session.execute(text(f"SELECT {how}(:key)"), {"key": TAKING_LOCK})

    def _now(self) -> float:
        return float(self._session.scalar(select(database_time())) or 0.0)
