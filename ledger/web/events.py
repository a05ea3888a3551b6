"""The stream of events: what is appended to the audit log, as it comes, for everybody who listens.

One look at the database serves all listeners; it is taken at once where the database tells of news. An event says that
something happened and to what; whoever wants to know more asks, and is told what they may know. So no event names a
class, whoever listens.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.concurrency import run_in_threadpool

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.errors import BusyError, LedgerError
from ledger.service.audit.listing import count_events

from .answers import encoded
from .ledgers import LedgerPool
from .settings import WebSettings

LOG = logging.getLogger("unledger.web")
PART = 200
"""Events that are read at a time."""
KEPT = 1000
"""Events that are kept for listeners who are a little behind; others read them from the log."""
KEEPALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that nothing in between takes the stream for dead."""


class EventFeed:
    """Follows the audit log while somebody listens.

    Args:
        pool: Lends ledgers.
        settings: How often to look, and how many may listen.
    """

    def __init__(self, pool: LedgerPool, settings: WebSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._news = asyncio.Condition()
        self._recent: deque[Document] = deque(maxlen=KEPT)
        self._head = 0
        self._listeners = 0
        self._poller: asyncio.Task[None] | None = None
        self._closing = False

    async def place(self, known: int | None) -> int:
        """Return the number of the event after which a stream begins.

        Found out before the listener is answered: whatever happens after that, they hear of.

        Args:
            known: Number of the last event that the listener knows; None, or one that is not yet, begins with the next.

        Raises:
            LedgerError: The audit log cannot be read.
        """
        newest = self._head if self._is_polled else await run_in_threadpool(self._newest)
        return newest if known is None or known > newest else known

    async def stream(self, place: int, still_admitted: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """Yield events as they are sent, until the listener goes, may not listen any more, or the server stops.

        Args:
            place: Number of the last event that is not sent.
            still_admitted: Asked from time to time whether the listener may still listen.
        """
        self._listeners += 1
        try:
            await self._start()
            checked = spoken = asyncio.get_running_loop().time()
            yield b": listening\n\n"
            while not self._closing:
                for event in await self._since(place):
                    place = int(event["seq"])
                    yield _message(event)
                    spoken = asyncio.get_running_loop().time()
                await self._wait(place)
                now = asyncio.get_running_loop().time()
                if now - checked >= self._settings.recheck:
                    checked = now
                    if not await still_admitted():
                        return
                if now - spoken >= KEEPALIVE:
                    spoken = now
                    yield KEEPALIVE_COMMENT
        finally:
            self._listeners -= 1

    def require_room(self) -> None:
        """Refuse one listener too many.

        Raises:
            BusyError: As many listen as may.
        """
        if self._listeners >= self._settings.most_streams:
            raise BusyError("too many streams of events are open", "close one, or ask again later")

    async def close(self) -> None:
        """End every stream."""
        self._closing = True
        async with self._news:
            self._news.notify_all()
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller

    @property
    def _is_polled(self) -> bool:
        return self._poller is not None and not self._poller.done()

    async def _start(self) -> None:
        """See to it that somebody looks for news."""
        if not self._is_polled:
            self._recent.clear()
            self._head = await run_in_threadpool(self._newest)
            # Somebody else may have started it meanwhile.
            if not self._is_polled:
                self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def hear(_kinds: frozenset[str]) -> None:
            # The server may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told.set)

        with contextlib.ExitStack() as listening:
            with contextlib.suppress(LedgerError):
                hearing = await run_in_threadpool(self._hearing)
                listening.enter_context(hearing(hear))
            await self._look_again_and_again(told)

    async def _look_again_and_again(self, told: asyncio.Event) -> None:
        while self._listeners and not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll):
                    await told.wait()
            told.clear()
            try:
                found = await run_in_threadpool(self._read, self._head)
            except LedgerError as error:
                # The database may be away for a while; streams wait for it.
                LOG.warning("no look at the audit log for events: %s", type(error).__name__)
                continue
            if found:
                async with self._news:
                    self._recent.extend(found)
                    self._head = int(found[-1]["seq"])
                    self._news.notify_all()

    async def _wait(self, place: int) -> None:
        async with self._news:
            if self._head > place or self._closing:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(KEEPALIVE, self._settings.recheck)):
                    await self._news.wait()

    async def _since(self, place: int) -> list[Document]:
        if place >= self._head:
            return []
        if self._recent and int(self._recent[0]["seq"]) <= place + 1:
            return [event for event in self._recent if int(event["seq"]) > place]
        return await run_in_threadpool(self._read, place)

    def _hearing(self) -> Callable[[Callable[[frozenset[str]], None]], contextlib.AbstractContextManager[None]]:
        with self._pool.borrow() as ledger:
            return ledger.hearing

    def _newest(self) -> int:
        with self._pool.borrow() as ledger:
            return count_events(ledger)

    def _read(self, after: int) -> list[Document]:
        with self._pool.borrow() as ledger:
            found = LocalDesk(ledger).audit.log(after=after, limit=PART)
        return [_event(item) for item in found["items"]]


def _event(item: Document) -> Document:
    return {name: item[name] for name in ("seq", "at", "kind", "model", "request")}


def _message(event: Document) -> bytes:
    return format_sse_event(data_str=encoded(event).decode(), event=str(event["kind"]), id=str(event["seq"]))
