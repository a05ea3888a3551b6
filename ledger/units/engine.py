"""Hand units out to an executor, and gather what they return: in order, checked, again where an engine lost one.

Importing it does not import torch.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from weakref import WeakSet

from ledger.digest import sha256_hex
from ledger.errors import EngineLostError, LedgerError
from ledger.hookspecs import SharingExecutor
from ledger.plugin_manager import Plugins, guarded

if TYPE_CHECKING:
    from .running import Unit, UnitResult

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LOCAL = "local"
"""The executor where nobody names another."""
WORKERS = 4
"""Calls at the same time, of an executor that does not say."""
AHEAD = 2
"""Units handed out for each worker: one runs, and one waits for it."""
MOST_WAITING = 64
"""Results that may wait for one before them."""
MOST_TRIES = 4
"""Times that a unit is handed out: what the engine itself tries again is not counted."""
LOOK_SECONDS = 2.0
"""Between two looks at whether the engine is still there."""
MOST_REMEMBERED_BYTES = 2**27
"""Results that are kept for the next try, should the engine be lost; class spaces are stored at once instead."""
MOST_SHARED = 6
"""Shared files, of weights mostly, that an engine holds at the same time."""
HINT = "see to the engine, then run the same command again: what is finished is not computed again"


class Task(Protocol[T_co]):
    """A part of a computation, before anybody knows where it runs."""

    def here(self) -> T_co:
        """Compute it in this process, with what is open already."""
        ...

    def unit(self) -> "Unit":
        """Return it as a unit that can travel, images included."""
        ...

    def read(self, data: bytes) -> T_co:
        """Return what the unit's result says."""
        ...


@dataclass(eq=False)
class Flight:
    """A unit that was handed out."""

    unit: "Unit"
    future: "Future[UnitResult] | None"
    keep: bool = False
    tries: int = 1
    data: bytes | None = None
    """Its result, once it is there."""
    error: Exception | None = None
    """What the unit raised."""

    @property
    def landed(self) -> bool:
        """Whether nothing more will come."""
        return self.data is not None or self.error is not None


@dataclass(eq=False)
class _Waiting(Generic[T]):
    task: Task[T]
    flight: Flight


@dataclass(eq=False)
class _Shared:
    give: Callable[[], bytes]
    handle: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class _Inline:
    """Bytes that travel with every call, for executors that cannot share."""

    data: bytes

    def __call__(self) -> bytes:
        return self.data


