"""The ledger itself, as documents."""

from ledger.desk.asked import ModelKey
from ledger.documents.document import Document
from ledger.documents.requests import status_document
from ledger.documents.upkeep import ledger_document
from ledger.service.ledger import Ledger
from ledger.service.requests.status import status
from ledger.service.upkeep.facts import read_facts

from .names import optional_name


class LocalUpkeep:
    """Answers questions about the ledger itself.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def facts(self) -> Document:
        """Return what the ledger is, and whether it may be written to."""
        return ledger_document(read_facts(self._ledger))

    def status(self, model: ModelKey | None = None, *, most: int | None = None, overdue: bool = False) -> Document:
        """Return what is live, open and late, and which workers are there.

        Args:
            model: Only this model.
            most: How many requests to list of each model; None lists all.
            overdue: List only what is late.

        Raises:
            NotFoundError: There is no such model.
        """
        found = status(self._ledger, optional_name(self._ledger, model), most=most)
        return status_document(found, [(one, one.overdue if overdue else one.open) for one in found.models])
