"""Results that are kept so that they need not be computed again: queries only."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.domain.kept_results import KeptResult, ResultKind
from ledger.domain.models import Model
from ledger.store.database.tables import KeptResultRow

from . import convert


class KeptResults:
    """The results that are kept, one of each kind for a model and anchor."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, model: Model, anchor: int, kind: ResultKind) -> KeptResult | None:
        """Return what is kept, if anything is."""
        row = self._session.get(KeptResultRow, (model.id, anchor, kind.value))
        return None if row is None else convert.kept_result(row)

    def all(self, model: Model) -> list[KeptResult]:
        """Return everything that was kept of a model, by anchor and kind."""
        query = select(KeptResultRow).where(KeptResultRow.model_id == model.id)
        rows = self._session.scalars(query.order_by(KeptResultRow.anchor, KeptResultRow.kind))
        return [convert.kept_result(row) for row in rows]

    def put(self, result: KeptResult) -> None:
        """Insert a result, in the place of the one that was kept before."""
        row = self._session.get(KeptResultRow, (result.model_id, result.anchor, result.kind.value))
        if row is None:
            row = KeptResultRow(model_id=result.model_id, anchor=result.anchor, kind=result.kind.value)
            self._session.add(row)
        row.members = [list(member) for member in result.members]
        row.parts = [
            {"names": list(part.names), "object": part.object_digest, "size": part.size} for part in result.parts
        ]
        row.created_at = result.created_at
        self._session.flush()
