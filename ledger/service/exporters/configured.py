"""Which exporters this machine has, and how far each one came: ``exporters.json`` in the ledger's folder.

An exporter belongs to a machine and not to the ledger: a folder is one of this machine's, and so are the credentials
for a registry. So it is kept beside ``unledger.toml``, where whoever can write could change the ledger's keys as well,
and not in the database. What leaves the ledger is recorded in the audit log, as every export is.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ledger.config import Config
from ledger.durable_files import Existing, reason, write_file
from ledger.errors import ConflictError, LedgerError, NotFoundError, UsageError
from ledger.json_shapes import read_json_as
from ledger.named_files import read_text
from ledger.plugin_manager import exporting_plugins
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers

FILE = "exporters.json"
LOCK = ".exporters.lock"
LONGEST_NAME = 60
LONGEST_SPEC = 2000
MOST_BYTES = 1 << 22
FOLDER = "folder:"


@dataclass(frozen=True)
class DeliveredVersion:
    """What an exporter has of a model."""

    seq: int
    """Number of the audit entry by which the version became live."""
    version: int
    weights: str
    tags: str
    """Digest of what is known of it."""
    at: datetime
    given: tuple[str, ...] = ()
    """Every weights file that it was given and that was not removed there since."""


@dataclass(frozen=True)
class ConfiguredExporter:
    """A place that live versions are put to."""

    name: str
    spec: str
    models: tuple[str, ...]
    """Names of the models; none for all."""
    hide_forgotten: bool
    """Whether labels of forgotten classes are left out."""
    added_at: datetime
    told: dict[str, DeliveredVersion] = field(default_factory=dict)
    """By name of the model."""
    attempts: int = 0
    """Failures in a row."""
    next_at: datetime | None = None
    """When it is tried again after a failure."""
    detail: str = ""
    """What happened last, for people."""

    def wants(self, model: str) -> bool:
        """Whether a model's versions are put there."""
        return not self.models or model in self.models


def list_exporters(config: Config) -> list[ConfiguredExporter]:
    """Return the exporters of this machine, in the order they were added.

    Raises:
        UsageError: Their file cannot be read.
    """
    return list(_read(config))


def add_exporter(
    ledger: Ledger, name: str, spec: str, models: tuple[str, ...] = (), *, hide_forgotten: bool = False
) -> ConfiguredExporter:
    """Let live versions be put to a place: those that are live now, and from now on each that goes live.

    Args:
        ledger: The ledger.
        name: What to call it.
        spec: ``folder:PATH``, ``mlflow:URI``, or what an installed plugin knows.
        models: Names of models; none for all, those to come included.
        hide_forgotten: Leave out the labels of forgotten classes, since a class may be a person.

    Raises:
        UsageError: The name or the specification is none.
        ConflictError: There is one of this name.
        NotFoundError: There is no such model.
        RefusedError: The folder belongs to a ledger, or is a link.
    """
    if not name or len(name) > LONGEST_NAME or not all(c.isalnum() or c in "-_." for c in name):
        raise UsageError(
            f"{name[:LONGEST_NAME]!r} cannot be an exporter's name", "use letters, digits, '-', '_' and '.'"
        )
    if len(spec) > LONGEST_SPEC or not spec.isprintable():
        raise UsageError("the specification of an exporter is too long, or holds what cannot be printed")
    exporting_plugins(ledger.config.plugins).exporter(spec)
    if spec.startswith(FOLDER):
        require_outside_ledgers(ledger.config, Path(spec.removeprefix(FOLDER)) / "live")
    with ledger.database.read() as tx:
        for model in models:
            tx.models.get(model)
    made = ConfiguredExporter(name, spec, tuple(dict.fromkeys(models)), hide_forgotten, ledger.clock())

    def added(known: tuple[ConfiguredExporter, ...]) -> tuple[ConfiguredExporter, ...]:
        if any(one.name == name for one in known):
            raise ConflictError(f"there is already an exporter called {name}", "choose another name")
        return (*known, made)

    change(ledger.config, added)
    return made


def remove_exporter(config: Config, name: str) -> ConfiguredExporter:
    """Put nothing to a place any more; what is there stays.

    Raises:
        NotFoundError: There is no such exporter.
    """
    removed: list[ConfiguredExporter] = []

    def without(known: tuple[ConfiguredExporter, ...]) -> tuple[ConfiguredExporter, ...]:
        removed.extend(one for one in known if one.name == name)
        return tuple(one for one in known if one.name != name)

    change(config, without)
    if not removed:
        raise _unknown(name)
    return removed[0]


def get_exporter(config: Config, name: str) -> ConfiguredExporter:
    """Return an exporter.

    Raises:
        NotFoundError: There is no such exporter.
    """
    for one in _read(config):
        if one.name == name:
            return one
    raise _unknown(name)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no exporter called {name}", "see: unledger exporter list")


def note(config: Config, exporter: ConfiguredExporter) -> None:
    """Keep how far an exporter came, unless it was removed meanwhile."""
    change(config, lambda known: tuple(_with(one, exporter) for one in known))


def _with(kept: ConfiguredExporter, found: ConfiguredExporter) -> ConfiguredExporter:
    if (kept.name, kept.added_at) != (found.name, found.added_at):
        return kept
    return replace(kept, told=found.told, attempts=found.attempts, next_at=found.next_at, detail=found.detail)


def change(config: Config, edit: Callable[[tuple[ConfiguredExporter, ...]], tuple[ConfiguredExporter, ...]]) -> None:
    """Replace what the file says, one process at a time."""
    with locked(config, LOCK):
        known = _read(config)
        edited = edit(known)
        if edited == known:
            return
        text = json.dumps({"exporters": [asdict(one) for one in edited]}, indent=1, default=_plain)
        try:
            write_file(config.root / FILE, [text.encode()], existing=Existing.REPLACE)
        except OSError as error:
            raise LedgerError(f"cannot write {config.root / FILE}: {reason(error)}", "check permissions") from error


@contextmanager
def locked(config: Config, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock of this machine while the block runs; yields False where it is held elsewhere and not waited for."""
    try:
        file = os.open(config.root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"cannot write to {config.root}: {reason(error)}", "check permissions") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(file)


@dataclass(frozen=True)
class _File:
    exporters: tuple[ConfiguredExporter, ...]


def _read(config: Config) -> tuple[ConfiguredExporter, ...]:
    path = config.root / FILE
    if not os.path.lexists(path):
        return ()
    try:
        return read_json_as(_File, read_text(path, most=MOST_BYTES)).exporters
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", "mend it, or delete it and add the exporters again") from error


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
