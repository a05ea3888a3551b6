"""The checkpoints that are kept outside the database: one beside the signing key, all of them in ``checkpoint_to``."""

import logging
from pathlib import Path

from ledger.audit.signed_notes import Checkpoint, Verifier, open_checkpoint
from ledger.config import Config
from ledger.errors import LedgerError, SignatureError
from ledger.store.objects.note_folder import NoteFolder

from .signing import MEMORY, last_signed

SUFFIX = ".checkpoint"
log = logging.getLogger("unledger.checkpoints")


def newest_here(config: Config, verifier: Verifier) -> Checkpoint | None:
    """Return the checkpoint that is remembered beside the key; None if there is none.

    Raises:
        SignatureError: It was not signed with this key, or was altered.
        LedgerError: It cannot be read.
    """
    note = last_signed(config)
    if note is None:
        return None
    try:
        return open_checkpoint(note, [verifier])
    except SignatureError as error:
        raise SignatureError(
            f"{config.keys_path / MEMORY} was not signed with this ledger's key, or was altered: {error.message}",
            "restore it, or the key it was signed with, from where you keep them",
        ) from error


def newest_elsewhere(config: Config, verifier: Verifier) -> Checkpoint | None:
    """Return the newest checkpoint in ``checkpoint_to``; None if none is there or the place is out of reach.

    Files that this key did not sign are skipped.
    """
    folder = elsewhere(config)
    if folder is None:
        return None
    try:
        for name in reversed([name for name in folder.names() if _is_of(name, verifier)]):
            try:
                return open_checkpoint(folder.read(name), [verifier])
            except (SignatureError, UnicodeDecodeError):
                log.warning("%s in %s is not a checkpoint of this ledger", name, folder)
    except (OSError, LedgerError) as error:
        log.warning("cannot look at the checkpoints in %s: %s", folder, error)
    return None


def keep_elsewhere(config: Config, name: str, size: int, files: dict[str, str]) -> None:
    """Write files of one checkpoint to ``checkpoint_to``, if that is set; those that are there stay as they are.

    Args:
        config: Where the ledger lives.
        name: Name of the key.
        size: Number of entries that the checkpoint signs.
        files: Contents by suffix.

    Raises:
        LedgerError: They cannot be written.
    """
    folder = elsewhere(config)
    if folder is None:
        return
    try:
        for suffix, text in files.items():
            folder.write(file_name(name, size, suffix), text.encode())
    except OSError as error:
        raise LedgerError(
            f"cannot write a checkpoint to {folder}: {error}", "see checkpoint_to in unledger.toml"
        ) from (error)


def elsewhere(config: Config) -> NoteFolder | None:
    """Return the place that ``checkpoint_to`` names."""
    place = config.checkpoint_to
    if place is None:
        return None
    return NoteFolder(place if "://" in place else config.root / Path(place).expanduser())


def file_name(name: str, size: int, suffix: str = SUFFIX) -> str:
    """Return the name of a file that belongs to a checkpoint; of one key's, the newest sorts last."""
    return f"{name.replace('/', '-')}-{size:012d}{suffix}"


def _is_of(name: str, verifier: Verifier) -> bool:
    return name.startswith(f"{verifier.name.replace('/', '-')}-") and name.endswith(SUFFIX)
