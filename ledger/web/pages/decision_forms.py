"""What every form has in common with which somebody decides about requests."""

from datetime import datetime

from ledger.desk.local.desk import LocalDesk
from ledger.domain.states import Action
from ledger.errors import UsageError

from .dates import chosen_day, end_of_day_in


def require_reason(reason: str) -> None:
    """Refuse a decision without a reason.

    Raises:
        UsageError: There is none.
    """
    if not reason.strip():
        raise UsageError("a decision needs a reason", "give one: it is kept in the history")


def require_fitting_day(action: str, due: str) -> None:
    """Refuse a new due date with a decision that gives no more time: what is typed must not go unheard.

    Raises:
        UsageError: There is one.
    """
    if due and action != Action.EXTEND:
        raise UsageError(f"to {action} moves no due date", "choose extend, or leave the date out")


def new_due_date(desk: LocalDesk, due: str) -> datetime:
    """Return the new due date that was chosen: the end of a day, where the ledger is kept.

    Raises:
        UsageError: No day was chosen, or none of the calendar.
    """
    day = chosen_day(due)
    if day is None:
        raise UsageError("extending needs a new due date", "choose a day")
    return end_of_day_in(desk, day)
