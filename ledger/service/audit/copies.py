"""Copies of the audit log that others keep: exports, witness files, and archives made of exports."""

import os
from pathlib import Path

from ledger.audit.exported_log import export_lines
from ledger.audit.signed_notes import Verifier
from ledger.audit.verification import ExternalRecord, LogVerification
from ledger.audit.witness import Witness, read_witness, witness_line
from ledger.config import Config, plan_config, write_config
from ledger.errors import ConflictError, LedgerError
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers
from ledger.service.signing import own_verifier
from ledger.store.database.address import database_url
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.repositories.checkpoints import StoredCheckpoint

from .checkpoints import issue_checkpoint
from .verification import open_export, read_text, verify_export


def export_log(ledger: Ledger) -> list[str]:
    """Return the lines of an export: every entry, and the newest checkpoint."""
    with ledger.database.read() as tx:
        last = tx.checkpoints.last()
        return list(export_lines(tx.audit.entries(), [] if last is None else [last.note]))


def witness(ledger: Ledger, path: Path, key: str | None = None) -> tuple[int, int]:
    """Sign a checkpoint and add it to a witness file, with the digest of each entry that is new to it.

    Args:
        ledger: The ledger.
        path: The file; a new one is created.
        key: Verifier key that the file's checkpoints were signed with; None takes the ledger's own.

    Returns:
        How many entries the file knew, and how many it knows now.

    Raises:
        AuditError: The audit log is not the one that the file saw; names the first entry that differs.
        SignatureError: The file is not a witness file, or not genuine.
        RefusedError: The file belongs to a ledger, or is a link.
    """
    require_outside_ledgers(ledger.config, path)
    seen = Witness()
    if path.exists():
        verifier = Verifier.parse(key) if key else own_verifier(ledger.config)
        seen = read_witness(read_text(path), [verifier] if verifier else [])
    with ledger.database.read() as tx:
        tx.audit.verify(seen.kept)
    issued = issue_checkpoint(ledger)
    known = len(seen.digests)
    with ledger.database.read() as tx:
        digests = [entry.digest for entry in tx.audit.entries(known) if entry.seq <= issued.size]
    if digests:
        _append(path, witness_line(known + 1, digests, issued.note))
    return known, known + len(digests)


def _append(path: Path, line: str) -> None:
    try:
        with path.open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror}") from error


def create_archive(folder: Path, path: Path, key: str | None) -> Config:
    """Create a ledger without any history of its own, to import an exported one into.

    Args:
        folder: Where; created only if the file verifies.
        path: The exported file.
        key: Verifier key that its checkpoints must be signed with.

    Raises:
        AuditError: The file does not verify.
        SignatureError: A checkpoint is not genuine.
        ConflictError: The folder already holds a ledger.
    """
    verify_export(read_text(path), str(path), key=key)
    config = plan_config(folder, "sqlite:///ledger.db", "objects")
    engine = open_engine(database_url(config))
    upgrade_schema(engine)
    engine.dispose()
    write_config(config)
    return config


def import_log(ledger: Ledger, path: Path, key: str | None) -> tuple[int, int]:
    """Take over an exported history into an archive, if it continues what the archive holds.

    Returns:
        How many entries the archive held, and how many it holds now.

    Raises:
        ConflictError: The ledger has models: a history belongs to the rows it tells of.
        AuditError: The file does not verify, or is not a continuation.
        SignatureError: A checkpoint is not genuine.
    """
    # The keys of the ledger that the history came from are not here.
    with ledger.database.write(guarded=False) as tx:
        if tx.models.all():
            raise ConflictError("this ledger has models and a history of its own", "import into an archive: --into DIR")
        held = tx.audit.verify()
        export, said = open_export(read_text(path), str(path), [Verifier.parse(key)] if key else [])
        walk = LogVerification(
            ExternalRecord(checkpoints=said, digests=tuple(entry.digest for entry in tx.audit.entries()))
        )
        walk.verify_page(export.entries)
        walk.finish()
        head = tx.audit.adopt(export.entries[held.size :])
        last = tx.checkpoints.last()
        for note, checkpoint in zip(export.notes, said, strict=True):
            if last is None or checkpoint.size > last.size:
                tx.checkpoints.add(StoredCheckpoint(checkpoint.size, checkpoint.root.hex(), note, ledger.clock()))
    return held.size, head.size
