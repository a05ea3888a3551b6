"""Executor ``processes:N``: calls run in N processes of this machine, each of which is replaced when it dies.

A process pool of the standard library is broken for good by the death of one worker, and all that ran in it is lost.
Here every worker has a pipe and a thread of its own: a death costs the one call that ran there, which runs again.
Workers end when this process does, however it ends: their pipes are closed then.
"""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from weakref import finalize

from ledger.errors import UsageError
from ledger.hookspecs import hookimpl

PREFIX = "processes:"
MOST_WORKERS = 1024
MOST_DEATHS = 4
"""Workers that one call may cost."""
PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""


@dataclass(frozen=True)
class _Call:
    future: "Future[Any]"
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class WorkerDiedError(RuntimeError):
    """A call cost several workers their lives."""


class ProcessesExecutor(Executor):
    """Runs calls in processes of this machine.

    Args:
        workers: Number of processes; each is started with its first call.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._context: BaseContext | None = None
        self._lock = threading.Lock()
        self._processes: set[BaseProcess] = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Queue a call.

        Raises:
            RuntimeError: The executor was shut down.
        """
        if self._closed.is_set():
            raise RuntimeError("the executor was shut down")
        with self._lock:
            if self._context is None:
                self._context = _context(call.__module__)
        future: Future[Any] = Future()
        self._queue.put(_Call(future, call, args, kwargs))
        return future

    def share(self, data: bytes) -> Callable[[], bytes]:
        """Put bytes into memory that workers can open; it is freed when nobody holds what this returns."""
        if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
            return _Carried(data)
        # Memory without a name: nothing is left behind, whoever dies, and no plain weights lie in a file.
        number = os.memfd_create("unledger", os.MFD_CLOEXEC)
        with open(number, "wb", closefd=False) as file:
            file.write(data)
        shared = _InMemory(f"/proc/{os.getpid()}/fd/{number}")
        finalize(shared, os.close, number)
        return shared

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the worker processes."""
        with self._lock:
            return tuple(process.pid for process in self._processes if process.pid is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001 - as declared
        """End all workers; with ``cancel_futures`` at once, else when they have run what was submitted."""
        self._closed.set()
        if cancel_futures:
            while True:
                try:
                    call = self._queue.get_nowait()
                except queue.Empty:
                    break
                if call is not None:
                    call.future.cancel()
        for _ in self._threads:
            self._queue.put(None)
        if cancel_futures:
            with self._lock:
                for process in self._processes:
                    process.kill()
        if wait:
            for thread in self._threads:
                thread.join()

    # -- a worker, seen from here -------------------------------------------------------------------

    def _serve(self) -> None:
        """Pass calls on to one worker, until there are no more."""
        worker: tuple[BaseProcess, Connection] | None = None
        try:
            while (one := self._queue.get()) is not None:
                if one.future.set_running_or_notify_cancel():
                    worker = self._run(one, worker)
        finally:
            if worker is not None:
                self._end(*worker)

    def _run(self, one: _Call, worker: tuple[BaseProcess, Connection] | None) -> tuple[BaseProcess, Connection] | None:
        """Run a call in a worker, in a new one if that dies; return the worker that is left."""
        for _ in range(MOST_DEATHS):
            try:
                worker = worker or self._start()
                worker[1].send((one.call, one.args, one.kwargs))
                fine, result = worker[1].recv()
            except (EOFError, ConnectionError, BrokenPipeError):
                if worker is not None:
                    self._end(*worker)
                worker = None
                if self._closed.is_set():
                    break
                continue
            except Exception as error:  # noqa: BLE001 - of pickling, or of starting a process
                one.future.set_exception(error)
                return worker
            if fine:
                one.future.set_result(result)
            else:
                one.future.set_exception(RuntimeError(result))
            return worker
        one.future.set_exception(
            WorkerDiedError(f"{MOST_DEATHS} workers died of one call; has the machine memory left?")
        )
        return None

    def _start(self) -> tuple[BaseProcess, Connection]:
        assert self._context is not None
        ours, theirs = self._context.Pipe()
        with self._lock:
            if self._closed.is_set():
                raise EOFError
            process = self._context.Process(target=_work, args=(theirs,), daemon=True)  # type: ignore[attr-defined]
            process.start()
            self._processes.add(process)
        theirs.close()
        return process, ours

    def _end(self, process: BaseProcess, pipe: Connection) -> None:
        pipe.close()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        with self._lock:
            self._processes.discard(process)


def _context(module: str) -> BaseContext:
    """Return how processes are made: from one that has loaded what calls need, so a new one is there at once."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _work(pipe: Connection) -> None:
    """In the worker: run what comes through the pipe, until it is closed."""
    # Ctrl-C goes to every process of a terminal; what it means is decided by the one that hands out calls.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            call, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the worker goes on
            answer = False, f"{type(error).__name__}: {error}"
        pipe.send(answer)


class _InMemory:
    """Bytes in memory of the process that shares them."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self) -> bytes:
        return Path(self._path).read_bytes()


@dataclass(frozen=True)
class _Carried:
    """Bytes that travel with every call, where memory cannot be shared."""

    data: bytes

    def __call__(self) -> bytes:
        return self.data


@hookimpl
def unledger_executor(spec: str) -> Executor | None:
    """Answer to ``processes:N``.

    Raises:
        UsageError: N is no number of processes.
    """
    if not spec.startswith(PREFIX):
        return None
    said = spec.removeprefix(PREFIX)
    if not said.isdecimal() or not 1 <= int(said) <= MOST_WORKERS:
        raise UsageError(f"{spec!r} is no number of processes", f"write processes:N, with N from 1 to {MOST_WORKERS}")
    return ProcessesExecutor(int(said))
