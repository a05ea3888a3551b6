"""Store an object that will be referred to soon; and say in our words what a disk says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ledger.digest import sha256_hex
from ledger.errors import LedgerError

from .ledger import Ledger


def store_object(ledger: Ledger, data: bytes) -> str:
    """Store bytes and return their digest, as :func:`store_objects` does with some."""
    return store_objects(ledger, [data])[0]


def store_objects(ledger: Ledger, some: Sequence[bytes]) -> list[str]:
    """Store bytes and return their digests; garbage collection leaves them alone until something refers to them.

    The transaction that refers to them, through ``tx.objects``, ends the promise.

    Raises:
        LedgerError: They cannot be written.
    """
    digests = [sha256_hex(data) for data in some]
    # What is appended to the audit log need not wait for this.
    with ledger.database.touch(guarded=True) as tx:
        tx.leases.take(*digests)
    try:
        return [ledger.objects.put(data) for data in some]
    except LedgerError:
        # Not all were stored, so nothing is promised; if that cannot be written either, the leases run out.
        with suppress(LedgerError), ledger.database.write() as tx:
            tx.leases.give_back(digests)
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
