"""Store an object that will be referred to soon: first the promise, then the bytes."""

from ledger.digest import sha256_hex

from .ledger import Ledger


def store_object(ledger: Ledger, data: bytes) -> str:
    """Store bytes and return their digest; garbage collection leaves them alone until something refers to them.

    The transaction that refers to them, through ``spaces.add_blob``, ends the promise.

    Raises:
        LedgerError: They cannot be written.
    """
    digest = sha256_hex(data)
    with ledger.database.write() as tx:
        tx.leases.take(digest)
    return ledger.blobs.put(data)
