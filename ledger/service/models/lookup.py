"""Read what is registered about one model. Reads SQL only: no torch, no weights."""

from ledger.domain.models import Model
from ledger.service.ledger import Ledger


def get_model(ledger: Ledger, name: str) -> Model:
    """Return a model by its name.

    Raises:
        NotFoundError: There is none of this name.
    """
    with ledger.database.read() as tx:
        return tx.models.get(name)


def get_model_numbered(ledger: Ledger, number: int) -> Model:
    """Return a model by its number.

    Raises:
        NotFoundError: There is none of this number.
    """
    with ledger.database.read() as tx:
        return tx.models.numbered(number)
