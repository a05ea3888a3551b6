"""Registered models, as documents."""

from ledger.desk.asked import ModelKey
from ledger.documents import models as documents
from ledger.documents.document import Document
from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model
from ledger.service.versions.model_history import list_models, read_model_history

from .names import model_name


class LocalModels:
    """Answers questions about registered models.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def all(self) -> Document:
        """Return every model with its live version, by name."""
        return documents.models_document(list_models(self._ledger))

    def show(self, model: ModelKey) -> Document:
        """Return a model, its live version, and the newest evidence on that.

        Raises:
            NotFoundError: There is no such model.
        """
        known = read_model_history(self._ledger, model_name(self._ledger, model))
        return documents.model_document(known, known.live)

    def labels(self, model: ModelKey) -> list[str]:
        """Return the labels of a model's classes, in the order of its outputs.

        Raises:
            NotFoundError: There is no such model.
        """
        return list(get_model(self._ledger, model_name(self._ledger, model)).labels.labels)

    def spaces(self, model: ModelKey) -> Document:
        """Return the class spaces that are stored of a model.

        Raises:
            NotFoundError: There is no such model.
        """
        known = read_model_history(self._ledger, model_name(self._ledger, model))
        return documents.class_spaces_document(known.model, known.spaces)
