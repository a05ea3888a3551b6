"""Callers of a server, and the same callers straight at the service layer: what each does, and how long it takes.

First all file, then all list, then all look at what they filed: so the callers of either side wait for the same thing.
Last, each does one after the other, in rounds.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import orjson

from ledger.config import find_config
from ledger.desk.asked import FiledRequest
from ledger.desk.local.desk import LocalDesk
from ledger.errors import LedgerError
from ledger.service.ledger import Ledger, open_ledger
from ledger.web.answers import encoded
from ledger.web.ledgers import LedgerPool
from ledger.web.settings import WebSettings

API = "/api/v1"
LISTED = 50
ASKED = 4
"""Classes that requests ask for."""
PATIENCE = 120.0
KINDS = ("file", "list", "show")
ROUND = "round of all three"
Times = dict[str, list[float]]
Found = tuple[Times, list[str]]
"""How long everything took, and what failed."""


class _Seconds:
    """Notes how long everything took: alone, and in rounds.

    A caller wants something from the moment on when all are told to begin, or when it has what it wanted before. That
    it does not come to asking, because others compute on the same machine or in the same process, is part of its wait.
    """

    def __init__(self, clients: int) -> None:
        self.times: Times = {kind: [] for kind in (*KINDS, ROUND)}
        self.alone = True
        self._since = [0.0] * clients

    def begin(self) -> None:
        """Tell all to begin."""
        self._since = [time.perf_counter()] * len(self._since)

    def note(self, kind: str, one: int) -> None:
        """Note that a caller has what it wanted."""
        if self.alone or kind == ROUND:
            now = time.perf_counter()
            self.times[kind].append(now - self._since[one])
            self._since[one] = now


# -- over HTTP ----------------------------------------------------------------------------------------


class Connection:
    """A connection that is kept open, with as little around it as HTTP takes.

    Clients of a server compute on machines of their own. Here they share its cores, and a library for HTTP takes longer
    for a call than the server does: then their own work would be measured.

    Args:
        address: Of the server.
        token: Lets them in.
    """

    def __init__(self, address: str, token: str) -> None:
        self._host, _, port = address.partition("//")[2].partition(":")
        self._port = int(port)
        self._head = f"Host: {self._host}\r\nAuthorization: Bearer {token}\r\n"

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**20)

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        sent = b"" if body is None else orjson.dumps(body)
        length = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n" if sent else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{length}\r\n".encode() + sent)
        async with asyncio.timeout(PATIENCE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            return int(head.split(b" ", 2)[1]), await self._reader.readexactly(size)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Clients:
    """Clients of a server, each with a connection of its own.

    Args:
        address: Of the server.
        token: Lets them in.
        clients: How many there are.
        rounds: How often each does everything.
        name: Begins their idempotency keys.
    """

    def __init__(self, address: str, token: str, clients: int, rounds: int, name: str) -> None:
        self._connections = [Connection(address, token) for _ in range(clients)]
        self._rounds, self._name = rounds, name
        self._seconds, self._errors = _Seconds(clients), list[str]()
        self._numbers: dict[int, int] = {}

    def run(self) -> Found:
        """Have them file, list and look."""
        asyncio.run(self._all())
        return self._seconds.times, self._errors

    async def _all(self) -> None:
        clients = range(len(self._connections))
        for connection in self._connections:
            await connection.open()
            await connection.call("GET", "/healthz")
        for kind in KINDS:
            self._seconds.begin()
            await asyncio.gather(*(self._all_of(kind, one) for one in clients))
        self._seconds.alone = False
        self._seconds.begin()
        await asyncio.gather(*(self._in_rounds(one) for one in clients))
        for connection in self._connections:
            connection.close()

    async def _all_of(self, kind: str, one: int) -> None:
        for turn in range(self._rounds):
            await self._act(kind, one, str(turn))

    async def _in_rounds(self, one: int) -> None:
        for turn in range(self._rounds):
            for kind in KINDS:
                await self._act(kind, one, f"{turn}r")
            self._seconds.note(ROUND, one)

    async def _act(self, kind: str, one: int, turn: str) -> None:
        if kind == "file":
            key = f"{self._name}-{one}-{turn}"
            filed = {"classes": [one % ASKED], "reason": "asked to", "idempotency_key": key}
            made = await self._timed(one, kind, "POST", "/models/1/requests", {"requests": [filed]})
            self._numbers[one] = 1 if made is None else orjson.loads(made)["items"][0]["id"]
        elif kind == "list":
            await self._timed(one, kind, "GET", f"/requests?limit={LISTED}")
        else:
            await self._timed(one, kind, "GET", f"/requests/{self._numbers[one]}")

    async def _timed(self, one: int, kind: str, method: str, path: str, body: object = None) -> bytes | None:
        status, answer = await self._connections[one].call(method, f"{API}{path}", body)
        self._seconds.note(kind, one)
        if status not in {200, 201}:
            self._errors.append(f"{status} {answer[:200].decode()}")
            return None
        return answer


# -- straight -----------------------------------------------------------------------------------------

Lend = Callable[[bool], AbstractContextManager[Ledger]]
"""Lends a ledger to one caller; is told whether it is to write."""


@contextmanager
def pooled(folder: Path, clients: int) -> Iterator[list[Lend]]:
    """Lend ledgers to callers as a server does: a few for all, at most half of them to those who write."""
    pool = LedgerPool(partial(open_ledger, find_config(folder), "bench"), WebSettings().threads, PATIENCE)
    yield [lambda writes: pool.borrow("bench", writes=writes)] * clients
    pool.close()


@contextmanager
def owned(folder: Path, clients: int) -> Iterator[list[Lend]]:
    """Give each caller an opened ledger."""
    ledgers = [open_ledger(find_config(folder), "bench") for _ in range(clients)]
    for ledger in ledgers:
        ledger.database.catch_up()
    yield [lambda _writes, ledger=ledger: nullcontext(ledger) for ledger in ledgers]  # type: ignore[misc]
    for ledger in ledgers:
        ledger.close()


class Straight:
    """Threads that do the same through the desk, without a server.

    Args:
        folder: Of the ledger.
        clients: How many there are.
        rounds: How often each does everything.
        name: Begins their idempotency keys.
        own: Whether each has a ledger of its own.
    """

    def __init__(self, folder: Path, clients: int, rounds: int, name: str, *, own: bool) -> None:
        self._folder, self._clients, self._rounds, self._name = folder, clients, rounds, name
        self._lends = owned if own else pooled
        self._seconds, self._errors = _Seconds(clients), list[str]()
        self._numbers: dict[int, int] = {}

    def run(self) -> Found:
        """Have them file, list and look."""
        with self._lends(self._folder, self._clients) as lends:
            for kind in KINDS:
                self._together(lends, partial(self._all_of, kind))
            self._seconds.alone = False
            self._together(lends, self._in_rounds)
        return self._seconds.times, self._errors

    def _together(self, lends: list[Lend], call: Callable[[Lend, int], None]) -> None:
        # Nobody is done before the last one begins.
        ready = threading.Barrier(self._clients, self._seconds.begin)

        def begin(lend: Lend, one: int) -> None:
            ready.wait()
            call(lend, one)

        with ThreadPoolExecutor(self._clients) as threads:
            for ended in [threads.submit(begin, lend, one) for one, lend in enumerate(lends)]:
                ended.result()

    def _all_of(self, kind: str, lend: Lend, one: int) -> None:
        for turn in range(self._rounds):
            self._try(lend, kind, one, str(turn))

    def _in_rounds(self, lend: Lend, one: int) -> None:
        for turn in range(self._rounds):
            for kind in KINDS:
                self._try(lend, kind, one, f"{turn}r")
            self._seconds.note(ROUND, one)

    def _try(self, lend: Lend, kind: str, one: int, turn: str) -> None:
        try:
            self._act(lend, kind, one, turn)
        except LedgerError as error:
            self._errors.append(repr(error))

    def _act(self, lend: Lend, kind: str, one: int, turn: str) -> None:
        with lend(kind == "file") as ledger:
            desk = LocalDesk(ledger, computes=False)
            if kind == "file":
                key = f"{self._name}-{one}-{turn}"
                filed = FiledRequest([f"index:{one % ASKED}"], reason="asked to", idempotency_key=key)
                done = desk.requests.file(1, [filed])
                self._numbers[one] = done["items"][0]["id"]
            else:
                done = (
                    desk.requests.all(limit=LISTED) if kind == "list" else desk.requests.show(self._numbers.get(one, 1))
                )
            # The document is written out as a server does.
            encoded(done)
        self._seconds.note(kind, one)
