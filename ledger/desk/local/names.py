"""Models are asked for by name or by number; services know them by name."""

from ledger.desk.asked import ModelKey
from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model_numbered


def model_name(ledger: Ledger, model: ModelKey) -> str:
    """Return the name of a model.

    Raises:
        NotFoundError: There is none of this number.
    """
    return model if isinstance(model, str) else get_model_numbered(ledger, model).name


def optional_name(ledger: Ledger, model: ModelKey | None) -> str | None:
    """Return the name of a model; None stands for all of them.

    Raises:
        NotFoundError: There is none of this number.
    """
    return None if model is None else model_name(ledger, model)
