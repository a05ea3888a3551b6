"""How the audit history behaves when it is long: appending, verifying, proving, and paging through requests.

    python benchmarks/audit_scale.py --leaves 1000000 --databases sqlite postgresql

SQLite runs as the ledger opens it, with a rollback journal and synchronous=FULL. PostgreSQL is a server of our own in a
temporary folder, with its default settings (fsync and synchronous_commit on), reached through a socket.
"""

import argparse
import json
import os
import pwd
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from ledger.audit.chain import Entry, leaf_digest, leaf_text
from ledger.audit.merkle import leaf_hash, verify_inclusion
from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, NewModel
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.states import RequestState
from ledger.store.database.engine import open_engine
from ledger.store.database.schema import upgrade_schema
from ledger.store.database.tables import RequestRow
from ledger.store.unit_of_work import Database

WHEN = datetime(2026, 1, 5, 9, tzinfo=UTC)
BATCH = 1000
PROOFS = 200
PAGE = 50


def event(number: int) -> dict[str, Any]:
    """Return what an ordinary entry says."""
    said = fulfilled(number)
    return {"at": WHEN.isoformat(), "kind": said.kind, "actor": "worker", "model": "cars", "data": said.to_json()}


def fulfilled(number: int) -> RequestFulfilled:
    """Return an ordinary event."""
    return RequestFulfilled(version=number, no_op=False, state=RequestState.FULFILLED, epoch=1)


def append(database: Database, count: int) -> None:
    """Append entries in one transaction, as the ledger does it."""
    with database.write() as tx:
        for number in range(count):
            tx.audit.append(fulfilled(number), at=WHEN, actor="worker", model="cars", request_id=number)


class Bare:
    """What a transaction costs by itself: one row inserted and one updated, through the driver, without the ledger.

    Args:
        database: Whose engine, settings and disk are used, for tables of its own.
    """

    def __init__(self, database: Database) -> None:
        self._connection = database.engine.raw_connection()
        self._mark = "?" if database.engine.dialect.name == "sqlite" else "%s"
        self._number = 0
        cursor = self._connection.cursor()
        cursor.execute("CREATE TABLE bare_events (seq INTEGER PRIMARY KEY, leaf TEXT, digest TEXT)")
        cursor.execute("CREATE TABLE bare_head (id INTEGER PRIMARY KEY, size INTEGER, digest TEXT)")
        cursor.execute("INSERT INTO bare_head VALUES (1, 0, '')")
        self._connection.commit()

    def append(self) -> None:
        """Commit a row of an entry's size, and where the end is now."""
        self._number += 1
        leaf, digest = "x" * 300, "d" * 64
        cursor, mark = self._connection.cursor(), self._mark
        if mark == "?":
            cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(f"INSERT INTO bare_events VALUES ({mark}, {mark}, {mark})", (self._number, leaf, digest))  # noqa: S608 - no input
        cursor.execute(f"UPDATE bare_head SET size = {mark}, digest = {mark} WHERE id = 1", (self._number, digest))  # noqa: S608
        self._connection.commit()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def fill(database: Database, size: int) -> None:
    """Bring the history to a size, with entries made beforehand."""
    with database.read() as tx:
        head = tx.audit.head()
    while head.size < size:
        entries: list[Entry] = []
        for number in range(head.size + 1, min(head.size + 20_000, size) + 1):
            previous = entries[-1].digest if entries else head.digest
            leaf = leaf_text(number, previous, {**event(number), "request": number})
            entries.append(Entry(number, leaf, leaf_digest(leaf)))
        with database.write() as tx:
            head = tx.audit.adopt(entries)


@dataclass(frozen=True)
class Took:
    """How long something took: on the clock, and of this process's processor time, which a busy machine spares."""

    wall: float
    processor: float

    @classmethod
    def of(cls, acts: Sequence[Callable[[], object]]) -> "Took":
        """Return the medians over several acts."""
        return cls.median([_timed(act) for act in acts])

    @classmethod
    def median(cls, times: Sequence[tuple[float, float]]) -> "Took":
        """Return the medians of some (wall, processor) times."""
        wall, processor = zip(*times, strict=True)
        return cls(statistics.median(wall), statistics.median(processor))


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - processor


def prove(database: Database, index: int, size: int) -> None:
    """Make an inclusion proof in a transaction of its own, and check it."""
    with database.read() as tx:
        path, root = tx.audit.inclusion(index + 1, size), tx.audit.root(size)
        leaf = leaf_hash(tx.audit.entry(index + 1).leaf.encode())
    if not verify_inclusion(leaf, index, size, path, root):
        raise RuntimeError("the proof does not hold")


