"""Where a ledger lives: a folder with ``unledger.toml``, a database and an object store."""

import json
import math
import os
import tomllib
from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ledger.domain.access_policy import AccessPolicy, WebhookPolicy, read_access, read_webhooks
from ledger.domain.command_lines import quoted
from ledger.domain.gate_policy import GatePolicies
from ledger.domain.plugin_policy import DEFAULT_POLICY, PluginPolicy
from ledger.durable_files import write_file
from ledger.errors import ConflictError, LedgerError, NotFoundError, UsageError
from ledger.json_shapes import value_as
from ledger.named_files import read_text

MOST_BYTES = 2**16
"""Largest ``unledger.toml`` that is read."""
FILE = "unledger.toml"
MOST_THREADS = 4096
HOME = "UNLEDGER_DIR"
"""Environment variable that names the ledger's folder."""

TEMPLATE = """\
# An unledger ledger. Paths are relative to this file.
database = {database}
store = {store}
# Signing key and the keys of stored objects: keep them out of backups of the two above.
keys = {keys}
"""
THREADS = """\
# Number of threads that compute weights: their last bits depend on it.
threads = {threads}
"""

UTC_NAME = "UTC"
TIME_ZONE = """\
# Where days begin and end, and in which times are shown.
time_zone = {zone}
"""


@dataclass(frozen=True)
class Config:
    """The settings of one ledger."""

    root: Path
    database: str
    """SQLAlchemy URL; a relative SQLite path counts from the ledger's folder."""
    store: str
    """A folder, relative to that of the ledger, or a URL that fsspec knows: where weights and class spaces are."""
    keys: str = "keys"
    """A folder, relative to that of the ledger: the signing key, and the keys of stored objects."""
    plugins: PluginPolicy = DEFAULT_POLICY
    """What installed plugins may do."""
    threads: int | None = None
    """Number of threads that compute; None where an earlier release created the ledger."""
    checkpoint_to: str | None = None
    """A folder, relative to that of the ledger, or a URL that fsspec knows: where every checkpoint is kept. None for
    nowhere."""
    time_zone: str = UTC_NAME
    """Name of the time zone in which days begin and end, and in which times are shown."""
    executor: str = "local"
    """Who runs the units of a computation, as plugins name it: ``processes:4``, ``ray:HOST:PORT``."""
    kept_activations: int = 1024
    """MB of activations of calibration images that a model may keep in the store; 0 for none."""
    gates: GatePolicies = field(default_factory=GatePolicies)
    """What a new version has to pass."""
    access: AccessPolicy = field(default_factory=AccessPolicy)
    """Who may do what."""
    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    """Who may be told of events."""

    @property
    def zone(self) -> tzinfo:
        """The time zone.

        Raises:
            UsageError: There is none of that name.
        """
        return _zone(self.time_zone, self.root / FILE)

    @property
    def store_path(self) -> Path:
        """The folder of the object store."""
        return self.root / self.store

    @property
    def store_is_url(self) -> bool:
        """Whether objects lie behind a URL."""
        return "://" in self.store

    @property
    def keys_path(self) -> Path:
        """The folder of the signing key and of the keys of stored objects."""
        return self.root / self.keys


def create_config(root: Path, database: str, store: str) -> Config:
    """Write a new ``unledger.toml``.

    Raises:
        ConflictError: The folder already holds a ledger.
        LedgerError: The folder cannot be written.
    """
    config = plan_config(root, database, store)
    write_config(config)
    return config


def plan_config(
    root: Path, database: str, store: str, *, threads: int | None = None, time_zone: str = UTC_NAME
) -> Config:
    """Return the settings of a ledger that is about to be created, and make its folder; nothing is written into it.

    Raises:
        ConflictError: The folder already holds a ledger.
        LedgerError: The folder cannot be made.
        UsageError: There is no such time zone.
    """
    _zone(time_zone, root / FILE)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _uncreated(root, error) from error
    if os.path.lexists(root / FILE):
        raise _taken(root)
    return Config(root.resolve(), database, store, threads=threads, time_zone=time_zone)


