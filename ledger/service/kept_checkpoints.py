"""The checkpoints that are kept outside the database: one beside the signing key, all of them in ``checkpoint_to``."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from ledger.audit.signed_notes import Checkpoint, Verifier, open_checkpoint
from ledger.config import Config
from ledger.durable_files import Existing, open_regular, write_file
from ledger.errors import LedgerError, SignatureError
from ledger.store.objects.note_folder import NoteFolder

from .signing import MEMORY, last_signed

SUFFIX = ".checkpoint"
STATE = "state"
"""File beside the signing key that holds what was forgotten at the last checkpoint."""
STATE_SUFFIX = ".state"
LOST = "lost-"
"""Start of the names, beside the signing key, of checkpoints that a recovery gave up."""
DELIVERED = "checkpoint-elsewhere"
"""File beside the signing key that says which checkpoint was written to ``checkpoint_to`` last."""
LONGEST_MARK = 10_000
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


def elsewhere_newest_first(config: Config, verifier: Verifier) -> Iterator[tuple[Checkpoint, str]]:
    """Yield the checkpoints in ``checkpoint_to`` with their file names, the newest first.

    Those that a recovery gave up are left out, and files that this key did not sign. Where the place is out of reach, a
    warning is logged.
    """
    folder = elsewhere(config)
    if folder is None:
        return
    start = f"{verifier.name.replace('/', '-')}-"
    try:
        names = [name for name in folder.names() if name.startswith(start) and name.endswith(SUFFIX)]
        for name in reversed(names):
            if given_up(config, name):
                continue
            try:
                yield open_checkpoint(folder.read(name), [verifier]), name
            except (SignatureError, UnicodeDecodeError):
                log.warning("%s in %s is not a checkpoint of this ledger", name, folder)
    except (OSError, LedgerError) as error:
        log.warning("cannot look at the checkpoints in %s: %s", folder, error)


def newest_elsewhere(config: Config, verifier: Verifier) -> Checkpoint | None:
    """Return the newest checkpoint in ``checkpoint_to`` that no recovery gave up; None if none is there or in reach."""
    return next((checkpoint for checkpoint, _ in elsewhere_newest_first(config, verifier)), None)


def keep_elsewhere(config: Config, checkpoint: Checkpoint, note: str, state: str) -> None:
    """Write a checkpoint to ``checkpoint_to`` with the note of what was forgotten; what is there stays as it is.

    Args:
        config: Where the ledger lives.
        checkpoint: What the notes belong to.
        note: The signed checkpoint.
        state: The signed note of what was forgotten.

    Raises:
        LedgerError: They cannot be written.
    """
    folder = elsewhere(config)
    if folder is None:
        return
    try:
        # First the state: a checkpoint does not stand there without it.
        folder.write(file_name(checkpoint, STATE_SUFFIX), state.encode())
        folder.write(file_name(checkpoint, SUFFIX), note.encode())
        mark = {"place": config.checkpoint_to, "size": checkpoint.size, "root": checkpoint.root.hex()}
        write_file(config.keys_path / DELIVERED, [json.dumps(mark).encode()], existing=Existing.REPLACE, mode=0o600)
    except OSError as error:
        raise LedgerError(
            f"the checkpoint is not in {folder} yet: {error.strerror or error}",
            "see checkpoint_to in unledger.toml; it is written there with the next one, or with: "
            "unledger audit checkpoint",
        ) from error


def owed_since(config: Config, size: int, root: str) -> int | None:
    """Return up to which entry ``checkpoint_to`` knows the ledger; None where it has this checkpoint, or is not set.

    Args:
        config: Where the ledger lives.
        size: Entries that the checkpoint signs.
        root: Root of their tree, hexadecimal.
    """
    if config.checkpoint_to is None:
        return None
    try:
        with open_regular(config.keys_path / DELIVERED) as file:
            mark = json.loads(file.read(LONGEST_MARK))
        if mark["place"] != config.checkpoint_to:
            return 0
        return None if (mark["size"], mark["root"]) == (size, root) else int(mark["size"])
    except (OSError, ValueError, LookupError, TypeError):
        # Nothing was written yet, or nobody knows: what is there already stays.
        return 0


def elsewhere(config: Config) -> NoteFolder | None:
    """Return the place that ``checkpoint_to`` names; None where it is not set."""
    place = config.checkpoint_to
    if place is None:
        return None
    return NoteFolder(place if "://" in place else config.root / Path(place).expanduser())


def file_name(checkpoint: Checkpoint, suffix: str = SUFFIX) -> str:
    """Return the name of a file that belongs to a checkpoint; of one key's, the newest sorts last."""
    name = checkpoint.origin.replace("/", "-")
    return f"{name}-{checkpoint.size:012d}-{checkpoint.root.hex()[:8]}{suffix}"


def given_up(config: Config, name: str) -> bool:
    """Whether a recovery gave up the entries that a checkpoint signs, by its file name."""
    return (config.keys_path / f"{LOST}{name}").is_file()
