"""Sign checkpoints of the audit log.

Signing follows the auditor's rule: a checkpoint is only issued where the audit log continues the last one. The signer
remembers that one beside its key, outside the database, so that putting back an old database is noticed.
"""

from ledger.audit.chain import Head
from ledger.audit.merkle import EMPTY_ROOT
from ledger.audit.signed_notes import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from ledger.config import Config
from ledger.durable_files import Existing, write_file
from ledger.errors import AuditError, LedgerError, SignatureError
from ledger.service.guard import named_key
from ledger.service.kept_checkpoints import SUFFIX, keep_elsewhere
from ledger.service.ledger import Ledger
from ledger.service.signing import MEMORY, create_signer, last_signed, load_signer
from ledger.store.repositories.checkpoints import StoredCheckpoint
from ledger.store.unit_of_work import Transaction


def issue_checkpoint(ledger: Ledger) -> StoredCheckpoint:
    """Sign the audit log as it is now; nothing new is signed where nothing was appended.

    Raises:
        AuditError: The audit log does not continue the last checkpoint. Nothing is signed or forgotten.
        NotFoundError: Checkpoints were issued, but their key is gone.
        RefusedError: Others may read the key.
    """
    with ledger.database.write() as tx:
        last, memory = tx.checkpoints.last(), last_signed(ledger.config)
        signer = _signer(tx, ledger.config, last, memory)
        known = _last_known(signer, last, memory)
        head = _require_continuation(tx, known, ledger.config)
        if last is not None and last.size == head.size:
            issued = last
        else:
            checkpoint = Checkpoint(signer.name, head.size, tx.audit.root())
            note = sign_checkpoint(checkpoint, signer)
            issued = StoredCheckpoint(head.size, checkpoint.root.hex(), note, ledger.clock())
            tx.checkpoints.add(issued)
    try:
        if issued.note != memory:
            _remember(ledger.config, issued.note.encode())
    except OSError as error:
        raise LedgerError(f"the checkpoint is issued but cannot be remembered: {error.strerror}") from error
    keep_elsewhere(ledger.config, signer.name, issued.size, {SUFFIX: issued.note})
    return issued


def own_signer(tx: Transaction, config: Config) -> Signer:
    """Return the ledger's signing key. It is made only in a ledger of before there were keys that never signed.

    Raises:
        NotFoundError: It has signed, and is gone.
        RefusedError: Others may read it.
    """
    return _signer(tx, config, tx.checkpoints.last(), last_signed(config))


def _signer(tx: Transaction, config: Config, last: StoredCheckpoint | None, memory: str | None) -> Signer:
    # Ledgers of before there were checkpoints were born without a key.
    born_without = last is None and memory is None and named_key(tx.audit) is None
    return create_signer(config) if born_without else load_signer(config)


def _last_known(signer: Signer, last: StoredCheckpoint | None, memory: str | None) -> Checkpoint:
    notes = [memory] if memory is not None else []
    notes += [last.note] if last is not None else []
    try:
        known = [open_checkpoint(note, [signer.verifier]) for note in notes]
    except SignatureError as error:
        raise SignatureError(
            "nothing was signed: the last checkpoint was not signed with this ledger's key, or was altered",
            "restore the key it was signed with",
        ) from error
    # Usually both are the same one; after a crash between the two writes the signer remembers the one before.
    return max(known, key=lambda checkpoint: checkpoint.size, default=Checkpoint(signer.name, 0, EMPTY_ROOT))


def _require_continuation(tx: Transaction, known: Checkpoint, config: Config) -> Head:
    try:
        return tx.audit.verify_since(known)
    except AuditError as error:
        raise AuditError(
            f"nothing was signed: the history does not continue the last checkpoint of {known.size} entries: "
            f"{error.message}",
            "see: unledger audit verify. If an old backup was put back on purpose, move "
            f"{config.keys_path / MEMORY} to where it stays on record",
            seq=error.seq,
        ) from error


def _remember(config: Config, note: bytes) -> None:
    write_file(
        config.keys_path / MEMORY,
        [note],
        existing=Existing.REPLACE,
        mode=0o600,
        check=lambda file: file.read() == note,
    )
