"""How filing, listing and verifying behave with many requests, as ratios: ten times as many, how many times as long?

    python benchmarks/filing.py --requests 1000 10000 100000

A ledger in a temporary folder, SQLite as the ledger opens it. Times are this process's processor time, which other
work on the machine hardly changes; the longest time that another writer had to wait is on the clock.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from ledger.config import create_config, find_config
from ledger.documents.requests import requests_document
from ledger.domain.labels import LabelMap
from ledger.domain.models import Architecture, NewModel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.objects import store_object
from ledger.service.requests.filing import enqueue
from ledger.service.requests.listing import list_requests
from ledger.service.requests.status import status
from ledger.service.versions.commit import append_model, append_version

WHEN = datetime(2026, 1, 5, 9, tzinfo=UTC)
CLASSES = 10
WEIGHTS = b"no network stands behind this model"


@contextmanager
def fresh_ledger(folder: Path) -> Iterator[Ledger]:
    """Make a ledger with one model that no network stands behind."""
    create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench").close()
    ledger = open_ledger(find_config(folder), "bench")
    value = NewModel(
        name="cars",
        architecture=Architecture("stand-in", {}),
        labels=LabelMap(tuple(f"class {k}" for k in range(CLASSES))),
        preprocessing=Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.25,)),
        data_spec="stand-in",
        data_digest="d" * 64,
        settings=Settings(),
        created_at=WHEN,
    )
    digest = store_object(ledger, WEIGHTS)
    with ledger.database.write() as tx:
        model = append_model(tx, value, actor="bench", weights=digest)
        base = Version(
            model.id, 0, None, VersionKind.BASE, None, None, frozenset(), digest, VersionRecipe({}), created_at=WHEN
        )
        append_version(tx, model, base, size=len(WEIGHTS), terms=(), actor="bench", at=WHEN)
    yield ledger
    ledger.close()


def requests(count: int) -> list[NewRequest]:
    """Return requests as somebody would send them, each with a key."""
    return [
        NewRequest(
            frozenset({n % (CLASSES - 3)}),
            "alice",
            reason="asked to",
            basis="gdpr-17",
            external_id=f"T-{n}",
            idempotency_key=f"{count}-{n}",
        )
        for n in range(count)
    ]


def other_writer(folder: Path, ready: Event, stop: Event, answer: "Connection[float, None]") -> None:
    """Take the write lock every few milliseconds, in a process of its own; send the longest wait, in seconds."""
    ledger, longest = open_ledger(find_config(folder), "another"), 0.0
    ready.set()
    while not stop.wait(0.02):
        begun = time.perf_counter()
        with ledger.database.write():
            longest = max(longest, time.perf_counter() - begun)
    ledger.close()
    answer.send(longest)


def longest_wait(folder: Path, act: Callable[[], object]) -> float:
    """Return the longest time that another writer had to wait while something was done."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=other_writer, args=(folder, ready, stop, sender))
    process.start()
    ready.wait()
    act()
    stop.set()
    longest = float(receiver.recv())
    process.join()
    return longest


def processor(act: Callable[[], object]) -> float:
    """Return the processor time that something takes, in seconds."""
    begun = time.process_time()
    act()
    return time.process_time() - begun


def measure(count: int, place: Path | None) -> dict[str, float]:
    """Measure a ledger with a number of open requests; seconds by what was done."""
    with tempfile.TemporaryDirectory(dir=place, prefix="unledger-") as folder, fresh_ledger(Path(folder)) as ledger:
        sent = requests(count)
        found = {"file all of them": processor(lambda: enqueue(ledger, "cars", sent))}
        again = open_ledger(find_config(Path(folder)), "bench")
        found["verify the log, once a process"] = processor(again.database.catch_up)
        found["file one more"] = processor(lambda: enqueue(again, "cars", requests(1)))
        found["status"] = processor(lambda: status(again, most=50))
        found["request list"] = processor(lambda: list_requests(again))
        found["its JSON document"] = processor(lambda: requests_document(list_requests(again), WHEN))
        again.close()
    with tempfile.TemporaryDirectory(dir=place, prefix="unledger-") as folder, fresh_ledger(Path(folder)) as ledger:
        wait = longest_wait(Path(folder), lambda: enqueue(ledger, "cars", sent))
        found["longest wait of another writer, on the clock"] = wait
    return found


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the ledgers are made; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    found = {count: measure(count, arguments.folder) for count in arguments.requests}
    print(f"seconds, {os.cpu_count()} cores; in brackets: times the figure before")
    print(f"  {'':44}" + "".join(f"{count:>18,}" for count in found))
    for what in next(iter(found.values())):
        figures = [figure[what] for figure in found.values()]
        ratios = ["", *(f"({after / before:.1f})" for before, after in pairwise(figures))]
        print(f"  {what:44}" + "".join(f"{a:>10.3f} {b:>7}" for a, b in zip(figures, ratios, strict=True)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
