"""Store an object that will be referred to soon; and say in our words what a disk says."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ledger.digest import sha256_hex
from ledger.errors import LedgerError

from .ledger import Ledger


def store_object(ledger: Ledger, data: bytes) -> str:
    """Store bytes and return their digest; garbage collection leaves them alone until something refers to them.

    The transaction that refers to them, through ``tx.objects.add``, ends the promise.

    Raises:
        LedgerError: They cannot be written.
    """
    digest = sha256_hex(data)
    with ledger.database.write() as tx:
        tx.leases.take(digest)
    try:
        return ledger.objects.put(data)
    except LedgerError:
        # Nothing was stored, so nothing is promised; if that cannot be written either, the lease runs out by itself.
        with suppress(LedgerError), ledger.database.write() as tx:
            tx.leases.give_back(digest)
        raise


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what goes wrong with the folders of objects and keys into the ledger's own errors."""
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"cannot look through stored objects: {error.strerror}: {error.filename}", "check the disk and permissions"
        ) from error
