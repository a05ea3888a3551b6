"""Forms that were refused: shown again, with the reason and with what was typed."""

from http import HTTPStatus
from typing import Any, NamedTuple

from ledger.errors import LedgerError
from ledger.web.problems import status_of

MENDABLE = frozenset(
    {HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses of what somebody can put right in the form, or leave to a second person; all else is a page of its own."""


class Refusal(NamedTuple):
    """Why a form was refused, and what was typed into it."""

    problem: LedgerError
    typed: dict[str, Any]

    @property
    def status(self) -> int:
        """The status of the page that shows the form again."""
        return status_of(self.problem)


def refusal(error: LedgerError, **typed: Any) -> Refusal:
    """Return the refusal of a form that somebody can put right.

    Args:
        error: Why it was refused.
        typed: What was typed, by the names of the fields.

    Raises:
        LedgerError: This one, if the form is not at fault.
    """
    if status_of(error) not in MENDABLE:
        raise error
    return Refusal(error, typed)


def status_after(refused: Refusal | None) -> int:
    """Return the status of a page with a form that was refused, or was not sent yet."""
    return HTTPStatus.OK if refused is None else refused.status


def typed_into(refused: Refusal | None, **untouched: Any) -> dict[str, Any]:
    """Return what the fields of a form hold: what was typed, or what they hold before anything is."""
    return untouched if refused is None else {**untouched, **refused.typed}
