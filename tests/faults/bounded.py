"""Run a call, in a process of its own if need be, and say what came of it, how long it took and how much memory.

A test file that tries many calls is run as a child process by :func:`outcomes_of_child` and prints one line for each.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ledger.errors import LedgerError

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a process is killed."""


@dataclass(frozen=True)
class Outcome:
    """What came of one call."""

    name: str
    error: str
    """Name of the exception's class; empty if there was none, ``killed`` if it did not end."""
    ours: bool
    """Whether the error is one of the ledger's own."""
    message: str
    seconds: float
    """Of processor time."""
    growth: int
    """Bytes that resident memory grew by at most."""

    def to_line(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


def outcomes_of_child(file: Path, folder: Path, *, seconds: float) -> list[Outcome]:
    """Run a file by itself with a folder to work in, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(file), str(folder)],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        text=True,
        check=False,
        cwd=folder,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def run_bounded(name: str, call: Callable[[], object]) -> Outcome:
    """Fork, call, and report; what the caller has imported is not counted."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, attempt(name, call).to_line().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
        said = pipe.read()
    os.waitpid(child, 0)
    return Outcome(**json.loads(said)) if said else Outcome(name, "killed", False, "", PATIENCE, 0)


def attempt(name: str, call: Callable[[], object]) -> Outcome:
    """Call in this process, and measure."""
    # The high-water mark of resident memory starts anew here.
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory("VmRSS"), time.process_time()
    error: BaseException | None = None
    try:
        call()
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is reported
        error = caught
    seconds = time.process_time() - began
    said = "" if error is None else str(getattr(error, "message", error))[:1000]
    kind = "" if error is None else type(error).__name__
    return Outcome(name, kind, isinstance(error, LedgerError), said, seconds, memory("VmHWM") - before)


def memory(kind: str) -> int:
    """Return a figure of this process's status, in bytes."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
