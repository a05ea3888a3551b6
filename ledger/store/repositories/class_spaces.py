"""Collected class spaces, and the stored objects that anything refers to: queries only."""

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ledger.domain.class_spaces import ClassSpace
from ledger.domain.models import Model
from ledger.store.database.tables import BlobRow, ClassSpaceRow, ModelRow, VersionRow

from . import convert
from .leases import BlobLeases


class ClassSpaces:
    """Collected class spaces, and the blobs that things refer to."""

    def __init__(self, session: Session, leases: BlobLeases) -> None:
        self._session = session
        self._leases = leases

    def find(self, model: Model, class_index: int, spec_digest: str) -> ClassSpace | None:
        """Return the class space collected to this specification, if there is one."""
        row = self._row(model.id, class_index, spec_digest)
        return None if row is None else self._convert(row)

    def all(self, model: Model) -> list[ClassSpace]:
        """Return every class space of a model."""
        query = select(ClassSpaceRow).where(ClassSpaceRow.model_id == model.id).order_by(ClassSpaceRow.id)
        return [self._convert(row) for row in self._session.scalars(query)]

    def add(self, space: ClassSpace) -> ClassSpace:
        """Insert a class space; its id is assigned here. One collected meanwhile by somebody else is kept."""
        existing = self._row(space.model_id, space.class_index, space.spec_digest)
        if existing is not None:
            return self._convert(existing)
        row = ClassSpaceRow(
            model_id=space.model_id,
            class_index=space.class_index,
            spec_digest=space.spec_digest,
            samples=list(space.samples),
            samples_digest=space.samples_digest,
            blob=space.blob,
            maps=convert.map_summaries(space),
            created_at=space.created_at,
            anchor=space.anchor,
        )
        self._session.add(row)
        self._session.flush()
        return self._convert(row)

    def add_blob(self, digest: str, size: int, kind: str, *, at: datetime) -> None:
        """Note that a stored object is referred to; one that was destroyed and stored again is there again.

        Raises:
            RetryLaterError: The lease it was stored under ran out, and nothing else refers to it.
        """
        row = self._session.get(BlobRow, digest)
        # Where something refers to it already, a lease from an attempt that came to nothing says nothing.
        self._leases.give_back(digest, needed=row is None or row.destroyed_at is not None)
        if row is None:
            self._session.add(BlobRow(digest=digest, size=size, kind=kind, created_at=at))
        else:
            row.destroyed_at = None
        self._session.flush()

    def referred(self) -> frozenset[str]:
        """Return digests of objects that must be there: noted and not destroyed, or the weights of a kept version."""
        noted = select(BlobRow.digest).where(BlobRow.destroyed_at.is_(None))
        kept = select(VersionRow.weights).where(VersionRow.purged_at.is_(None))
        return frozenset(self._session.scalars(noted)) | frozenset(self._session.scalars(kept))

    def blobs(self) -> list[tuple[str, int, str]]:
        """Return digest, size and kind of every referred object that was not destroyed."""
        query = select(BlobRow).where(BlobRow.destroyed_at.is_(None)).order_by(BlobRow.digest)
        return [(row.digest, row.size, row.kind) for row in self._session.scalars(query)]

    def destroyed(self) -> frozenset[str]:
        """Return digests of objects that were destroyed on purpose."""
        return frozenset(self._session.scalars(select(BlobRow.digest).where(BlobRow.destroyed_at.is_not(None))))

    def renew(self, space: ClassSpace) -> ClassSpace:
        """Put a class space that was collected again in the place of one whose object is damaged.

        The bytes may differ: another machine rounds differently. What is left of the old object is garbage then.
        """
        known = self._row(space.model_id, space.class_index, space.spec_digest)
        if known is None or known.blob == space.blob:
            return self.add(space)
        old, known.blob = known.blob, space.blob
        known.samples_digest, known.maps = space.samples_digest, convert.map_summaries(space)
        known.created_at = space.created_at
        self._session.flush()
        as_weights = self._session.scalar(select(VersionRow.number).where(VersionRow.weights == old).limit(1))
        as_space = self._session.scalar(select(ClassSpaceRow.id).where(ClassSpaceRow.blob == old).limit(1))
        if as_weights is None and as_space is None:
            self.note_destroyed(old, at=space.created_at)
        return self._convert(known)

    def doomed(self, digest: str | None = None) -> list[str]:
        """Return digests of objects that only purged versions and outdated class spaces refer to, and are still there.

        With ``digest``, only that one is looked at.

        A class space is outdated once its model computes from another version than it was collected from. What somebody
        is about to refer to again is left out until then.
        """
        kept_weights = select(VersionRow.weights).where(VersionRow.purged_at.is_(None))
        kept_spaces = (
            select(ClassSpaceRow.blob)
            .join(ModelRow, ModelRow.id == ClassSpaceRow.model_id)
            .where(ClassSpaceRow.anchor >= ModelRow.anchor)
        )
        purged_weights = select(VersionRow.weights).where(VersionRow.purged_at.is_not(None))
        query = (
            select(BlobRow.digest)
            .where(
                BlobRow.destroyed_at.is_(None),
                BlobRow.digest.not_in(kept_weights),
                BlobRow.digest.not_in(kept_spaces),
                or_(BlobRow.digest.in_(purged_weights), BlobRow.digest.in_(select(ClassSpaceRow.blob))),
            )
            .order_by(BlobRow.digest)
        )
        if digest is not None:
            query = query.where(BlobRow.digest == digest)
        leased = self._leases.live()
        return [digest for digest in self._session.scalars(query) if digest not in leased]

    def note_destroyed(self, digest: str, *, at: datetime) -> None:
        """Note that an object's key and bytes are gone."""
        self._session.get_one(BlobRow, digest).destroyed_at = at
        self._session.flush()

    def _row(self, model_id: int, class_index: int, spec_digest: str) -> ClassSpaceRow | None:
        query = select(ClassSpaceRow).where(
            ClassSpaceRow.model_id == model_id,
            ClassSpaceRow.class_index == class_index,
            ClassSpaceRow.spec_digest == spec_digest,
        )
        return self._session.scalar(query)

    def _convert(self, row: ClassSpaceRow) -> ClassSpace:
        blob = self._session.get(BlobRow, row.blob)
        # No such row means a damaged database, which a check shall be able to look at.
        return convert.class_space(row, 0 if blob is None else blob.size)