def add_requests(database: Database, count: int) -> None:
    """Insert requests that somebody could list."""
    with database.write() as tx:
        model = tx.models.add(
            NewModel(
                name="cars",
                architecture=Architecture("timm/none", {}),
                labels=LabelMap(("cat", "dog")),
                preprocessing=Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,)),
                data_spec="digits",
                data_digest="d" * 64,
                settings=Settings(),
                created_at=WHEN,
            )
        )
    row = {
        "model_id": model.id, "classes": [1], "state": "fulfilled", "actor": "alice", "reason": "asked to",
        "basis": "gdpr-17", "external_id": "T-1", "received_at": WHEN, "due_at": WHEN, "created_at": WHEN,
        "updated_at": WHEN, "body_digest": "b" * 64, "version": 1, "no_op": False, "gates_waived": False,
        "attempts": 0, "lease_epoch": 1, "outcome": "",
    }  # fmt: skip
    with database.engine.begin() as connection:
        for start in range(1, count + 1, 10_000):
            stop = min(start + 10_000, count + 1)
            connection.execute(insert(RequestRow), [{**row, "id": number} for number in range(start, stop)])


def page(database: Database, after: int) -> None:
    """List a page of requests."""
    with database.read() as tx:
        if len(tx.requests.all(after=after, limit=PAGE)) != PAGE:
            raise RuntimeError("the page is not full")


def verify(database: Database) -> None:
    """Verify the whole history."""
    with database.read() as tx:
        tx.audit.verify()


def measure(url: str, leaves: int, requests: int, choice: random.Random) -> Iterator[tuple[str, Took, int]]:
    """Measure one database; yield what was done, how long it took, and how many of them that were."""
    engine = open_engine(url)
    upgrade_schema(engine)
    database = Database(engine)
    append(database, BATCH)
    bare = Bare(database)
    # In turns, so that whatever else the machine does strikes both.
    turns = [(_timed(lambda: append(database, 1)), _timed(bare.append)) for _ in range(BATCH)]
    bare.close()
    ours, theirs = zip(*turns, strict=True)
    yield "append, a transaction each", Took.median(ours), 1
    yield "a bare transaction, for comparison", Took.median(theirs), 1
    yield f"append, {BATCH} a transaction", Took.of([lambda: append(database, BATCH)] * 5), BATCH
    fill(database, leaves)
    yield f"the same behind {leaves} leaves", Took.of([lambda: append(database, BATCH)] * 5), BATCH
    with database.read() as tx:
        size = tx.audit.head().size
    yield f"verify {size} leaves", Took.of([lambda: verify(database)] * 3), size
    places = [choice.randrange(size) for _ in range(PROOFS)]
    yield "inclusion proof", Took.of([partial(prove, database, at, size) for at in places]), 1
    add_requests(database, requests)
    starts = [choice.randrange(requests - PAGE) for _ in range(PROOFS)]
    yield f"page of {PAGE} of {requests} requests", Took.of([partial(page, database, at) for at in starts]), 1
    database.close()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run a server with its default settings in a folder; yield the URL of an empty database."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    prefix = []
    if os.getuid() == 0:
        # The server refuses to run as root.
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]

    def call(program: str, *arguments: str) -> None:
        with (folder / "out").open("a") as output:
            command = [*prefix, str(binaries / program), "--pgdata", str(folder / "data"), *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=output, stderr=output)  # noqa: S603 - our own arguments

    call("initdb", "--username", "unledger", "--auth=trust", "--no-locale", "-E", "UTF8")
    call("pg_ctl", "--wait", "--options", f"-c unix_socket_directories='{folder}' -c listen_addresses=''", "start")
    try:
        yield f"postgresql+psycopg://unledger@/postgres?host={folder}"
    finally:
        call("pg_ctl", "--wait", "--mode", "fast", "stop")


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--folder", type=Path, help="where the databases are made; default: a temporary folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in arguments.databases:
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="unledger-") as place:
            folder, choice = Path(place), random.Random(arguments.seed)  # noqa: S311 - places, no secrets
            found[name] = {}
            print(f"{name}, {arguments.leaves} leaves, {os.cpu_count()} cores, seed {arguments.seed}; medians")
            print(f"  {'':38} {'ms':>10} {'processor':>10} {'per second':>12} {'processor':>12}", flush=True)
            with postgresql(folder) if name == "postgresql" else sqlite(folder) as url:
                for what, took, number in measure(url, arguments.leaves, arguments.requests, choice):
                    rates = number / took.wall, number / took.processor
                    found[name][what] = {**vars(took), "number": number}
                    cells = f"{1e3 * took.wall:10.2f} {1e3 * took.processor:10.2f} {rates[0]:12,.0f} {rates[1]:12,.0f}"
                    print(f"  {what:38} {cells}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Yield the URL of a file that does not exist yet."""
    yield f"sqlite:///{folder / 'ledger.db'}"


if __name__ == "__main__":
    main()
