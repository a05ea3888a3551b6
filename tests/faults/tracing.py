"""Run something in a child process under strace: count its file-system calls, or let one of them fail or kill it.

The child is forked from a process that has imported everything already, waits until it is traced, and only then begins:
so nothing is counted but what it does to files itself, and a run costs a few tenths of a second.
"""

import json
import mmap
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat",
    "unlink", "unlinkat", "ftruncate", "mkdir", "mkdirat",
)  # fmt: skip
"""Calls that change files, or make names for them."""
SHARED_BYTES = 1 << 16
LINE = re.compile(r"^(?P<thread>\d+)\s+(?P<call>\w+)\((?P<rest>.*)$")


@dataclass(frozen=True)
class Point:
    """One instance of a call: the ``number``-th of its kind in a run, counted from 1."""

    call: str
    number: int
    text: str
    """How strace showed it."""

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


@dataclass(frozen=True)
class Ended:
    """How a traced run ended."""

    acknowledged: bool
    """Whether it said that it was done."""
    killed: bool
    error: str
    """Kind and message of the exception that ended it; empty if none did."""
    typed: bool
    """Whether that was an error of the ledger's own."""


def find_strace() -> str | None:
    """Return the path of strace, if it is there and may trace."""
    program = shutil.which("strace")
    if program is None:
        return None
    tried = subprocess.run([program, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return program if tried.returncode == 0 else None


def run(
    body: Callable[[Callable[[], None]], None],
    *,
    log: Path | None = None,
    inject: str | None = None,
    largest_file: int | None = None,
) -> Ended:
    """Run a function in a forked child and say how it ended.

    Args:
        body: What to do; it is given a function to say so when it is done, which makes no calls.
        log: Trace the calls to this file.
        inject: What strace shall inject, as ``CALL:FAULT:when=N``; needs ``log``.
        largest_file: Let no file grow beyond so many bytes: a write across that border is a short one.
    """
    shared = mmap.mmap(-1, SHARED_BYTES)
    waiting, go = os.pipe()
    child = os.fork()
    if child == 0:
        _child(body, shared, waiting, largest_file)
    os.close(waiting)
    tracer = None if log is None else _attach(child, log, inject)
    os.write(go, b"!")
    os.close(go)
    _, status = os.waitpid(child, 0)
    if tracer is not None:
        tracer.communicate()
    acknowledged, said = bool(shared[0]), shared[1:].rstrip(b"\0")
    shared.close()
    told: dict[str, Any] = json.loads(said) if said else {"error": "", "typed": False}
    return Ended(acknowledged, os.WIFSIGNALED(status), told["error"], told["typed"])


def _child(
    body: Callable[[Callable[[], None]], None], shared: mmap.mmap, waiting: int, largest_file: int | None
) -> None:
    def acknowledge() -> None:
        # Memory shared with the parent outlives this process and takes no call that a fault could hit.
        shared[0] = 1

    def tell(error: str, *, typed: bool) -> None:
        said = json.dumps({"error": error, "typed": typed}).encode()[: SHARED_BYTES - 1]
        shared[1 : 1 + len(said)] = said

    try:
        os.read(waiting, 1)
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        body(acknowledge)
    except LedgerError as error:
        tell(f"{type(error).__name__}: {error.message}", typed=True)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent shall hear of it
        tell(f"{type(error).__name__}: {error}", typed=False)
    finally:
        os._exit(0)


def _attach(child: int, log: Path, inject: str | None) -> subprocess.Popen[str]:
    # A question mark lets strace pass over calls that a machine's architecture lacks.
    options = ["-f", "-y", "-s", "80", "-o", str(log), "-e", "signal=none"]
    options += ["-e", "trace=" + ",".join(f"?{call}" for call in CALLS)]
    options += ["-e", f"inject={inject}"] if inject else []
    command = ["strace", *options, "-p", str(child)]
    # In a session of its own: Ctrl-C would make it let go of the child.
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if "attached" not in said:
        raise RuntimeError(f"strace cannot attach: {said}")
    return tracer


def points(log: Path, root: Path) -> list[Point]:
    """Return the calls in a log that name something under a folder, in order.

    Calls on other files (modules that Python loads, say) are counted too, since strace counts them, and left out.
    """
    seen: dict[str, int] = {}
    found = []
    for line in log.read_text().splitlines():
        match = LINE.match(line)
        if match is not None:
            call = match["call"]
            seen[call] = seen.get(call, 0) + 1
            if str(root) in match["rest"]:
                found.append(Point(call, seen[call], match["rest"]))
    return found
