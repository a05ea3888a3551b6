"""Collected class spaces: queries only."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.models import Model
from ledger.store.database.tables import ClassSpaceRow, ObjectRow, VersionRow

from . import convert
from .chunks import chunked
from .objects import Objects


class ClassSpaces:
    """The class spaces that were collected.

    Args:
        session: An open transaction.
        objects: The objects that hold their factors.
    """

    def __init__(self, session: Session, objects: Objects) -> None:
        self._session = session
        self._objects = objects

    def find(self, model: Model, class_index: int, spec_digest: str) -> ClassSpace | None:
        """Return the class space collected to this specification, if there is one."""
        row = self._row(model.id, class_index, spec_digest)
        return None if row is None else self._convert(row)

    def of_specs(self, model: Model, specs: Collection[str]) -> dict[tuple[int, str], ClassSpace]:
        """Return the class spaces collected to some specifications, by class and specification.

        The number of statements hardly depends on the number of classes.
        """
        return self._of_specs(model.id, specs)

    def _of_specs(self, model_id: int, specs: Collection[str]) -> dict[tuple[int, str], ClassSpace]:
        found = {}
        both = select(ClassSpaceRow, ObjectRow.size).outerjoin(ObjectRow, ObjectRow.digest == ClassSpaceRow.blob)
        for some in chunked(specs):
            query = both.where(ClassSpaceRow.model_id == model_id, ClassSpaceRow.spec_digest.in_(some))
            for row, size in self._session.execute(query):
                # As for one of them: a missing row means a damaged database.
                found[row.class_index, row.spec_digest] = convert.class_space(row, size or 0)
        return found

    def of_object(self, model: Model, class_index: int, digest: str) -> ClassSpace | None:
        """Return a class space whose factors are in an object, if there is one."""
        query = select(ClassSpaceRow).where(
            ClassSpaceRow.model_id == model.id, ClassSpaceRow.class_index == class_index, ClassSpaceRow.blob == digest
        )
        row = self._session.scalars(query.order_by(ClassSpaceRow.id).limit(1)).first()
        return None if row is None else self._convert(row)

    def all(self, model: Model) -> list[ClassSpace]:
        """Return every class space of a model."""
        query = select(ClassSpaceRow).where(ClassSpaceRow.model_id == model.id).order_by(ClassSpaceRow.id)
        return [self._convert(row) for row in self._session.scalars(query)]

    def add(self, space: NewClassSpace) -> ClassSpace:
        """Insert a class space, as :meth:`add_all` does."""
        return self.add_all([space])[0]

    def add_all(self, spaces: Sequence[NewClassSpace]) -> list[ClassSpace]:
        """Insert class spaces of one model, and return them in order; their ids are assigned here.

        One collected meanwhile by somebody else is kept.
        """
        if not spaces:
            return []
        specs = [space.spec_digest for space in spaces]
        known = self._of_specs(spaces[0].model_id, specs)
        self._session.add_all(_new_row(space) for space in spaces if _name(space) not in known)
        self._session.flush()
        stored = self._of_specs(spaces[0].model_id, specs)
        return [stored[_name(space)] for space in spaces]

    def renew(self, space: NewClassSpace) -> ClassSpace:
        """Put a class space that was collected again in the place of one whose object is damaged.

        The bytes may differ: another machine rounds differently. What is left of the old object is garbage then.
        """
        known = self._row(space.model_id, space.class_index, space.spec_digest)
        if known is None or known.blob == space.object_digest:
            return self.add(space)
        old, known.blob = known.blob, space.object_digest
        known.samples_digest, known.maps = space.samples_digest, convert.map_summaries(space)
        known.created_at = space.created_at
        self._session.flush()
        as_weights = self._session.scalar(select(VersionRow.number).where(VersionRow.weights == old).limit(1))
        as_space = self._session.scalar(select(ClassSpaceRow.id).where(ClassSpaceRow.blob == old).limit(1))
        if as_weights is None and as_space is None:
            self._objects.note_destroyed(old, at=space.created_at)
        return self._convert(known)

    def _row(self, model_id: int, class_index: int, spec_digest: str) -> ClassSpaceRow | None:
        query = select(ClassSpaceRow).where(
            ClassSpaceRow.model_id == model_id,
            ClassSpaceRow.class_index == class_index,
            ClassSpaceRow.spec_digest == spec_digest,
        )
        return self._session.scalar(query)

    def _convert(self, row: ClassSpaceRow) -> ClassSpace:
        stored = self._session.get(ObjectRow, row.blob)
        # A missing row means a damaged database, which a check must still be able to read.
        return convert.class_space(row, 0 if stored is None else stored.size)


def _name(space: NewClassSpace) -> tuple[int, str]:
    return space.class_index, space.spec_digest


def _new_row(space: NewClassSpace) -> ClassSpaceRow:
    return ClassSpaceRow(
        model_id=space.model_id,
        class_index=space.class_index,
        spec_digest=space.spec_digest,
        samples=list(space.samples),
        samples_digest=space.samples_digest,
        blob=space.object_digest,
        maps=convert.map_summaries(space),
        created_at=space.created_at,
        anchor=space.anchor,
    )
