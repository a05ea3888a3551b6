"""Documents about backups."""

from typing import TYPE_CHECKING

from .document import Document, document

if TYPE_CHECKING:
    from ledger.service.backups.backup import BackupResult
    from ledger.service.backups.restore import RestoreResult


def backup_document(result: "BackupResult") -> Document:
    """Return what a backup holds, and what it took."""
    return document("backup", vars(result))


def restored_document(result: "RestoreResult") -> Document:
    """Return what was restored, and what was verified of it."""
    return document("restored", {**vars(result), "folder": str(result.folder)})
