"""Which faults of the surroundings pass by themselves, so that a request is tried again instead of failed."""

import errno
from collections.abc import Iterator

from ledger.errors import (
    ConflictError,
    GateError,
    LedgerError,
    NotFoundError,
    PluginError,
    RefusedError,
    RetryLaterError,
    TransientError,
    UsageError,
)

PERMANENT = (UsageError, NotFoundError, ConflictError, GateError, RefusedError, PluginError)
"""What is wrong with data, weights, plugins or the request itself, whatever caused it: waiting does not help."""
ERROR_NUMBERS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
"""No space or quota left, a device that fails, no memory, too many open files, a file server or network that is away.
Missing permissions are not among them, nor is a file that is larger than the file system allows."""
FULL_DATABASE = ("disk is full", "no space", "disk i/o")
FULL_SERVER = "53"
"""PostgreSQL: how the codes begin that say that the server lacks disk space, memory or connections."""
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""How torch says so; its error is a RuntimeError."""
HINT = "the request is back in the queue; see to the cause, then run the same command again"


def as_transient(error: Exception) -> RetryLaterError | None:
    """Return an error that asks to try again later, or None if the request cannot succeed as it is.

    The causes of an error count too: an object that could not be stored because the disk is full is transient, an image
    that could not be read is not.

    Args:
        error: What came out of the work on a request.
    """
    if isinstance(error, RetryLaterError):
        return error
    if isinstance(error, PERMANENT) or not any(map(_passes, _chain(error))):
        return None
    message = error.message if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return TransientError(message, HINT)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _passes(error: BaseException) -> bool:
    if isinstance(error, MemoryError | ConnectionError | TimeoutError | RetryLaterError):
        return True
    if isinstance(error, OSError):
        return error.errno in ERROR_NUMBERS
    text = str(error).lower()
    if isinstance(error, RuntimeError):
        return type(error).__name__ == "OutOfMemoryError" or any(part in text for part in OUT_OF_MEMORY)
    # The database's driver put its own error beside the one that the library raises.
    driver = getattr(error, "orig", None)
    if driver is None:
        return False
    state = getattr(driver, "sqlstate", None) or ""
    return state.startswith(FULL_SERVER) or any(part in text for part in FULL_DATABASE)
