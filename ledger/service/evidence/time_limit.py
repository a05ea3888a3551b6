"""Run a function in a child process that is killed when its time is up.

A thread cannot be ended from outside, and an alarm does not interrupt compiled code. A process can be killed whatever
it does. It is forked, so that it has what it needs without a copy being sent; it answers with bytes. Whatever it
changes in memory stays its own, and if it ends by itself without an answer, as after ``os._exit``, that is noticed.

What this does not stop: processes that the function starts in a session of their own, what it has written or sent by
then, and a system call that the kernel does not interrupt. A forked process cannot use CUDA.
"""

import contextlib
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import NoReturn

from ledger.errors import PluginError, UsageError

ANSWERED, FAILED = b"a", b"f"
CHUNK = 2**20


def run_within(call: Callable[[], bytes], seconds: float, culprit: str, *, most_bytes: int) -> bytes:
    """Return what a function returns, from a child process.

    Args:
        call: The function. A message of the :class:`PluginError` that it raises comes back as one.
        seconds: Most seconds that it may take.
        culprit: What it is, for errors.
        most_bytes: Largest answer.

    Raises:
        PluginError: The time is up, the process ended without an answer, or the function raised.
        UsageError: This system cannot fork.
    """
    if not hasattr(os, "fork"):
        raise UsageError("this system cannot limit the time of an evaluator", "leave the time limit out")
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with warnings.catch_warnings():
        # Newer Pythons warn of other threads here. The child computes on arrays, on one thread, and takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(call, writing)
    os.close(writing)
    try:
        answer = _read(reading, time.monotonic() + seconds, most_bytes)
    finally:
        os.close(reading)
        # Its session, so that what it started goes as well. It may be gone already.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if answer is None:
        raise PluginError(
            f"{culprit} took more than {seconds:g} s and was stopped", "nothing was recorded; allow it more time"
        )
    if answer[:1] == ANSWERED:
        return answer[1:]
    if answer[:1] == FAILED:
        raise PluginError(answer[1:].decode(errors="replace"), "nothing was recorded; report it to its author")
    code = os.waitstatus_to_exitcode(status)
    raise PluginError(f"{culprit} ended its process without an answer (exit code {code})", "nothing was recorded")


def _answer(call: Callable[[], bytes], writing: int) -> NoReturn:
    """In the child: compute, answer, and end without anything that the parent would do at its end."""
    code = 0
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # Standard output belongs to the answer of the command.
        os.dup2(2, 1)
        if (torch := sys.modules.get("torch")) is not None:
            # The threads of the parent do not exist here; waiting for them would never end.
            torch.set_num_threads(1)
        try:
            answer = ANSWERED + call()
        except PluginError as error:
            answer = FAILED + error.message.encode(errors="replace")
        with os.fdopen(writing, "wb") as stream:
            stream.write(answer)
    except BaseException:  # noqa: BLE001 - nothing of the parent may run here, whatever happened
        code = 1
    finally:
        os._exit(code)


def _read(reading: int, deadline: float, most_bytes: int) -> bytes | None:
    """Return everything that the child writes until it closes its end; None when the time is up first."""
    parts: list[bytes] = []
    left = most_bytes + CHUNK
    while left > 0:
        if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(reading, min(CHUNK, left))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
