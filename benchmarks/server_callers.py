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
from typing import Any

import httpx
from filing import CLASSES

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
PATIENCE = 120.0
KINDS = ("file", "list", "show")
ROUND = "round of all three"
Times = dict[str, list[float]]
Found = tuple[Times, list[str]]
"""How long everything took, and what failed."""


class _Seconds:
    """Notes how long everything took: alone, and in rounds."""

    def __init__(self) -> None:
        self.times: Times = {kind: [] for kind in (*KINDS, ROUND)}
        self.alone = True

    def note(self, kind: str, begun: float) -> None:
        """Note the end of something."""
        if self.alone or kind == ROUND:
            self.times[kind].append(time.perf_counter() - begun)


# -- over HTTP ----------------------------------------------------------------------------------------


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
        self._address, self._headers = address, {"Authorization": f"Bearer {token}"}
        self._clients, self._rounds, self._name = clients, rounds, name
        self._seconds, self._errors = _Seconds(), list[str]()
        self._numbers: dict[int, int] = {}

    def run(self) -> Found:
        """Have them file, list and look."""
        asyncio.run(self._all())
        return self._seconds.times, self._errors

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=self._clients, max_keepalive_connections=self._clients)
        async with httpx.AsyncClient(
            base_url=self._address, headers=self._headers, limits=limits, timeout=PATIENCE
        ) as client:
            await client.get(f"{API}/caller")
            for kind in KINDS:
                await asyncio.gather(*(self._all_of(client, kind, one) for one in range(self._clients)))
            self._seconds.alone = False
            await asyncio.gather(*(self._in_rounds(client, one) for one in range(self._clients)))

    async def _all_of(self, client: httpx.AsyncClient, kind: str, one: int) -> None:
        for turn in range(self._rounds):
            await self._act(client, kind, one, str(turn))

    async def _in_rounds(self, client: httpx.AsyncClient, one: int) -> None:
        for turn in range(self._rounds):
            begun = time.perf_counter()
            for kind in KINDS:
                await self._act(client, kind, one, f"{turn}r")
            self._seconds.note(ROUND, begun)

    async def _act(self, client: httpx.AsyncClient, kind: str, one: int, turn: str) -> None:
        if kind == "file":
            key = f"{self._name}-{one}-{turn}"
            filed = {"classes": [one % (CLASSES - 3)], "reason": "asked to", "idempotency_key": key}
            made = await self._timed(client, kind, "POST", "/models/1/requests", {"requests": [filed]})
            self._numbers[one] = 1 if made is None else made["items"][0]["id"]
        elif kind == "list":
            await self._timed(client, kind, "GET", f"/requests?limit={LISTED}")
        else:
            await self._timed(client, kind, "GET", f"/requests/{self._numbers[one]}")

    async def _timed(self, client: httpx.AsyncClient, kind: str, method: str, path: str, body: object = None) -> Any:
        begun = time.perf_counter()
        answer = await client.request(method, f"{API}{path}", json=body)
        self._seconds.note(kind, begun)
        if answer.status_code not in {200, 201}:
            self._errors.append(f"{answer.status_code} {answer.text[:200]}")
            return None
        return answer.json()


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
        self._seconds, self._errors = _Seconds(), list[str]()
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
        ready = threading.Barrier(self._clients)

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
            begun = time.perf_counter()
            for kind in KINDS:
                self._try(lend, kind, one, f"{turn}r")
            self._seconds.note(ROUND, begun)

    def _try(self, lend: Lend, kind: str, one: int, turn: str) -> None:
        try:
            self._act(lend, kind, one, turn)
        except LedgerError as error:
            self._errors.append(repr(error))

    def _act(self, lend: Lend, kind: str, one: int, turn: str) -> None:
        begun = time.perf_counter()
        with lend(kind == "file") as ledger:
            desk = LocalDesk(ledger, computes=False)
            if kind == "file":
                key = f"{self._name}-{one}-{turn}"
                filed = FiledRequest([f"index:{one % (CLASSES - 3)}"], reason="asked to", idempotency_key=key)
                done = desk.requests.file(1, [filed])
                self._numbers[one] = done["items"][0]["id"]
            else:
                done = (
                    desk.requests.all(limit=LISTED) if kind == "list" else desk.requests.show(self._numbers.get(one, 1))
                )
            # The document is written out as a server does.
            encoded(done)
        self._seconds.note(kind, begun)
