"""The server under load, beside the same transactions straight through the service layer.

    python benchmarks/server_load.py --clients 50 --rounds 20 --requests 100000 --streams 200

One server process, SQLite, on this machine; clients in a process of their own. Both sides lend the same number of
opened ledgers to the same number of callers, and take turns, so that other work on the machine meets both alike.
Afterwards every key must be there once, and the log must verify.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path

import httpx
from filing import CLASSES, fresh_ledger, requests

from ledger.config import find_config
from ledger.desk.asked import FiledRequest
from ledger.desk.local.desk import LocalDesk
from ledger.domain.access import ALL_SCOPES
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from ledger.service.requests.filing import enqueue
from ledger.web.ledgers import LedgerPool
from ledger.web.settings import WebSettings

API = "/api/v1"
LISTED = 50
PATIENCE = 120.0
SINGLE = 15
"""Times that each page is asked for."""
Times = dict[str, list[float]]


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


def forget(key: str, number: int) -> FiledRequest:
    """Return a request as a client files it."""
    return FiledRequest([f"index:{number % (CLASSES - 3)}"], reason="asked to", idempotency_key=key)


async def asked(address: str, token: str, clients: int, rounds: int, name: str) -> tuple[Times, list[str]]:
    """Have clients file, list and look, over HTTP."""
    times: Times = {"file": [], "list": [], "show": []}
    errors: list[str] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = {"Authorization": f"Bearer {token}"}

    async def timed(client: httpx.AsyncClient, kind: str, method: str, path: str, body: object = None) -> object:
        begun = time.perf_counter()
        answer = await client.request(method, f"{API}{path}", json=body)
        times[kind].append(time.perf_counter() - begun)
        if answer.status_code not in {200, 201}:
            errors.append(f"{answer.status_code} {answer.text[:200]}")
            return None
        return answer.json()

    async def act(client: httpx.AsyncClient, one: int) -> None:
        for turn in range(rounds):
            filed = {"classes": [one % (CLASSES - 3)], "reason": "asked to", "idempotency_key": f"{name}-{one}-{turn}"}
            made = await timed(client, "file", "POST", "/models/1/requests", {"requests": [filed]})
            await timed(client, "list", "GET", f"/requests?limit={LISTED}")
            if isinstance(made, dict):
                await timed(client, "show", "GET", f"/requests/{made['items'][0]['id']}")

    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=PATIENCE) as client:
        await client.get(f"{API}/caller")
        await asyncio.gather(*(act(client, one) for one in range(clients)))
    return times, errors


def straight(folder: Path, clients: int, rounds: int, name: str) -> tuple[Times, list[str]]:
    """Have threads file, list and look through the desk, over as many opened ledgers as a server has."""
    settings = WebSettings()
    pool = LedgerPool(partial(open_ledger, find_config(folder), "bench"), settings.threads, PATIENCE)
    times: Times = {"file": [], "list": [], "show": []}
    errors: list[str] = []

    def timed(kind: str, act: Callable[[LocalDesk], object]) -> object:
        begun = time.perf_counter()
        with pool.borrow("bench") as ledger:
            # The document is written out as a server does.
            done = act(LocalDesk(ledger, computes=False))
            json.dumps(done, default=str)
        times[kind].append(time.perf_counter() - begun)
        return done

    def act(one: int) -> None:
        try:
            for turn in range(rounds):
                filed = [forget(f"{name}-{one}-{turn}", one)]
                made = timed("file", lambda desk, filed=filed: desk.requests.file(1, filed))  # type: ignore[misc]
                timed("list", lambda desk: desk.requests.all(limit=LISTED))
                number = made["items"][0]["id"]  # type: ignore[index]
                timed("show", lambda desk, number=number: desk.requests.show(number))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - every failure counts
            errors.append(repr(error))

    threads = [threading.Thread(target=act, args=(one,)) for one in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    return times, errors


def in_process(call: Callable[[], tuple[Times, list[str]]], answer: "Queue[tuple[Times, list[str]]]") -> None:
    """Run something where nothing else of ours runs."""
    answer.put(call())


def apart(call: Callable[[], tuple[Times, list[str]]]) -> tuple[Times, list[str]]:
    """Run one side in a process of its own."""
    context = multiprocessing.get_context("fork")
    answer: Queue[tuple[Times, list[str]]] = context.Queue()
    process = context.Process(target=in_process, args=(call, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def over_http(address: str, token: str, clients: int, rounds: int, name: str) -> tuple[Times, list[str]]:
    """Run the clients of one turn."""
    return asyncio.run(asked(address, token, clients, rounds, name))


def load(clients: int, rounds: int, turns: int) -> None:
    """Compare both sides."""
    with tempfile.TemporaryDirectory() as place, fresh_ledger(Path(place)) as ledger:
        folder = Path(place)
        token = create_token(ledger, "bench", ALL_SCOPES)[1]
        sides: dict[str, Times] = {"http": {}, "straight": {}}
        errors: list[str] = []
        spent = dict.fromkeys(sides, 0.0)
        with served(folder) as (address, _):
            for turn in range(turns):
                names = {side: f"{side}-{turn}" for side in sides}
                for side, call in (
                    ("http", partial(over_http, address, token, clients, rounds, names["http"])),
                    ("straight", partial(straight, folder, clients, rounds, names["straight"])),
                ):
                    begun = time.perf_counter()
                    times, failed = apart(call)
                    spent[side] += time.perf_counter() - begun
                    errors += failed
                    for kind, seconds in times.items():
                        sides[side].setdefault(kind, []).extend(seconds)
        print(f"\n{clients} clients, {rounds * turns} rounds each: errors {len(errors)} {errors[:3]}")
        print("| | straight: median | p99 | HTTP: median | p99 | ratio of medians |\n|---|---|---|---|---|---|")
        for kind in ("file", "list", "show"):
            one, other = sides["straight"][kind], sides["http"][kind]
            ratio = statistics.median(other) / statistics.median(one)
            figures = [figure for side in (one, other) for figure in (statistics.median(side), percentile(side, 0.99))]
            print(f"| {kind} | " + " | ".join(f"{1000 * figure:.0f} ms" for figure in figures) + f" | {ratio:.2f} |")
        # Which caller waits for which is up to threads on one side and to a queue on the other: medians depend on that,
        # the time that all of them took does not.
        answered = {side: sum(map(len, times.values())) for side, times in sides.items()}
        print(", ".join(f"{side}: {answered[side] / spent[side]:.1f} transactions a second" for side in sides))
        with ledger.database.read() as tx:
            tx.audit.verify()
        with closing(sqlite3.connect(folder / "ledger.db")) as connection:
            there = Counter(key for (key,) in connection.execute("SELECT idempotency_key FROM requests"))
        sent = {
            f"{side}-{turn}-{one}-{number}"
            for side in sides
            for turn in range(turns)
            for one in range(clients)
            for number in range(rounds)
        }
        lost, doubled, unknown = len(sent - there.keys()), there.total() - len(there), len(there.keys() - sent)
        print(f"{len(sent)} keys sent: {lost} lost, {doubled} doubled, {unknown} unknown; the log verifies")


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


ADDRESSES = (
    *(f"{API}/models", f"{API}/models/1", f"{API}/models/1/versions", f"{API}/requests?limit=100"),
    *(f"{API}/requests?limit=100&after=50000", f"{API}/requests?limit=100&state=queued", f"{API}/requests/50000"),
    *(f"{API}/status?most=50", f"{API}/audit?limit=100", f"{API}/audit?limit=100&after=50000"),
    *(f"{API}/certificates", f"{API}/tokens", f"{API}/ledger", "/readyz", "/metrics"),
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
        "/certificates",
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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=200)
    said = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if said.clients:
        load(said.clients, said.rounds, said.turns)
    if said.streams:
        streams(said.streams)
    if said.requests:
        lists(said.requests)


if __name__ == "__main__":
    main()
