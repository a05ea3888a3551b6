"""The stored objects that rows refer to: which must be there, which were destroyed, which are to go. Queries only."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ledger.store.database.tables import ClassSpaceRow, KeptResultRow, ModelRow, ObjectRow, VersionRow

from .chunks import chunked
from .leases import ObjectLeases


class Objects:
    """What the rows say about stored objects; their bytes are in the object store.

    Args:
        session: An open transaction.
        leases: Promises that somebody is about to refer to an object.
    """

    def __init__(self, session: Session, leases: ObjectLeases) -> None:
        self._session = session
        self._leases = leases

    def add(self, digest: str, size: int, kind: str, *, at: datetime) -> None:
        """Note that a stored object is referred to, as :meth:`add_all` does."""
        self.add_all({digest: size}, kind, at=at)

    def add_all(self, sizes: Mapping[str, int], kind: str, *, at: datetime) -> None:
        """Note that stored objects are referred to; one that was destroyed and stored again is there again.

        Args:
            sizes: Their bytes, by digest.
            kind: What they are.
            at: When they were stored.

        Raises:
            RetryLaterError: The lease that one was stored under ran out, and nothing else refers to it.
        """
        queries = (select(ObjectRow).where(ObjectRow.digest.in_(some)) for some in chunked(sizes))
        known = {row.digest: row for query in queries for row in self._session.scalars(query)}
        # Where something refers to it already, a lease from an attempt that came to nothing says nothing.
        needed = [digest for digest in sizes if digest not in known or known[digest].destroyed_at is not None]
        self._leases.give_back(sizes.keys(), needed=needed)
        for digest, size in sizes.items():
            if digest in known:
                known[digest].destroyed_at = None
            else:
                self._session.add(ObjectRow(digest=digest, size=size, kind=kind, created_at=at))
        self._session.flush()

    def referred(self) -> frozenset[str]:
        """Return digests of objects that must be there: noted and not destroyed, or the weights of a kept version."""
        noted = select(ObjectRow.digest).where(ObjectRow.destroyed_at.is_(None))
        kept = select(VersionRow.weights).where(VersionRow.purged_at.is_(None))
        return frozenset(self._session.scalars(noted)) | frozenset(self._session.scalars(kept))

    def kept(self) -> list[tuple[str, int, str]]:
        """Return digest, size and kind of every referred object that was not destroyed."""
        query = select(ObjectRow).where(ObjectRow.destroyed_at.is_(None)).order_by(ObjectRow.digest)
        return [(row.digest, row.size, row.kind) for row in self._session.scalars(query)]

    def destroyed(self) -> frozenset[str]:
        """Return digests of objects that were destroyed on purpose."""
        return frozenset(self._session.scalars(select(ObjectRow.digest).where(ObjectRow.destroyed_at.is_not(None))))

    def is_destroyed(self, digest: str) -> bool:
        """Whether an object was destroyed."""
        row = self._session.get(ObjectRow, digest)
        return row is not None and row.destroyed_at is not None

    def doomed(self, digest: str | None = None) -> list[str]:
        """Return digests of objects that nothing in use refers to, and that are still there.

        With ``digest``, only that one is looked at.

        Out of use are the weights of purged versions; class spaces and kept results once their model computes from
        another version than they were computed from; and parts of a kept result in whose place there is another. What
        somebody is about to refer to again is left out until then.
        """
        kept_weights = select(VersionRow.weights).where(VersionRow.purged_at.is_(None))
        kept_spaces = (
            select(ClassSpaceRow.blob)
            .join(ModelRow, ModelRow.id == ClassSpaceRow.model_id)
            .where(ClassSpaceRow.anchor >= ModelRow.anchor)
        )
        purged_weights = select(VersionRow.weights).where(VersionRow.purged_at.is_not(None))
        any_weights, any_space = select(VersionRow.weights), select(ClassSpaceRow.blob)
        query = (
            select(ObjectRow.digest)
            .where(
                ObjectRow.destroyed_at.is_(None),
                ObjectRow.digest.not_in(kept_weights),
                ObjectRow.digest.not_in(kept_spaces),
                or_(
                    ObjectRow.digest.in_(purged_weights),
                    ObjectRow.digest.in_(any_space),
                    # Noted, but neither weights nor a class space: part of a kept result, now or once.
                    ObjectRow.digest.not_in(any_weights),
                ),
            )
            .order_by(ObjectRow.digest)
        )
        if digest is not None:
            query = query.where(ObjectRow.digest == digest)
        wanted = self._leases.live() | self._kept_parts()
        return [digest for digest in self._session.scalars(query) if digest not in wanted]

    def _kept_parts(self) -> frozenset[str]:
        """Return the objects of kept results that their model still computes with."""
        query = (
            select(KeptResultRow.parts)
            .join(ModelRow, ModelRow.id == KeptResultRow.model_id)
            .where(KeptResultRow.anchor >= ModelRow.anchor)
        )
        return frozenset(str(part["object"]) for parts in self._session.scalars(query) for part in parts)

    def note_destroyed(self, digest: str, *, at: datetime) -> None:
        """Note that an object's key and bytes are gone."""
        self._session.get_one(ObjectRow, digest).destroyed_at = at
        self._session.flush()
