"""The server under load, beside the same transactions straight through the service layer.

    python benchmarks/server_load.py --clients 50 --rounds 1 --turns 6 --requests 100000 --streams 200
    python benchmarks/server_load.py --worker --streams 0 --requests 0 --megabytes 0

One server process, SQLite, on this machine; clients in a process of their own. Straight through the service layer, as
many threads of one process do the same: once over the pool of ledgers that a server has, once each with an opened
ledger of its own. The sides take turns, so that other work on the machine meets all alike. With ``--worker``, the
requests are about a small network, and a worker carries them out meanwhile, whichever side files.
Afterwards every key must be there once, and the log must verify.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.queues import Queue
from pathlib import Path

import httpx
from filing import fresh_ledger, requests
from server_callers import API, KINDS, PATIENCE, ROUND, Clients, Found, Straight, Times

from ledger.config import find_config
from ledger.domain.access import ALL_SCOPES
from ledger.domain.states import RequestState
from ledger.service.access.tokens import create_token
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.filing import enqueue

SINGLE = 15
"""Times that each page is asked for."""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a server in a process of its own, and return its address and the number of the process."""
    command = [sys.executable, "-m", "ledger.cli", "-L", str(folder), "serve", "--port", "0", "--no-worker"]
    with subprocess.Popen(  # noqa: S603 - ourselves
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().partition("/login")[0]
        try:
            yield address, process.pid
        finally:
            process.terminate()


@contextmanager
def attended(folder: Path) -> Iterator[Ledger]:
    """Make a ledger with a small network, and keep a worker at it that carries requests out."""
    # Torch is for whoever computes.
    from long_life import Plan, found

    found(folder.parent, "sqlite:///ledger.db", Plan(1, 0, 1, 0, 0.0, 0, seed=0))
    command = [sys.executable, "-m", "ledger.cli", "-L", str(folder), "work", "--forever"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with (
        subprocess.Popen(  # noqa: S603 - ourselves
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as worker,
        closing(open_ledger(find_config(folder), "bench")) as ledger,
    ):
        try:
            yield ledger
        finally:
            worker.terminate()


def in_process(call: Callable[[], Found], answer: "Queue[tuple[Times, list[str], float]]") -> None:
    """Run something where nothing else of ours runs; tell of the processor time, too."""
    found = call()
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer.put((*found, used.ru_utime + used.ru_stime))


def apart(call: Callable[[], Found]) -> tuple[Times, list[str], float]:
    """Run one side in a process of its own."""
    context = multiprocessing.get_context("fork")
    answer: Queue[tuple[Times, list[str], float]] = context.Queue()
    process = context.Process(target=in_process, args=(call, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def load(clients: int, rounds: int, turns: int, *, worker: bool) -> None:
    """Compare the sides."""
    opener = attended if worker else fresh_ledger
    with tempfile.TemporaryDirectory() as place, opener(Path(place) / "made" / "ledger") as ledger:
        folder = Path(place) / "made" / "ledger"
        token = create_token(ledger, "bench", ALL_SCOPES)[1]
        sides: dict[str, Times] = {"pool": {}, "own": {}, "HTTP": {}}
        errors: dict[str, list[str]] = {side: [] for side in sides}
        computed = dict.fromkeys((*sides, "server"), 0.0)
        with served(folder) as (address, server):
            for turn in range(turns):
                for side, found in sides.items():
                    name, before = f"{side}-{turn}", processor_time(server)
                    if side == "HTTP":
                        call = Clients(address, token, clients, rounds, name).run
                    else:
                        call = Straight(folder, clients, rounds, name, own=side == "own").run
                    times, failed, used = apart(call)
                    computed[side] += used
                    computed["server"] += processor_time(server) - before if side == "HTTP" else 0.0
                    errors[side] += failed
                    for kind, seconds in times.items():
                        found.setdefault(kind, []).extend(seconds)
        print(f"\n{clients} clients, {rounds * turns} times each, load {os.getloadavg()[0]:.0f}")
        print(", ".join(f"errors {side}: {len(found)} {found[:1]}" for side, found in errors.items()))
        print("| | over a pool: median | p99 | a ledger each: median | p99 | HTTP: median | p99 | to pool | to own |")
        print("|---" * 9 + "|")
        for kind in (*KINDS, ROUND):
            middle = {side: statistics.median(found[kind]) for side, found in sides.items()}
            told = [x for side, found in sides.items() for x in (middle[side], percentile(found[kind], 0.99))]
            ratios = [f"{middle['HTTP'] / middle[side]:.2f}" for side in ("pool", "own")]
            print(f"| {kind} | " + " | ".join([*(f"{1000 * x:.0f} ms" for x in told), *ratios]) + " |")
        each = 2 * clients * rounds * turns * len(KINDS)
        print(
            "processor time a transaction: " + ", ".join(f"{k} {1000 * v / each:.1f} ms" for k, v in computed.items())
        )
        with ledger.database.read() as tx:
            tx.audit.verify()
            carried_out = sum(one.state is RequestState.FULFILLED for one in tx.requests.all())
        if worker:
            print(f"{carried_out} requests were carried out meanwhile")
        require_once(
            folder, [f"{side}-{turn}" for side in sides if not errors[side] for turn in range(turns)], clients, rounds
        )


def require_once(folder: Path, names: list[str], clients: int, rounds: int) -> None:
    """Say how many keys are there, and how often."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        keys = connection.execute("SELECT idempotency_key FROM requests WHERE idempotency_key IS NOT NULL")
        there = Counter(key for (key,) in keys)
    turns = [f"{turn}{kind}" for turn in range(rounds) for kind in ("", "r")]
    sent = {f"{name}-{one}-{turn}" for name in names for one in range(clients) for turn in turns}
    lost, doubled = len(sent - there.keys()), there.total() - len(there)
    print(f"{len(sent)} keys sent: {lost} lost, {doubled} doubled; the log verifies")


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


ADDRESSES = (
    *(f"{API}/models", f"{API}/models/1", f"{API}/models/1/versions", f"{API}/requests?limit=100"),
    *(f"{API}/requests?limit=100&after=50000", f"{API}/requests?limit=100&state=queued", f"{API}/requests/50000"),
    *(f"{API}/status?most=50", f"{API}/audit?limit=100", f"{API}/audit?limit=100&after=50000"),
    *(f"{API}/certificates", f"{API}/tokens", f"{API}/ledger", f"{API}/caller", f"{API}/sessions"),
    *(f"{API}/webhooks", f"{API}/models/1/spaces", f"{API}/models/1/versions/0", f"{API}/models/1/live"),
    *(f"{API}/models/1/report", "/healthz", "/readyz", "/metrics"),
)


def lists(count: int) -> None:
    """Ask for each page and list of a ledger with many requests."""
    with tempfile.TemporaryDirectory() as place, fresh_ledger(Path(place)) as ledger:
        enqueue(ledger, "cars", requests(count))
        token = create_token(ledger, "bench", ALL_SCOPES)[1]
        with (
            served(Path(place)) as (address, process),
            httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=600) as client,
        ):
            begun = time.perf_counter()
            client.get(f"{API}/status?most=50").raise_for_status()
            print(f"\n{count:,} requests; the first answer, the log verified: {time.perf_counter() - begun:.1f} s")
            pages = pages_of(client)
            print("| address | median | longest | processor time of the server |\n|---|---|---|---|")
            for path in (*ADDRESSES, *pages):
                seconds, worked = [], processor_time(process)
                for _ in range(SINGLE):
                    begun = time.perf_counter()
                    answer = client.get(path)
                    seconds.append(time.perf_counter() - begun)
                told = "" if answer.status_code == 200 else f" ({answer.status_code})"
                worked = (processor_time(process) - worked) / SINGLE
                figures = (statistics.median(seconds), max(seconds), worked)
                print(f"| `{path}`{told} | " + " | ".join(f"{1000 * figure:.0f} ms" for figure in figures) + " |")


def processor_time(process: int) -> float:
    """Return the seconds that a process has computed: other work on the machine hardly changes them."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pages_of(client: httpx.Client) -> list[str]:
    """Return the pages that are there."""
    wanted = (
        "/",
        "/inbox",
        "/inbox?state=queued",
        "/requests/50000",
        "/models",
        "/models/1",
        "/audit",
        "/models/1/versions/0",
        "/models/1/report",
        "/models/1/report.html",
        "/models/1/preview",
        "/certificates",
        "/tokens",
        "/webhooks",
    )
    return [path for path in wanted if client.get(path).status_code == 200]


async def listened(address: str, token: str, count: int) -> list[float]:
    """Open event streams, file one request, and return after how many seconds each stream told of it."""
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=count + 10)
    heard: list[float] = []
    begun = 0.0
    open_now = asyncio.Semaphore(0)

    async def listen(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", f"{API}/events") as stream:
            open_now.release()
            async for line in stream.aiter_lines():
                if line.startswith("event:") and "request.received" in line:
                    heard.append(time.perf_counter() - begun)
                    return

    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=PATIENCE) as client:
        tasks = [asyncio.create_task(listen(client)) for _ in range(count)]
        for _ in range(count):
            await open_now.acquire()
        await asyncio.sleep(1)
        begun = time.perf_counter()
        body = {"requests": [{"classes": [0], "reason": "asked to"}]}
        filed = await client.post(f"{API}/models/1/requests", json=body)
        filed.raise_for_status()
        asked_meanwhile = time.perf_counter() - begun
        await asyncio.wait(tasks, timeout=PATIENCE)
    print(f"\n{count} event streams open: filing took {1000 * asked_meanwhile:.0f} ms beside them")
    return heard


def streams(count: int) -> None:
    """Keep many event streams open."""
    with tempfile.TemporaryDirectory() as place, fresh_ledger(Path(place)) as ledger:
        token = create_token(ledger, "bench", ALL_SCOPES)[1]
        with served(Path(place)) as (address, _):
            heard = asyncio.run(listened(address, token, count))
        print(f"{len(heard)} of {count} heard of it; median {statistics.median(heard):.2f} s, last {max(heard):.2f} s")


async def asked_beside(address: str, token: str, text: str) -> tuple[float, list[float]]:
    """Send a file of requests, and ask meanwhile whether the server lives; return the seconds that each took."""
    beside: list[float] = []
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as client:
        await client.get("/healthz")
        body = {"text": text, "format": "lines", "dry_run": True}
        begun = time.perf_counter()
        headers = {"Authorization": f"Bearer {token}"}
        sending = asyncio.create_task(client.post(f"{API}/models/1/requests/bulk", json=body, headers=headers))
        while not sending.done():
            asked = time.perf_counter()
            await client.get("/healthz")
            beside.append(time.perf_counter() - asked)
            await asyncio.sleep(0.01)
        print(f"\nit was answered with {sending.result().status_code}", end="")
    return time.perf_counter() - begun, beside


def large_file(megabytes: int) -> None:
    """Send a large file of requests."""
    with tempfile.TemporaryDirectory() as place, fresh_ledger(Path(place)) as ledger:
        token = create_token(ledger, "bench", ALL_SCOPES)[1]
        line = "index:1,index:2 " + "x" * 100 + "\n"
        with served(Path(place)) as (address, _):
            taken, beside = asyncio.run(asked_beside(address, token, line * (megabytes * 2**20 // len(line))))
        print(
            f"; a file of {megabytes} MB took {taken:.1f} s; /healthz meanwhile: median "
            f"{1000 * statistics.median(beside):.0f} ms, longest {1000 * max(beside):.0f} ms"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=14)
    parser.add_argument("--worker", action="store_true", help="a worker carries requests out meanwhile")
    said = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if said.clients:
        load(said.clients, said.rounds, said.turns, worker=said.worker)
    if said.streams:
        streams(said.streams)
    if said.megabytes:
        large_file(said.megabytes)
    if said.requests:
        lists(said.requests)


if __name__ == "__main__":
    main()
