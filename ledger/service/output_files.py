"""Write what a command was asked to write to a file, and never over a file that a ledger needs.

One set of rules holds for every option and argument that names an output. Files of a ledger (keys, objects, database
and its journals, ``unledger.toml``) are refused whatever the options say, and so is a symbolic link. Another file that
is there is replaced if the caller says so, or if it is of the kind that the command writes.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ledger.config import FILE, Config, find_config
from ledger.domain.command_lines import quoted
from ledger.durable_files import Existing, is_regular, write_file
from ledger.errors import ConflictError, LedgerError, RefusedError
from ledger.store.database.address import database_file, database_url

JOURNALS = ("-journal", "-wal", "-shm")
"""What SQLite appends to the name of a database for the files that it keeps beside it."""


def require_outside_ledgers(config: Config | None, path: Path) -> None:
    """Refuse a place for an output that belongs to this ledger, or to another one around that place, or is a link.

    Args:
        config: The ledger that the output comes from; None if from none.
        path: The place.

    Raises:
        RefusedError: Names what it belongs to.
    """
    if path.is_symlink():
        raise RefusedError(f"cannot write {path}: it is a symbolic link", "name the file itself, or a new file")
    place = path.resolve()
    for ledger in (*([] if config is None else [config]), *_ledgers_around(place)):
        for what, part in _parts(ledger):
            inside = part.is_dir() and any(_same(part, above) for above in place.parents)
            if place == part or inside or _same(place, part):
                raise RefusedError(
                    f"cannot write {path}: it belongs to the ledger in {ledger.root} ({what})",
                    "name a file elsewhere; nothing was written",
                )


def require_free(config: Config | None, path: Path, *, force: bool = False) -> None:
    """Refuse, before anything is signed, a place that :func:`write_output` would refuse afterwards.

    Raises:
        RefusedError: It belongs to a ledger, or is a link.
        ConflictError: Something is there already that would not be replaced.
    """
    require_outside_ledgers(config, path)
    if os.path.lexists(path) and not (force and is_regular(path)):
        raise ConflictError(f"{path} exists", "name a new file, or add --force to replace it")


def write_output(config: Config | None, path: Path, data: bytes, *, force: bool = False, hint: str = "") -> None:
    """Write a file that a person named, whole or not at all.

    Args:
        config: The ledger that it comes from; None if from none.
        path: Where to.
        data: Its bytes.
        force: Replace a regular file that is there.
        hint: What to do if it cannot be written.

    Raises:
        RefusedError: The place belongs to a ledger, or is a link. Nothing was written.
        LedgerError: Something is there already that is not replaced, or the file cannot be written.
    """
    require_outside_ledgers(config, path)
    replaced = os.path.lexists(path)
    if replaced and not is_regular(path):
        raise LedgerError(f"cannot write {path}: it is not a file", "name a new file")
    if replaced and not force:
        raise LedgerError(f"cannot write {path}: it exists", "name a new file, or add --force to replace it")
    try:
        write_file(path, [data], existing=Existing.REPLACE if replaced else Existing.REFUSE)
    except FileNotFoundError as error:
        raise LedgerError(
            f"cannot write {path}: there is no folder {path.parent}",
            f"make it first: mkdir -p {quoted(str(path.parent))}",
        ) from error
    except OSError as error:
        raise LedgerError(f"cannot write {path}: {error.strerror}", hint) from error


def _ledgers_around(place: Path) -> Iterator[Config]:
    for folder in place.parents:
        if (folder / FILE).is_file():
            # What cannot be read as a ledger protects its configuration only.
            with suppress(LedgerError):
                yield find_config(folder)


def _parts(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the files and folders that a ledger consists of, with what to call them."""
    yield "its configuration", config.root / FILE
    yield "its keys", config.keys_path.resolve()
    if not config.store_is_url:
        yield "its objects", config.store_path.resolve()
    with suppress(LedgerError):
        database = database_file(database_url(config))
        if database is not None:
            database = database.resolve()
            yield "its database", database
            yield from (("its database's journal", Path(f"{database}{suffix}")) for suffix in JOURNALS)


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
