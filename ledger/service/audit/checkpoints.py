"""Sign the history's state, prove single entries, and verify it against what was kept elsewhere.

Signing follows the auditor's rule: a checkpoint is only issued where the history continues the last one. The signer
remembers that one beside its key, outside the database, so that putting back an old database is noticed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.audit.chain import Head
from ledger.audit.exports import Export, read_export
from ledger.audit.merkle import EMPTY_ROOT
from ledger.audit.proofs import Proof
from ledger.audit.signed_notes import Checkpoint, Signer, Verifier, open_checkpoint, sign_checkpoint
from ledger.audit.verification import HistoryCheck, Kept
from ledger.audit.witness import read_witness
from ledger.config import Config
from ledger.durable_files import write_file
from ledger.errors import AuditError, ConflictError, LedgerError, NotFoundError, RefusedError, SignatureError
from ledger.service.ledger import Ledger
from ledger.service.signing import create_signer, load_signer
from ledger.store.repositories.checkpoints import StoredCheckpoint
from ledger.store.unit_of_work import Transaction

MEMORY = "checkpoint"
"""File beside the signing key that holds the last checkpoint it signed."""


@dataclass(frozen=True)
class Verified:
    """What a verification found in order."""

    head: Head
    root: str
    signed: int
    """Entries that a checkpoint signed by a known key covers."""


def issue_checkpoint(ledger: Ledger) -> StoredCheckpoint:
    """Sign the history as it is now; nothing new is signed where nothing was appended.

    Raises:
        AuditError: The history does not continue the last checkpoint. Nothing is signed or forgotten.
        NotFoundError: Checkpoints were issued, but their key is gone.
        RefusedError: Others may read the key.
    """
    with ledger.database.write() as tx:
        last, memory = tx.checkpoints.last(), _memory(ledger.config)
        signer = _signer(ledger.config, last, memory)
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
    return issued


def own_signer(tx: Transaction, config: Config) -> Signer:
    """Return the ledger's signing key. Where nothing was signed yet, it is made if need be; else it must be there.

    Raises:
        NotFoundError: It has signed, and is gone.
        RefusedError: Others may read it.
    """
    return _signer(config, tx.checkpoints.last(), _memory(config))


def _signer(config: Config, last: StoredCheckpoint | None, memory: str | None) -> Signer:
    return create_signer(config) if last is None and memory is None else load_signer(config)


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
    write_file(config.keys_path / MEMORY, [note], mode=0o600, check=lambda file: file.read() == note, replace=True)


def _memory(config: Config) -> str | None:
    try:
        return (config.keys_path / MEMORY).read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"cannot read {config.keys_path / MEMORY}: {error}") from error


def own_verifier(config: Config) -> Verifier | None:
    """Return the public half of the ledger's signing key; None where this account holds no key.

    Raises:
        RefusedError: Others than its owner may read the key.
        SignatureError: The file holds no key.
    """
    try:
        return load_signer(config).verifier
    except (RefusedError, SignatureError):
        raise
    except LedgerError:
        return None


def prove(ledger: Ledger, seq: int) -> Proof:
    """Return a proof that an entry stands in the history that the newest checkpoint signs.

    Raises:
        NotFoundError: There is no such entry.
        ConflictError: No checkpoint covers it yet.
        AuditError: What is stored leads to another root than was signed.
    """
    with ledger.database.read() as tx:
        entry, last = tx.audit.entry(seq), tx.checkpoints.last()
        if last is None or last.size < seq:
            raise ConflictError(f"no checkpoint covers entry {seq} yet", "sign one with: unledger audit checkpoint")
        path = tuple(tx.audit.inclusion(seq, last.size))
    proof = Proof(entry.leaf, seq - 1, last.size, path, last.note)
    verifier = own_verifier(ledger.config)
    if verifier is not None:
        try:
            proof.check([verifier])
        except SignatureError as error:
            raise AuditError(error.message, "see: unledger audit verify", seq=seq) from error
    return proof


def check_proof(text: str, key: str) -> Proof:
    """Return a proof once it leads to a checkpoint that a key signed; asks no ledger.

    Raises:
        UsageError: The key is none.
        SignatureError: The document is none, or does not hold.
    """
    proof = Proof.parse(text)
    proof.check([Verifier.parse(key)])
    return proof


def verify_history(ledger: Ledger, against: str | None = None, key: str | None = None) -> Verified:
    """Verify the ledger's history, its stored tree and checkpoints, and that it agrees with what was kept.

    Args:
        ledger: The ledger.
        against: A file (checkpoint or witness), or ``SIZE:SHA256``.
        key: Verifier key; None takes the ledger's own.

    Raises:
        AuditError: Names the first bad entry.
        SignatureError: What was kept is not genuine.
        UsageError: ``against`` is neither a file nor a head.
    """
    verifier = Verifier.parse(key) if key else own_verifier(ledger.config)
    verifiers = [verifier] if verifier else []
    kept = read_kept(against, verifiers)
    memory = _memory(ledger.config)
    if memory is not None and key is None and verifiers:
        kept |= Kept(checkpoints=(open_checkpoint(memory, verifiers),))
    with ledger.database.read() as tx:
        head = tx.audit.verify(kept, verifiers=verifiers)
        stored = [checkpoint.size for checkpoint in tx.checkpoints.all()] if verifiers else []
        signed = max([0, *stored, *(checkpoint.size for checkpoint in kept.checkpoints)])
        return Verified(head, tx.audit.root().hex(), signed)


def verify_export(text: str, name: str, against: str | None = None, key: str | None = None) -> Verified:
    """Verify an exported history, without any ledger.

    Args:
        text: The file's contents.
        name: What to call it in an error.
        against: A file (checkpoint or witness), or ``SIZE:SHA256``.
        key: Verifier key; without it, checkpoints are compared but not known to be genuine.

    Raises:
        AuditError: Names the first bad entry.
        SignatureError: A checkpoint is not genuine.
    """
    verifiers = [Verifier.parse(key)] if key else []
    export, said = open_export(text, name, verifiers)
    walk = HistoryCheck(read_kept(against, verifiers) | Kept(checkpoints=said))
    walk.page(export.entries)
    signed = max([0, *(checkpoint.size for checkpoint in said)]) if key else 0
    return Verified(walk.finish(), walk.frontier.root.hex(), signed)


def open_export(text: str, name: str, verifiers: Sequence[Verifier]) -> tuple[Export, tuple[Checkpoint, ...]]:
    """Return what an exported file holds, and what its checkpoints say.

    Raises:
        AuditError: It is no export.
        SignatureError: A checkpoint is malformed; with ``verifiers``, also if none of them signed it.
    """
    export = read_export(text, name)
    opened = (open_checkpoint(note, verifiers) if verifiers else Checkpoint.of_note(note) for note in export.notes)
    return export, tuple(opened)


def read_kept(against: str | None, verifiers: Sequence[Verifier]) -> Kept:
    """Read what somebody kept: a checkpoint or witness file, or a head as ``SIZE:SHA256``.

    Raises:
        UsageError: It is neither a file nor a head.
        SignatureError: The file holds something else, or is not genuine.
    """
    if against is None:
        return Kept()
    path = Path(against)
    if not _is_file(path):
        return Kept((Head.parse(against),))
    text = read_text(path)
    if text.startswith("{"):
        return read_witness(text, verifiers).kept
    return Kept(checkpoints=(open_checkpoint(text, verifiers),))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A text that is too long for a file's name.
        return False


def read_text(path: Path) -> str:
    """Return a text file's contents.

    Raises:
        NotFoundError: There is none.
        SignatureError: It is not text.
        LedgerError: It cannot be read.
    """
    try:
        return path.read_text()
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise SignatureError(f"{path} is not text") from None
    except OSError as error:
        raise LedgerError(f"cannot read {path}: {error.strerror}") from error
