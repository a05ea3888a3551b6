"""Sign checkpoints of the audit log.

Signing follows the auditor's rule: a checkpoint is only issued where the audit log continues the last one. The signer
remembers that one beside its key, outside the database, so that putting back an old database is noticed.
"""

import logging
import time
from dataclasses import dataclass
from functools import partial

from ledger.audit.chain import Head
from ledger.audit.merkle import EMPTY_ROOT
from ledger.audit.signed_notes import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from ledger.config import Config
from ledger.durable_files import Existing, write_file
from ledger.errors import AuditError, BusyError, LedgerError, SignatureError, UnreachableError
from ledger.service.guard import named_key
from ledger.service.kept_checkpoints import STATE, keep_elsewhere, owed_since
from ledger.service.ledger import Ledger
from ledger.service.retry import retry_when_busy
from ledger.service.signing import MEMORY, create_signer, last_signed, load_signer
from ledger.store.repositories.checkpoints import StoredCheckpoint
from ledger.store.unit_of_work import Transaction

from .state_note import REACH, StateNote

RETRY_SECONDS = 60.0
"""For which a ``checkpoint_to`` that was out of reach is not tried again."""
log = logging.getLogger("unledger.checkpoints")


@dataclass(frozen=True)
class SignedLog:
    """A checkpoint, and the signed notes of what was forgotten that are still to be kept with it."""

    stored: StoredCheckpoint
    checkpoint: Checkpoint
    here: str | None
    """For the keys folder; None where that has it."""
    away: str | None
    """For ``checkpoint_to``; None where that has it, or is not set."""


def issue_checkpoint(ledger: Ledger) -> StoredCheckpoint:
    """Sign the audit log as it is now; nothing new is signed where nothing was appended.

    The checkpoint is remembered beside the key and written to ``checkpoint_to``, with a note of what is forgotten.

    Raises:
        KeysError: The signing key is missing, or another ledger's.
        OlderDatabaseError: The audit log lacks entries that were signed.
        AuditError: The audit log does not continue the last checkpoint. Nothing is signed or forgotten.
        RefusedError: Others may read the key.
        LedgerError: It was signed, and cannot be remembered or written to ``checkpoint_to``.
    """
    signed = _sign(ledger)
    _keep_here(ledger.config, signed)
    _keep_there(ledger.config, signed)
    return signed.stored


def newest_checkpoint(ledger: Ledger) -> StoredCheckpoint | None:
    """Return the checkpoint that was signed last, None before there is one; nothing is signed."""
    with ledger.database.read() as tx:
        return tx.checkpoints.last()


def keep_checkpoint(ledger: Ledger) -> bool:
    """Sign the audit log after a change that an older database would undo, and say whether that went well.

    The change is made and stays: where no checkpoint can be signed, a warning is logged, and the next one makes up for
    it. So it is with a ``checkpoint_to`` that is out of reach, which then is left in peace for a while.
    """
    try:
        signed = retry_when_busy(partial(_sign, ledger))
    except LedgerError as error:
        _warn(error)
        return False
    return keep_signed(ledger, signed)


def sign_with_change(tx: Transaction, ledger: Ledger) -> SignedLog | None:
    """Sign the audit log in the transaction of a change that an older database would undo, at its end.

    Other writers wait once instead of twice. Where no checkpoint can be signed, the change is made all the same, as
    with :func:`keep_checkpoint`.

    Args:
        tx: The transaction.
        ledger: The ledger.

    Returns:
        What :func:`keep_signed` shall keep as soon as the transaction is committed; None if nothing was signed.

    Raises:
        BusyError: The whole transaction has to be tried again.
        UnreachableError: Likewise.
    """
    try:
        with tx.attempt():
            return _sign_in(tx, ledger)
    except (BusyError, UnreachableError):
        raise
    except LedgerError as error:
        _warn(error)
        return None


