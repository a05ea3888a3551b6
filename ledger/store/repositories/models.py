"""Registered models: queries only."""

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from ledger.domain.models import Model, NewModel
from ledger.errors import ConflictError, NotFoundError
from ledger.store.database.tables import ModelRow

from . import convert


class Models:
    """Registered models."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: dict[int, ModelRow] = {}
        """Rows that were asked for by their ids: the session itself forgets a row as soon as nobody holds it."""

    def add(self, model: NewModel) -> Model:
        """Insert a model; its id is assigned here.

        Raises:
            ConflictError: The name is taken.
        """
        if self._session.scalar(select(ModelRow.id).where(ModelRow.name == model.name)) is not None:
            raise ConflictError(f"there is already a model called {model.name!r}", "choose another name")
        row = ModelRow(
            name=model.name,
            architecture=model.architecture.spec,
            options=model.architecture.options,
            labels=list(model.labels.labels),
            preprocessing=model.preprocessing.to_json(),
            data_spec=model.data_spec,
            data_digest=model.data_digest,
            data_record=model.data.to_json(),
            code_digest=model.code_digest,
            settings=model.settings.to_json(),
            created_at=model.created_at,
            salt=secrets.token_hex(16),
        )
        self._session.add(row)
        self._session.flush()
        return convert.model(row)

    def get(self, name: str) -> Model:
        """Return a model by name.

        Raises:
            NotFoundError: There is none.
        """
        row = self._session.scalar(select(ModelRow).where(ModelRow.name == name))
        if row is None:
            names = [model.name for model in self.all()]
            raise NotFoundError(
                f"there is no model called {name!r}",
                f"models: {', '.join(map(str, names))}" if names else "register one: unledger model add",
            )
        return convert.model(row)

    def by_id(self, model_id: int) -> Model:
        """Return a model by id. Within a transaction its row is read once."""
        row = self._held.get(model_id)
        if row is None:
            row = self._held[model_id] = self._session.get_one(ModelRow, model_id)
        return convert.model(row)

    def numbered(self, number: int) -> Model:
        """Return a model by the number that somebody asks for.

        Raises:
            NotFoundError: There is none.
        """
        row = self._session.get(ModelRow, number)
        if row is None:
            raise NotFoundError(f"there is no model {number}", "see: unledger model list --json")
        return convert.model(row)

    def start_from(self, model: Model, anchor: int) -> None:
        """Let computations start from another version."""
        self._session.get_one(ModelRow, model.id).anchor = anchor
        self._session.flush()

    def rebind(self, model: Model) -> None:
        """Let a model read its images and its code as the given value of it says."""
        row = self._session.get_one(ModelRow, model.id)
        row.data_spec, row.data_digest, row.data_record = model.data_spec, model.data_digest, model.data.to_json()
        row.architecture, row.code_digest = model.architecture.spec, model.code_digest
        self._session.flush()

    def ensure_salt(self, model: Model) -> None:
        """Give a model of an earlier release the salt that keeps the digest of its row from being guessed."""
        row = self._session.get_one(ModelRow, model.id)
        row.salt = row.salt or secrets.token_hex(16)
        self._session.flush()

    def all(self) -> list[Model]:
        """Return every model, by name."""
        return [convert.model(row) for row in self._session.scalars(select(ModelRow).order_by(ModelRow.name))]

    def names(self) -> dict[int, str]:
        """Return the name of every model by its id, in the order of the names."""
        rows = self._session.execute(select(ModelRow.id, ModelRow.name).order_by(ModelRow.name))
        return {row.id: row.name for row in rows}