def other_settings(config: Config) -> str:
    """Return what ``unledger.toml`` says besides where database, objects and keys are.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        lines = read_text(config.root / FILE, most=MOST_BYTES).splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {config.root / FILE}: {error}") from error
    own = {line.partition("=")[0].strip() for line in TEMPLATE.splitlines()}
    return "".join(line for line in lines if line.partition("=")[0].strip() not in own)


def write_config(config: Config, settings: str = "") -> None:
    """Write the ``unledger.toml`` of a new ledger; from then on, its folder holds one.

    Args:
        config: Where database, objects and keys are.
        settings: What else it says, as :func:`other_settings` returns it.

    Raises:
        ConflictError: The folder already holds a ledger.
        LedgerError: The folder cannot be written.
        UsageError: A setting is not text.
    """
    try:
        text = TEMPLATE.format(**{name: _quoted(getattr(config, name)) for name in ("database", "store", "keys")})
        text += "" if config.threads is None else THREADS.format(threads=config.threads)
        text += "" if config.time_zone == UTC_NAME else TIME_ZONE.format(zone=_quoted(config.time_zone))
        write_file(config.root / FILE, [(text + settings).encode()])
    except UnicodeEncodeError as error:
        raise UsageError(f"a setting of the new ledger is not text: {error.object!r}", "use names in UTF-8") from error
    except FileExistsError:
        raise _taken(config.root) from None
    except OSError as error:
        raise _uncreated(config.root, error) from error


def _taken(root: Path) -> ConflictError:
    return ConflictError(f"{root} already holds a ledger", f"use it with --ledger {quoted(str(root))}")


def _uncreated(root: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot create a ledger in {root}: {error.strerror}")


def find_config(folder: Path | None = None) -> Config:
    """Find the ledger: the given folder, else ``UNLEDGER_DIR``, else this folder or one above it.

    Raises:
        NotFoundError: There is none.
        UsageError: ``unledger.toml`` cannot be read.
    """
    named = folder or (Path(os.environ[HOME]) if os.environ.get(HOME) else None)
    # Not asked for where it does not matter: it may have been deleted.
    here = Path() if named else Path.cwd()
    candidates = [named] if named else [here, *here.parents]
    for candidate in candidates:
        if (candidate / FILE).is_file():
            return _read(candidate.resolve())
    raise NotFoundError(
        f"there is no ledger in {named or here}" + ("" if named else " or a folder above it"),
        f"create one with: unledger init, or name one with --ledger DIR or {HOME}",
    )


def _read(root: Path) -> Config:
    path = root / FILE
    try:
        values: dict[str, Any] = tomllib.loads(read_text(path, most=MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    unknown = sorted(values.keys() - {field.name for field in fields(_File)})
    if unknown:
        raise UsageError(f"{path} must set database and store, not {', '.join(unknown)}")
    known = {field.name for field in fields(PluginPolicy)}
    unknown = sorted(values.get("plugins", {}).keys() - known) if isinstance(values.get("plugins", {}), dict) else []
    if unknown:
        raise UsageError(f"[plugins] in {path} holds {', '.join(unknown)}", f"it may hold {', '.join(sorted(known))}")
    try:
        said = value_as(_File, values)
    except ValueError as error:
        raise UsageError(f"{path} must set database and store: {error}") from error
    seconds = said.plugins.evaluator_seconds
    if seconds is not None and not 0 < seconds < math.inf:
        raise UsageError(f"evaluator_seconds in {path} must be above 0, not {seconds}", "leave it out for no limit")
    if said.threads is not None and not 1 <= said.threads <= MOST_THREADS:
        raise UsageError(f"threads in {path} must be between 1 and {MOST_THREADS}, not {said.threads}")
    if said.kept_activations < 0:
        raise UsageError(
            f"kept_activations in {path} must be a number of MB, not {said.kept_activations}", "0 keeps none"
        )
    _zone(said.time_zone, path)
    return Config(
        root,
        said.database,
        said.store,
        said.keys,
        said.plugins,
        said.threads,
        said.checkpoint_to,
        said.time_zone,
        said.executor,
        said.kept_activations,
        GatePolicies.read(said.gates, str(path)),
        read_access(said.access, str(path)),
        read_webhooks(said.webhooks, str(path)),
    )


@dataclass(frozen=True)
class _File:
    """What ``unledger.toml`` may hold."""

    database: str
    store: str
    keys: str = "keys"
    plugins: PluginPolicy = DEFAULT_POLICY
    threads: int | None = None
    checkpoint_to: str | None = None
    time_zone: str = UTC_NAME
    executor: str = "local"
    kept_activations: int = 1024
    gates: dict[str, Any] = field(default_factory=dict)
    access: dict[str, Any] = field(default_factory=dict)
    webhooks: dict[str, Any] = field(default_factory=dict)


def _zone(name: str, path: Path) -> tzinfo:
    # Without the database of time zones, which small containers lack, too.
    if name == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"time_zone in {path} names no time zone that is known here: {name!r}",
            "write it as Europe/Berlin; where the system has no time zones, install the package tzdata",
        ) from error


def _quoted(text: str) -> str:
    # A TOML basic string is written as a JSON string is, but for one more control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
