"""The places that a ledger writes to: whether writing works, and whether others can look into them.

Permissions alone do not tell: a disk may be mounted read-only, or full. So something is written.
"""

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from ledger.config import Config
from ledger.durable_files import reason, try_writing
from ledger.errors import LedgerError
from ledger.service.output_files import JOURNALS
from ledger.service.signing import OTHERS
from ledger.store.database.address import database_file, database_url
from ledger.store.objects.object_store import ObjectStore


def try_places(config: Config, store: ObjectStore) -> list[str]:
    """Write something into each place that a ledger writes to, remove it, and return the places.

    Raises:
        LedgerError: One of them cannot be written.
    """
    file = database_file(database_url(config))
    # A journal is a file beside the database.
    folders = [config.keys_path] if file is None else [file.parent, config.keys_path]
    for folder in folders:
        _try_folder(folder)
    store.try_writing()
    return [*map(str, folders), str(store.folder)]


def _try_folder(folder: Path) -> None:
    try:
        try_writing(folder)
    except OSError as error:
        raise LedgerError(
            f"{folder} cannot be written: {reason(error)}", "check permissions, and how the disk is mounted"
        ) from error


def check_permissions(config: Config) -> str:
    """Check that nobody but its owner can read what names people and classes, or what opens and signs.

    Raises:
        LedgerError: Others can; the hint has the commands that end it.
    """
    opened: list[tuple[str, Path]] = []
    for wanted, path in _private(config):
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if mode & OTHERS and not stat.S_ISLNK(mode):
            opened.append((wanted, path))
    if opened:
        commands = "; ".join(f"chmod {wanted} {shlex.quote(str(path))}" for wanted, path in opened)
        raise LedgerError(f"others than their owner can reach {', '.join(str(path) for _, path in opened)}", commands)
    return "keys and database belong to one account alone"


def _private(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield what should be its owner's alone, each with the permissions it should have."""
    file = database_file(database_url(config))
    if file is not None:
        yield from (("600", Path(f"{file}{suffix}")) for suffix in ("", *JOURNALS))
    yield "700", config.keys_path
    # The keys of objects are covered by their folder: there may be a million.
    try:
        inside = [("700" if path.is_dir() else "600", path) for path in sorted(config.keys_path.iterdir())]
    except OSError:
        # It is not there, or closed to this account too: other checks say so.
        return
    yield from inside