def keep_signed(ledger: Ledger, signed: SignedLog | None) -> bool:
    """Keep what was signed outside the database, now that it is committed; say whether all went well."""
    if signed is None:
        return False
    try:
        _keep_here(ledger.config, signed)
    except LedgerError as error:
        _warn(error)
        return False
    if time.monotonic() >= ledger.elsewhere_again:
        try:
            _keep_there(ledger.config, signed)
        except LedgerError as error:
            ledger.elsewhere_again = time.monotonic() + RETRY_SECONDS
            log.warning("%s; %s", error.message, error.hint)
    return True


def _warn(error: LedgerError) -> None:
    log.warning("no checkpoint was signed after this change: %s; sign one with: unledger audit checkpoint", error)


def is_owed(ledger: Ledger) -> bool:
    """Whether ``checkpoint_to`` lacks the last checkpoint, and it is time to try again."""
    if ledger.config.checkpoint_to is None or time.monotonic() < ledger.elsewhere_again:
        return False
    try:
        memory = last_signed(ledger.config)
        known = None if memory is None else Checkpoint.of_note(memory)
    except LedgerError:
        return False
    return known is not None and owed_since(ledger.config, known.size, known.root.hex()) is not None


def _sign(ledger: Ledger) -> SignedLog:
    with ledger.database.write() as tx:
        return _sign_in(tx, ledger)


def _sign_in(tx: Transaction, ledger: Ledger) -> SignedLog:
    config = ledger.config
    last, memory = tx.checkpoints.last(), last_signed(config)
    signer = _signer(tx, config, last, memory)
    known = _last_known(signer, last, memory)
    head = _require_continuation(tx, known)
    checkpoint = Checkpoint(signer.name, head.size, tx.audit.root())
    root = checkpoint.root.hex()
    if last is not None and last.size == head.size:
        issued = last
    else:
        issued = StoredCheckpoint(head.size, root, sign_checkpoint(checkpoint, signer), ledger.clock())
        tx.checkpoints.add(issued)
    here, owed = None, owed_since(config, head.size, root)
    if issued.note != memory:
        here = StateNote.signed(tx, signer, head.size - REACH)
    away = None if owed is None else StateNote.signed(tx, signer, owed)
    return SignedLog(issued, checkpoint, here, away)


def _keep_here(config: Config, signed: SignedLog) -> None:
    """Remember what was signed, beside the key: the transaction that it tells of is over."""
    if signed.here is None or _is_newer(last_signed(config), signed.checkpoint):
        return
    try:
        # First the state: a checkpoint is not remembered without it.
        _remember(config, STATE, signed.here.encode())
        _remember(config, MEMORY, signed.stored.note.encode())
    except OSError as error:
        raise LedgerError(
            f"the checkpoint is issued but cannot be remembered: {error.strerror}",
            f"check permissions of {config.keys_path} and disk space",
        ) from error


def _keep_there(config: Config, signed: SignedLog) -> None:
    if signed.away is not None:
        keep_elsewhere(config, signed.checkpoint, signed.stored.note, signed.away)


def _is_newer(memory: str | None, checkpoint: Checkpoint) -> bool:
    # Another process may have signed and remembered more since.
    return memory is not None and Checkpoint.of_note(memory).size > checkpoint.size


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


def _require_continuation(tx: Transaction, known: Checkpoint) -> Head:
    try:
        return tx.audit.verify_since(known)
    except AuditError as error:
        raise AuditError(
            f"nothing was signed: the audit log does not continue the last checkpoint of {known.size} entries: "
            f"{error.message}",
            "see: unledger audit verify. If an old backup took the place of a lost database, go on with: "
            "unledger recover",
            seq=error.seq,
        ) from error


def _remember(config: Config, name: str, note: bytes) -> None:
    write_file(
        config.keys_path / name,
        [note],
        existing=Existing.REPLACE,
        mode=0o600,
        check=lambda file: file.read() == note,
    )
