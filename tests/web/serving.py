"""A server in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ledger.config import find_config
from tests.fixtures.canary import WATCH, require_canary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 300
"""How long a process may take to start: machines that test are busy."""


class Server:
    """A running ``unledger serve``."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        require_canary(find_config(folder))
        command = [sys.executable, "-m", "ledger.cli", "-L", str(folder), "serve", "--port", str(port), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.start()
        self.link = self.process.stdout.readline().strip()
        timer.cancel()
        assert self.link, f"no server within {SECONDS} s: {self.process.stderr.read()}"
        self.url = self.link.partition("/login")[0]
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Ask it to end, and return how it did."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> int:
        """End it as a crash does."""
        self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        WATCH.look("log", *self.log)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(line.rstrip("\n") for line in self.process.stderr)


@contextmanager
def served_by_process(folder: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """Serve a ledger until the block ends."""
    server = Server(folder, *options, port=port)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def wait_until(done: Callable[[], object]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.02)
