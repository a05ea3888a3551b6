"""A Ray cluster and a Dask scheduler on this machine, with worker processes that may be killed."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

import psutil

BEGIN_SECONDS = 180
BEGUN_SECONDS = 1.0
"""A worker that answers at the start and at the end of it has begun."""
DASK_MEMORY = ("MALLOC_TRIM_THRESHOLD_=268435456", "MALLOC_MMAP_THRESHOLD_=33554432")
"""By default Dask has its workers give freed memory back at once, and ask for it again for the next activation."""
SHARED_BYTES = 400 * 2**20
"""Memory for Ray's object store."""


@dataclass
class Cluster:
    """An engine that runs."""

    spec: str
    """What ``--executor`` calls it."""
    processes: list[subprocess.Popen[bytes]]
    workers: Callable[[], list[int]]
    """Returns the numbers of its worker processes."""
    killed: list[int] = field(default_factory=list)

    @property
    def everything(self) -> list[psutil.Process]:
        """All its processes."""
        return _everything(self.processes)

    def kill_one(self, random: Random) -> None:
        """Kill a worker, if there is one."""
        if workers := self.workers():
            self.killed.append(random.choice(workers))
            with suppress(ProcessLookupError):
                os.kill(self.killed[-1], signal.SIGKILL)


@contextmanager
def ray_cluster(workers: int = 2) -> Iterator[Cluster]:
    """Start a Ray cluster that asks for a token."""
    port = _free_port()
    # Short: the names of sockets below it may have a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    options = (
        "start --head --block --include-dashboard=false --disable-usage-stats --node-ip-address=127.0.0.1 "
        f"--port={port} --num-cpus={workers} --object-store-memory={SHARED_BYTES} --temp-dir={folder}"
    )
    command = [str(Path(sys.executable).with_name("ray")), *options.split()]
    with _running([command]) as processes:
        _wait_for(port)
        try:
            yield Cluster(f"ray:127.0.0.1:{port}", processes, partial(_ray_workers, processes))
        finally:
            for process in processes:
                process.terminate()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dask_cluster(workers: int = 2) -> Iterator[Cluster]:
    """Start a Dask scheduler and its workers, each with a nanny; return when they are there."""
    import distributed

    library: Any = distributed
    port, dask = _free_port(), str(Path(sys.executable).with_name("dask"))
    address = f"tcp://127.0.0.1:{port}"
    scheduler = [dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    options = ["--nworkers", str(workers), "--nthreads", "1", "--no-dashboard"]
    worker = ["env", *DASK_MEMORY, dask, "worker", address, *options]
    with tempfile.TemporaryDirectory() as folder, _running([scheduler]) as first:
        _wait_for(port)
        with (
            _running([[*worker, "--local-directory", folder]]) as second,
            library.Client(address, timeout=BEGIN_SECONDS, set_as_default=False) as client,
        ):
            client.wait_for_workers(workers, timeout=BEGIN_SECONDS)
            yield Cluster(f"dask:{address}", [*first, *second], partial(_dask_workers, client))


def _everything(started: list[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    found = []
    for one in started:
        with suppress(psutil.Error):
            parent = psutil.Process(one.pid)
            found += [parent, *parent.children(recursive=True)]
    return found


def _ray_workers(started: list[subprocess.Popen[bytes]]) -> list[int]:
    found = []
    for process in _everything(started):
        with suppress(psutil.Error):
            name = process.cmdline()[0]
            # A node ends with its agents, which are called much like its workers.
            if name.startswith("ray::") and not name.endswith("Agent"):
                found.append(process.pid)
    return found


def _dask_workers(client: Any) -> list[int]:
    # Only those that have answered for a while: all workers of one command end, if one of them dies before its nanny
    # knows that it has begun, which is a moment after the scheduler does.
    first = set(client.run(os.getpid, on_error="ignore").values())
    time.sleep(BEGUN_SECONDS)
    return sorted(first.intersection(client.run(os.getpid, on_error="ignore").values()))


class Killable(Protocol):
    """Something with workers."""

    def kill_one(self, random: Random) -> None:
        """Kill one of them, if there is one."""
        ...


@contextmanager
def killing(target: Killable, random: Random, most: int, seconds: tuple[float, float]) -> Iterator[None]:
    """Kill workers at random moments while the block runs, at most so many."""
    stop = threading.Event()

    def kill() -> None:
        for _ in range(most):
            if stop.wait(random.uniform(*seconds)):
                return
            target.kill_one(random)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _running(commands: list[list[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [
        subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - written above
        for one in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            with suppress(psutil.Error):
                below = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                _, left = psutil.wait_procs(below, timeout=10)
                for one in left:
                    with suppress(psutil.Error):
                        one.kill()
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + BEGIN_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise TimeoutError("the engine did not begin")


CLUSTERS = {"ray": ray_cluster, "dask": dask_cluster}
