"""Certificates, and the copies of weights that a certificate has to name: queries only."""

from collections.abc import Collection

from sqlalchemy import func, null, select, update
from sqlalchemy.orm import Session

from ledger.domain.certificates import Certificate, KnownVersion
from ledger.domain.class_spaces import ClassSpace
from ledger.domain.models import Model
from ledger.domain.requests import Request
from ledger.errors import NotFoundError
from ledger.store.database.tables import AliasRow, CertificateRow, ClassSpaceRow, ObjectRow, RequestRow, VersionRow

from . import convert


class Certificates:
    """Certificates that were issued."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def next_id(self) -> int:
        """Return the number of the next certificate. The caller holds the write lock."""
        return (self._session.scalar(select(func.max(CertificateRow.id))) or 0) + 1

    def add(self, certificate: Certificate) -> None:
        """Insert a certificate under its number."""
        openings = certificate.openings
        self._session.add(
            CertificateRow(
                id=certificate.id,
                request_id=certificate.request_id,
                version=certificate.version,
                envelope=certificate.envelope,
                openings={"classes": list(openings)} if openings is not None else None,
                audit_seq=certificate.audit_seq,
                created_at=certificate.created_at,
            )
        )
        self._session.flush()

    def get(self, number: int) -> Certificate:
        """Return a certificate.

        Raises:
            NotFoundError: There is none with this number.
        """
        return _certificate(self._row(number))

    def all(self, request: Request | None = None) -> list[Certificate]:
        """Return certificates in the order they were issued."""
        query = select(CertificateRow).order_by(CertificateRow.id)
        if request is not None:
            query = query.where(CertificateRow.request_id == request.id)
        return [_certificate(row) for row in self._session.scalars(query)]

    def models(self) -> dict[int, int]:
        """Return the model's number of each request that has a certificate: most requests have none."""
        certified = select(CertificateRow.request_id)
        query = select(RequestRow.id, RequestRow.model_id).where(RequestRow.id.in_(certified))
        return {request: model for request, model in self._session.execute(query)}  # noqa: C416 - rows are no pairs to a type checker

    def newest(self, request: Request) -> Certificate | None:
        """Return the certificate that was issued last for a request."""
        query = (
            select(CertificateRow)
            .where(CertificateRow.request_id == request.id)
            .order_by(CertificateRow.id.desc())
            .limit(1)
        )
        row = self._session.scalar(query)
        return None if row is None else _certificate(row)

    def erase_openings(self, number: int) -> None:
        """Erase what opens a certificate's commitments."""
        # SQL's own NULL: a None would be written as the JSON text null.
        erase = update(CertificateRow).where(CertificateRow.id == number).values(openings=null())
        self._session.execute(erase)

    def versions(self, model: Model) -> list[KnownVersion]:
        """Return what is known of the copies of a model's versions, oldest first."""
        aliases: dict[int, list[str]] = {}
        for alias in self._session.scalars(select(AliasRow).where(AliasRow.model_id == model.id)):
            aliases.setdefault(alias.version, []).append(alias.name)
        query = (
            select(VersionRow, ObjectRow.destroyed_at)
            .join(ObjectRow, ObjectRow.digest == VersionRow.weights)
            .where(VersionRow.model_id == model.id)
            .order_by(VersionRow.number)
        )
        return [
            KnownVersion(
                row.number,
                row.weights,
                frozenset(row.forgotten),
                tuple(sorted(aliases.get(row.number, ()))),
                destroyed_at,
                row.quarantined,
            )
            for row, destroyed_at in self._session.execute(query)
        ]

    def statistics(self, model: Model, classes: Collection[int]) -> list[ClassSpace]:
        """Return the class spaces of some classes whose objects were not destroyed."""
        query = (
            select(ClassSpaceRow, ObjectRow.size)
            .join(ObjectRow, ObjectRow.digest == ClassSpaceRow.blob)
            .where(
                ClassSpaceRow.model_id == model.id,
                ClassSpaceRow.class_index.in_(sorted(classes)),
                ObjectRow.destroyed_at.is_(None),
            )
            .order_by(ClassSpaceRow.id)
        )
        return [convert.class_space(row, size) for row, size in self._session.execute(query)]

    def _row(self, number: int) -> CertificateRow:
        row = self._session.get(CertificateRow, number, populate_existing=True)
        if row is None:
            raise NotFoundError(f"there is no certificate {number}", "see: unledger certificate list")
        return row


def _certificate(row: CertificateRow) -> Certificate:
    return Certificate(
        id=row.id,
        request_id=row.request_id,
        version=row.version,
        envelope=row.envelope,
        openings=None if row.openings is None else tuple(row.openings["classes"]),
        audit_seq=row.audit_seq,
        created_at=row.created_at,
    )
