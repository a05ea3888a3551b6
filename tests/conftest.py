"""Shared fixtures: a clean environment, fixed seeds, and a database of each supported kind."""

import hashlib
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import psycopg
import pytest
import torch
from sqlalchemy.engine import URL, make_url

from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, Model
from ledger.domain.requests import Request
from ledger.domain.settings import Preprocessing, Settings
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.unit_of_work import Database, Transaction

# Read once at import: tests run with the environment guarded.
IN_CI = os.environ.get("CI") == "true"
WHEN = datetime(2025, 3, 31, 12, 30, tzinfo=UTC)

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, max_examples=60, print_blob=True
)
hypothesis.settings.load_profile("deterministic")


# -- every test ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small matrices are slower on many threads, and sums depend on how they are split."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """Hide the user's own settings from a test, and fail a test that changes the environment for others."""
    original, folder = dict(os.environ), Path.cwd()
    for name in [name for name in os.environ if name.startswith("UNLEDGER_")]:
        del os.environ[name]
    before = _environment()
    yield
    after, left_in = _environment(), Path.cwd()
    os.environ.clear()
    os.environ.update(original)
    os.chdir(folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not changed, f"the test left environment variables changed: {sorted(changed)}"
    assert left_in == folder, f"the test left the working folder at {left_in}"


def _environment() -> dict[str, str]:
    # Numeric libraries leave their own settings behind when a test is the first to import them.
    theirs = ("PYTEST_CURRENT_TEST", "KMP_", "TORCHINDUCTOR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the global generator
    torch.manual_seed(0)


# -- databases ----------------------------------------------------------------------------------------


@dataclass
class PostgresServer:
    """A PostgreSQL server of our own, reached through a socket in its folder and nothing else."""

    binaries: Path
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _idle: list[str] = field(default_factory=list)

    user = "unledger"

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database on this server."""
        url = URL.create("postgresql+psycopg", username=self.user, database=database, query={"host": str(self.folder)})
        return url.render_as_string(hide_password=False)

    def borrow_database(self) -> str:
        """Return the URL of an empty database, new or given back by an earlier test."""
        if not self._idle:
            name = f"test_{next(self._numbers)}"
            self._administer("postgres", f'CREATE DATABASE "{name}"')
            self._idle.append(name)
        return self.url(self._idle.pop())

    def give_back(self, url: str) -> None:
        """Empty a database for the next test, together with connections that this one left open."""
        name = make_url(url).database
        assert name is not None
        self._administer(
            name,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        # A tenth of the time that a new database takes.
        self._administer(name, "DROP SCHEMA public CASCADE")
        self._administer(name, "CREATE SCHEMA public")
        self._idle.append(name)

    def start(self) -> None:
        """Initialise the folder and start serving."""
        data = self.folder / "data"
        self._run(
            "initdb",
            "--pgdata",
            data,
            "--username",
            self.user,
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        )
        options = (
            f"-c unix_socket_directories='{self.folder}' -c listen_addresses='' -c fsync=off "
            "-c synchronous_commit=off -c full_page_writes=off -c max_connections=40"
        )
        self._run("pg_ctl", "--pgdata", data, "--wait", "--log", self.folder / "log", "--options", options, "start")

    def stop(self) -> None:
        """Stop serving, without waiting for clients."""
        self._run("pg_ctl", "--pgdata", self.folder / "data", "--mode", "immediate", "--wait", "stop")

    def _administer(self, database: str, statement: str) -> None:
        with closing(
            psycopg.connect(host=str(self.folder), user=self.user, dbname=database, autocommit=True)
        ) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str | Path) -> None:
        # The server refuses to run as root: there, its own account runs it.
        prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        # Output goes to a file: a pipe would be held open by the server that pg_ctl leaves behind.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*prefix, str(self.binaries / program), *map(str, arguments)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=120,
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} failed:\n{output.read().decode(errors='replace')}"


def _postgres_binaries() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("pg_ctl")
    if on_path is not None:
        places.append(Path(on_path).parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this test run; without its binaries, tests that need it are skipped (not in CI)."""
    binaries = _postgres_binaries()
    if binaries is None:
        reason = "no PostgreSQL server binaries (initdb, pg_ctl) under /usr/lib/postgresql or on PATH"
        if IN_CI:
            pytest.fail(reason)
        pytest.skip(reason)
    # Not under pytest's own folder: that belongs to this user alone, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="unledger-pg-"))
    server = PostgresServer(binaries, folder)
    try:
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def strace() -> str:
    """The path of strace; where it is missing or may not trace, tests that need it are skipped (not in CI)."""
    program = shutil.which("strace")
    reason = "no strace on PATH"
    if program is not None:
        tried = subprocess.run([program, "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return program
        reason = f"strace may not trace here: {tried.stderr.strip()}"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    url = postgres_server.borrow_database()
    yield url
    postgres_server.give_back(url)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once for each supported kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with an empty ledger in it, once for each supported kind."""
    engine = open_engine(database_url)
    upgrade_schema(engine)
    opened = Database(engine)
    yield opened
    opened.close()


# -- things to put into a ledger ----------------------------------------------------------------------


@pytest.fixture
def when() -> datetime:
    """A fixed moment."""
    return WHEN


@pytest.fixture
def new_model() -> Callable[..., Model]:
    """Build a model value that is not stored yet; keyword arguments replace fields."""

    def build(name: str = "cars", **changes: Any) -> Model:
        values: dict[str, Any] = {
            "id": 0,
            "name": name,
            "architecture": Architecture("timm/resnet18", {"in_chans": 1}),
            "labels": LabelMap(("cat", "dog", "Zoë")),
            "preprocessing": Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,)),
            "data_spec": "digits",
            "data_digest": "d" * 64,
            "settings": Settings(seed=7, alpha_r=(10.0,), alpha_f=(3.0, 30.0)),
            "created_at": WHEN,
        }
        return Model(**{**values, **changes})

    return build


@pytest.fixture
def file_request() -> Callable[..., Request]:
    """Insert a request for a stored model in an open transaction; keyword arguments replace columns."""

    def insert(transaction: Transaction, model: Model, **changes: Any) -> Request:
        values: dict[str, Any] = {
            "model_id": model.id,
            "classes": [1],
            "state": "queued",
            "actor": "alice",
            "reason": "asked to",
            "basis": "gdpr-17",
            "external_id": "T-1",
            "received_at": WHEN,
            "due_at": WHEN,
            "created_at": WHEN,
            "updated_at": WHEN,
            "body_digest": "b" * 64,
        }
        return transaction.requests.add({**values, **changes})

    return insert


# -- a trained network --------------------------------------------------------------------------------

DIGITS_FACTORY = '''\
"""A small network for digits; while a file ``slow`` lies beside this one, every forward pass takes a while."""

import time
from pathlib import Path

from torch import Tensor, nn

SLOW = Path(__file__).with_name("slow")


class Digits(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        if SLOW.exists():
            time.sleep(0.2)
        return super().forward(images)


def build(num_classes: int, width: int = 16) -> nn.Module:
    return Digits(
        nn.Conv2d(1, width, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * width, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )
'''
DIGITS_SETTINGS: dict[str, Any] = {
    "retain_samples": 40,
    "forget_samples": 90,
    "rows_per_class": 160,
    "max_rank": 64,
    "calibration_samples": 25,
    "alpha_r": (30.0, 100.0),
    "alpha_f": (3.0, 10.0, 30.0, 100.0),
    "max_retained_drop": 0.1,
}


@dataclass(frozen=True)
class TrainedDigits:
    """A network that knows scikit-learn's digits, as the files somebody would register."""

    factory: Path
    weights: Path
    preprocessing = Preprocessing(channels=1, height=32, width=32, mean=(0.3,), std=(0.35,))
    settings = Settings(**DIGITS_SETTINGS)

    @property
    def architecture(self) -> str:
        """The specification of its architecture."""
        return f"{self.factory}:build"

    @property
    def options(self) -> tuple[str, ...]:
        """Return what ``model add`` is told about it, beside the settings."""
        files = ("--arch", self.architecture, "--weights", str(self.weights), "--data", "digits")
        return (*files, "--input-size", "1x32x32", "--mean", "0.3", "--std", "0.35")

    @property
    def set_options(self) -> tuple[str, ...]:
        """Return the settings as ``model add`` is told them: few samples and alphas, to be quick."""
        values = ((key, list(v) if isinstance(v, tuple) else v) for key, v in DIGITS_SETTINGS.items())
        return tuple(text for key, value in values for text in ("--set", f"{key}={value}"))


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> TrainedDigits:
    """Train the network once; it must be good, or forgetting would prove nothing."""
    from ledger.plugin_manager import build_plugins
    from ledger.testing.training import train_classifier
    from ledger.weights import tensor_files

    folder = tmp_path_factory.mktemp("digits")
    trained = TrainedDigits(folder / "digits_network.py", folder / "digits.safetensors")
    trained.factory.write_text(DIGITS_FACTORY)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plugins = build_plugins()
    network = plugins.load_model(trained.architecture, {}, 10).module
    accuracy = train_classifier(network, plugins.data_source("digits"), trained.preprocessing, seed=0, epochs=8)
    assert accuracy >= 0.95
    trained.weights.write_bytes(tensor_files.serialise(network.state_dict()))
    return trained


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, Any]]:
    """Read everything a SQLite ledger's folder holds: the rows of every table, and every object's digest."""

    def read(root: Path) -> dict[str, Any]:
        with closing(sqlite3.connect(root / "ledger.db")) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            found: dict[str, Any] = {
                name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in names.fetchall()
            }
        objects = sorted(path for path in (root / "objects").rglob("*") if path.is_file())
        found["objects"] = {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in objects
        }
        return found

    return read
