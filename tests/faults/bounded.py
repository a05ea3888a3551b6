"""Run a call in a process of its own, and say what came of it, how long it took and how much memory."""

import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ledger.errors import LedgerError

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


def run_bounded(name: str, call: Callable[[], object]) -> Outcome:
    """Fork, call, and report; what the caller has imported is not counted."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, json.dumps(asdict(_attempt(name, call))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
        said = pipe.read()
    os.waitpid(child, 0)
    return Outcome(**json.loads(said)) if said else Outcome(name, "killed", False, "", PATIENCE, 0)


def _attempt(name: str, call: Callable[[], object]) -> Outcome:
    # The high-water mark of resident memory starts anew here.
    Path("/proc/self/clear_refs").write_text("5")
    before, began = _memory("VmRSS"), time.process_time()
    error: BaseException | None = None
    try:
        call()
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is reported
        error = caught
    seconds = time.process_time() - began
    said = "" if error is None else str(getattr(error, "message", error))[:1000]
    kind = "" if error is None else type(error).__name__
    return Outcome(name, kind, isinstance(error, LedgerError), said, seconds, _memory("VmHWM") - before)


def _memory(kind: str) -> int:
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
