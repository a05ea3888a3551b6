"""Verify the audit log, of a ledger or exported, against what was kept elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger import named_files
from ledger.audit.chain import Head
from ledger.audit.exported_log import ExportedLog, read_export
from ledger.audit.signed_notes import Checkpoint, Verifier, open_checkpoint
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.audit.witness import read_witness
from ledger.errors import RowError, SignatureError
from ledger.service.kept_checkpoints import newest_elsewhere
from ledger.service.ledger import Ledger
from ledger.service.signing import last_signed, own_verifier

from .replay import differences_in

MOST_BYTES = 2**31
"""Largest checkpoint, witness file or export that is read: an export holds about five hundred bytes for each entry."""


@dataclass(frozen=True)
class VerifiedLog:
    """What a verification found in order."""

    head: Head
    root: str
    signed: int
    """Entries that a checkpoint signed by a known key covers."""


def verify_log(ledger: Ledger, kept_elsewhere: str | None = None, key: str | None = None) -> VerifiedLog:
    """Verify the ledger's log, its stored tree and checkpoints, and that rows and what was kept agree with it.

    What was kept is what is named, the checkpoint beside the signing key and the newest one in ``checkpoint_to``.

    Args:
        ledger: The ledger.
        kept_elsewhere: Contents of a checkpoint or witness file, or ``SIZE:SHA256``.
        key: Verifier key; None takes the ledger's own.

    Raises:
        AuditError: Names the first bad entry.
        RowError: The log is in order, and a row says something else; names the first.
        SignatureError: What was kept is not genuine.
        UsageError: ``kept_elsewhere`` is neither of them.
    """
    verifier = Verifier.parse(key) if key else own_verifier(ledger.config)
    verifiers = [verifier] if verifier else []
    kept = read_kept(kept_elsewhere, verifiers)
    memory = last_signed(ledger.config)
    if memory is not None and key is None and verifiers:
        kept |= ExternalRecord(checkpoints=(open_checkpoint(memory, verifiers),))
    if verifier is not None and key is None:
        there = newest_elsewhere(ledger.config, verifier)
        kept |= ExternalRecord(checkpoints=() if there is None else (there,))
    with ledger.database.read() as tx:
        head = tx.audit.verify(kept, verifiers=verifiers)
        stored = [checkpoint.size for checkpoint in tx.checkpoints.all()] if verifiers else []
        signed = max([0, *stored, *(checkpoint.size for checkpoint in kept.checkpoints)])
        # An archive holds the log of another ledger, and none of its rows.
        if any(tx.projections.rows("models")) and (odd := differences_in(tx)):
            more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise RowError(
                f"the audit log is in order, and a row is not: {odd[0]}{more}", "see all with: unledger fsck"
            )
        return VerifiedLog(head, tx.audit.root().hex(), signed)


def require_readable(ledger: Ledger, kept_elsewhere: str | None, key: str | None = None) -> None:
    """Return if what somebody kept can be read and is genuine; the log is not looked at.

    Args:
        ledger: The ledger.
        kept_elsewhere: Contents of a checkpoint or witness file, or ``SIZE:SHA256``.
        key: Verifier key; None takes the ledger's own.

    Raises:
        SignatureError: It is malformed, or not genuine.
        UsageError: It is one line, and no head.
    """
    verifier = Verifier.parse(key) if key else own_verifier(ledger.config)
    read_kept(kept_elsewhere, [verifier] if verifier else [])


def verify_export(text: str, name: str, against: str | None = None, key: str | None = None) -> VerifiedLog:
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
    walk = LogVerification(read_kept(kept_text(against), verifiers) | ExternalRecord(checkpoints=said))
    walk.verify_page(export.entries)
    signed = max([0, *(checkpoint.size for checkpoint in said)]) if key else 0
    return VerifiedLog(walk.finish(), walk.frontier.root.hex(), signed)


def open_export(text: str, name: str, verifiers: Sequence[Verifier]) -> tuple[ExportedLog, tuple[Checkpoint, ...]]:
    """Return what an exported file holds, and what its checkpoints say.

    Raises:
        AuditError: It is not an export.
        SignatureError: A checkpoint is malformed; with ``verifiers``, also if none of them signed it.
    """
    export = read_export(text, name)
    opened = (open_checkpoint(note, verifiers) if verifiers else Checkpoint.of_note(note) for note in export.notes)
    return export, tuple(opened)


def kept_text(against: str | None) -> str | None:
    """Return what somebody kept: the contents of the file that a text names, or the text itself, which is a head.

    Raises:
        UsageError: The file cannot be read.
        SignatureError: The file holds no text.
    """
    if against is None or not _is_file(Path(against)):
        return against
    text = read_text(Path(against))
    # Lines tell the contents of a file from a head.
    return text if "\n" in text else f"{text}\n"


def read_kept(text: str | None, verifiers: Sequence[Verifier]) -> ExternalRecord:
    """Read what somebody kept: the contents of a checkpoint or witness file, or a head as ``SIZE:SHA256``.

    Raises:
        UsageError: It is one line, and no head.
        SignatureError: It is something else, or not genuine.
    """
    if text is None:
        return ExternalRecord()
    if "\n" not in text:
        return ExternalRecord((Head.parse(text),))
    if text.startswith("{"):
        return read_witness(text, verifiers).kept
    return ExternalRecord(checkpoints=(open_checkpoint(text, verifiers),))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A text that is too long for a file's name.
        return False


def read_text(path: Path) -> str:
    """Return the contents of a checkpoint, witness file or export.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
        SignatureError: It is not text.
    """
    try:
        return named_files.read_text(path, most=MOST_BYTES)
    except UnicodeDecodeError:
        raise SignatureError(f"{path} is not text") from None