@dataclass(eq=False)
class Engine:
    """The executor of one ledger, opened when it is first needed.

    Args:
        plugins: Returns the plugins.
        spec: Which executor.
    """

    plugins: Callable[[], Plugins]
    spec: str = LOCAL
    redone: int = field(default=0, init=False)
    """Units that were handed out again."""
    _executor: Executor | None = field(default=None, init=False)
    _shared: "OrderedDict[str, _Shared]" = field(default_factory=OrderedDict, init=False)
    _remembered: "OrderedDict[str, bytes]" = field(default_factory=OrderedDict, init=False)
    _flying: "WeakSet[Flight]" = field(default_factory=WeakSet, init=False)
    _workers: int = field(default=1, init=False)
    _count_again: float = field(default=0.0, init=False)
    _look_again: float = field(default=0.0, init=False)

    @property
    def one_at_a_time(self) -> bool:
        """Whether units run in this process, one after another."""
        return self.spec == LOCAL

    def require(self) -> None:
        """Open the executor, if it is not open.

        Raises:
            UsageError: No plugin knows it, or it is written wrongly.
            NotInstalledError: It is not installed.
            EngineLostError: It cannot be reached.
        """
        # Everybody has it: no plugin, and no torch with it, is loaded by a worker that has nothing to do.
        if self.one_at_a_time:
            return
        if self._executor is not None and not _alive(self._executor):
            self._drop()
        _ = self.executor

    @property
    def executor(self) -> Executor:
        """The executor."""
        if self._executor is None:
            self._executor = self.plugins().executor(self.spec)
        return self._executor

    @property
    def in_process(self) -> bool:
        """Whether units are not handed out at all, but run where they are needed."""
        return bool(getattr(self.executor, "in_process", False))

    @property
    def recorded(self) -> str:
        """What a version records: the kind of the executor and its number, without the address of a machine."""
        kind, _, rest = self.spec.partition(":")
        return self.spec if rest.isdecimal() else kind

    @property
    def workers(self) -> int:
        """Number of units that run at the same time."""
        now = time.monotonic()
        if now >= self._count_again:
            # It may change, and asking may cost a round trip.
            self._workers = max(1, int(getattr(self.executor, "workers", WORKERS)))
            self._count_again = now + LOOK_SECONDS
        return self._workers

    def offer(self, digest: str, give: Callable[[], bytes]) -> None:
        """Say where the shared bytes of a digest come from; they are read when a unit first needs them."""
        if digest not in self._shared:
            self._shared[digest] = _Shared(give)

    def withdraw(self, digest: str) -> None:
        """Say that no unit will need some bytes any more."""
        self._shared.pop(digest, None)

    def each(self, tasks: Iterable[Task[T]], *, keep: bool = False) -> Iterator[T]:
        """Yield what tasks come to, in their order, whatever order they end in.

        Should the engine be lost, what had ended by then is yielded first.

        Args:
            tasks: Each is asked for its unit just before that is handed out.
            keep: Whether results are kept in memory for the next try, since the caller does not store each at once.

        Raises:
            EngineLostError: The engine is lost; the next call opens it anew.
            LedgerError: What a unit raised, in its turn.
        """
        if self.in_process:
            for task in tasks:
                yield task.here()
            return
        rest = iter(tasks)
        waiting: deque[_Waiting[T]] = deque()
        try:
            while self._fill(waiting, rest, keep=keep) or waiting:
                self.until(waiting[0].flight, [one.flight for one in waiting])
                first = waiting.popleft()
                yield first.task.read(self.result(first.flight))
        except EngineLostError:
            for one in waiting:
                self._arrived(one.flight)
                if (data := one.flight.data) is not None:
                    yield one.task.read(data)
            raise
        finally:
            for one in waiting:
                self.cancel(one.flight)

    def _fill(self, waiting: "deque[_Waiting[T]]", rest: Iterator[Task[T]], *, keep: bool) -> bool:
        """Hand out as many units as there is room for; return whether any was."""
        before = len(waiting)
        while self._room([one.flight for one in waiting]) and (task := next(rest, None)) is not None:
            waiting.append(_Waiting(task, self.submit(task.unit(), keep=keep)))
        return len(waiting) > before

    def submit(self, unit: "Unit", *, keep: bool = False) -> Flight:
        """Hand a unit out, unless its result is known.

        Args:
            unit: The unit.
            keep: Whether its result is kept for another try.

        Raises:
            EngineLostError: The engine is lost.
        """
        known = self._remembered.get(unit.digest)
        if known is not None:
            self._remembered.move_to_end(unit.digest)
            return Flight(unit, None, data=known)
        flight = Flight(unit, self._hand_out(unit), keep=keep)
        self._flying.add(flight)
        return flight

    def result(self, flight: Flight) -> bytes:
        """Return what a unit returned, as soon as it is there.

        Raises:
            EngineLostError: The engine is lost.
            LedgerError: What the unit raised.
        """
        self.until(flight, [flight])
        if flight.error is not None:
            raise flight.error
        assert flight.data is not None
        return flight.data

    def until(self, wanted: Flight, flights: Iterable[Flight]) -> None:
        """Wait until one unit has ended; meanwhile others are handed out again where they were lost.

        Raises:
            EngineLostError: The engine is lost.
        """
        flights = list(flights)
        while not wanted.landed:
            futures = [one.future for one in flights if not one.landed and one.future is not None]
            wait(futures, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            for one in flights:
                self._look(one)
            if not wanted.landed and time.monotonic() >= self._look_again:
                if self._executor is not None and not _alive(self._executor):
                    raise self._lost("it is not there any more")
                self._look_again = time.monotonic() + LOOK_SECONDS

    def cancel(self, flight: Flight) -> None:
        """Do without a unit's result."""
        if flight.future is not None and not flight.landed:
            with suppress(Exception):
                flight.future.cancel()

    def close(self) -> None:
        """Let go of the executor and of everything that was shared."""
        self._drop()
        self._shared.clear()
        self._remembered.clear()

    # -- the executor -------------------------------------------------------------------------------

    def _room(self, flights: list[Flight]) -> bool:
        flying = sum(not one.landed for one in flights)
        return flying < AHEAD * self.workers and len(flights) < MOST_WAITING + flying

    def _hand_out(self, unit: "Unit") -> "Future[UnitResult]":
        from .running import run_unit

        executor = self.executor
        try:
            return executor.submit(run_unit, unit, {digest: self._share(executor, digest) for digest in unit.needs})
        except LedgerError:
            raise
        except Exception as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error

    def _share(self, executor: Executor, digest: str) -> Callable[[], bytes]:
        shared = self._shared[digest]
        self._shared.move_to_end(digest)
        if shared.handle is None:
            data = shared.give()
            shared.handle = (
                guarded(lambda: executor.share(data), f"executor {self.spec}")
                if isinstance(executor, SharingExecutor)
                else _Inline(data)
            )
            held = [one for one in self._shared.values() if one.handle is not None]
            for one in held[: max(0, len(held) - MOST_SHARED)]:
                one.handle = None
        return shared.handle

    def _look(self, flight: Flight) -> None:
        """Take note of what became of a unit; hand it out again if it was lost."""
        if why := self._arrived(flight):
            if flight.tries >= MOST_TRIES:
                raise self._lost(f"it lost one unit {flight.tries} times, at last: {why}")
            flight.tries += 1
            self.redone += 1
            flight.future = self._hand_out(flight.unit)

    def _arrived(self, flight: Flight) -> str:
        """Take note of a result that is there; return why there is none, or an empty text if one may still come."""
        if flight.landed or flight.future is None or not flight.future.done():
            return ""
        try:
            result = flight.future.result(timeout=0)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - engines raise what they like, and cancel what they lost
            return f"{type(error).__name__}: {error}"
        if result.unit != flight.unit.digest or result.digest != sha256_hex(result.data):
            return "it delivered another result than was asked for"
        if result.fault is not None:
            flight.error = result.fault.error()
        else:
            flight.data = result.data
            if flight.keep:
                self._remember(flight.unit, result.data)
        return ""

    def _remember(self, unit: "Unit", data: bytes) -> None:
        """Keep a result for the next try, should the engine be lost before all of this is recorded."""
        self._remembered[unit.digest] = data
        while sum(map(len, self._remembered.values())) > MOST_REMEMBERED_BYTES:
            self._remembered.popitem(last=False)

    def _lost(self, why: str) -> EngineLostError:
        for flight in tuple(self._flying):
            self._arrived(flight)  # what came in meanwhile is not lost
        self._drop()
        return EngineLostError(f"the engine of executor {self.recorded} was lost: {why[:300]}", HINT)

    def _drop(self) -> None:
        executor, self._executor = self._executor, None
        self._count_again = 0.0
        for shared in self._shared.values():
            shared.handle = None
        if executor is not None:
            with suppress(Exception):
                executor.shutdown(wait=False, cancel_futures=True)


def _alive(executor: Executor) -> bool:
    alive = getattr(executor, "alive", None)
    if alive is None:
        return True
    try:
        return bool(alive())
    except Exception:  # noqa: BLE001 - it cannot even be asked
        return False
