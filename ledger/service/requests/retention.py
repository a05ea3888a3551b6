"""How few classes a model may be left with."""

from ledger.domain.models import Model
from ledger.errors import TooFewRetainedError


def check_retained(model: Model, forgotten: frozenset[int]) -> None:
    """Refuse to leave fewer classes than the model's minimum.

    Raises:
        TooFewRetainedError: With the numbers.
    """
    left = len(model.labels) - len(forgotten)
    if left < model.settings.min_retained:
        raise TooFewRetainedError(
            f"{model.name} would retain {left} of {len(model.labels)} classes; its minimum is "
            f"{model.settings.min_retained}",
            "open requests count; to retire a model altogether, delete it where it is deployed",
        )
