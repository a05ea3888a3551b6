"""Problems that a server answers with (RFC 9457), as the errors of this package that they stand for."""

from typing import Any

from ledger import errors
from ledger.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    LedgerError,
    NotFoundError,
    RetryLaterError,
)

HTTP = frozenset({"type", "title", "status", "detail", "error", "hint", "exit_code", "faults"})
"""Members of every problem; all others are the data of the error's class."""
BY_STATUS: dict[int, type[LedgerError]] = {
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    502: RetryLaterError,
    503: RetryLaterError,
    504: RetryLaterError,
}
"""What an answer means that names no error: that of a proxy before the server, for example."""


def error_of(status: int, body: Any) -> LedgerError:
    """Return the error that an answer tells of.

    Args:
        status: The answer's status.
        body: Its JSON, if it has any.
    """
    if not isinstance(body, dict) or not isinstance(body.get("detail"), str):
        kind = BY_STATUS.get(status, LedgerError)
        return kind(f"the server answers with the status {status} and no reason", "look at the server's log")
    kind = _class(body.get("error")) or BY_STATUS.get(status, LedgerError)
    hint = body.get("hint")
    # Classes of errors take their own data each in its own way; all of it ends up as attributes.
    error = kind.__new__(kind)
    LedgerError.__init__(error, body["detail"], hint if isinstance(hint, str) else "")
    vars(error).update({name: value for name, value in body.items() if name not in HTTP})
    return error


def _class(name: object) -> type[LedgerError] | None:
    found = getattr(errors, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, LedgerError) else None
