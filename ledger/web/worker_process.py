"""The worker beside a server: a process of its own, since it computes and the server must not."""

import asyncio
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ledger.config import Config

LOG = logging.getLogger("unledger.web")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a worker that ended is started again: twice as long each time."""
PATIENCE = 30.0
"""Seconds that a worker has to put its request back into the queue."""


def can_compute() -> bool:
    """Whether what computes is installed here."""
    return find_spec("torch") is not None


def by_default(config: Config) -> bool:
    """Whether a server keeps a worker beside it where nobody says: on a database that one machine alone reaches."""
    return config.database.startswith("sqlite")


class WorkerProcess:
    """Runs ``unledger work --forever`` for one ledger, and starts it again where it ends by itself.

    Args:
        root: The ledger's folder.
        actor: In whose name it works.
        device: Where it computes.
    """

    def __init__(self, root: Path, actor: str, device: str) -> None:
        cli = [sys.executable, "-m", "ledger.cli"]
        options = ["--ledger", str(root), "--actor", actor, "--device", device]
        launcher = [sys.executable, "-m", "ledger.web.worker_launcher", str(os.getpid())]
        self._command = [*launcher, *cli, *options, "work", "--forever"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        # What a worker says goes where the server's log goes; standard output stays the server's.
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=sys.stderr)  # noqa: S603

    async def watch(self) -> None:
        """Start it again whenever it ends."""
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            code = None if self._process is None else self._process.poll()
            if code is None:
                pause = FIRST_PAUSE
                continue
            LOG.warning("the worker ended with %d; it is started again", code)
            self.start()
            pause = min(2 * pause, LONGEST_PAUSE)

    def stop(self) -> None:
        """End it: what it carries out goes back into the queue."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            LOG.warning("the worker does not end, and is killed: its request is taken up again when its lease runs out")
            self._process.kill()
            self._process.wait()
