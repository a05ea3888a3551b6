"""Documents of errors."""

from ledger.errors import LedgerError

from .document import Document, document

PARTS = frozenset({"message", "hint"})
"""Attributes that every error has."""


def error_part(error: BaseException) -> Document:
    """Return an error: its class, what it says, and the data that its class adds."""
    if not isinstance(error, LedgerError):
        return _part(error, str(error), "", LedgerError.exit_code)
    data = {name: value for name, value in vars(error).items() if name not in PARTS}
    return {**_part(error, error.message, error.hint, error.exit_code), **data}


def error_document(error: BaseException, *, message: str, hint: str, exit_code: int) -> Document:
    """Return the document of an error that ends a command."""
    return document("error", {**error_part(error), **_part(error, message, hint, exit_code)})


def _part(error: BaseException, message: str, hint: str, exit_code: int) -> Document:
    return {"error": type(error).__name__, "message": message, "hint": hint, "exit_code": exit_code}
