"""Signals during work: a worker that stays ends at its next step, any other gives its request back at once.

SIGHUP is left alone where it is ignored already, as under ``nohup``; so is SIGINT, as in the background of a script.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
Handler = Callable[[int, FrameType | None], Any]


class TerminatedError(KeyboardInterrupt):
    """A signal other than Ctrl-C ends the command.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def interruption(number: int) -> KeyboardInterrupt:
    """Return what to raise for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else TerminatedError(number)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that was interrupted: 128 plus the number of the signal, as shells have it."""
    return 128 + int(getattr(error, "number", signal.SIGINT))


class StopSignals:
    """Records the first signal in ``wanted``, and raises KeyboardInterrupt at the second.

    Further ones change nothing: they would come between the request in progress and the queue. Use it as a context
    manager, in the main thread. On leaving, the previous signal handlers are restored.
    """

    def __init__(self) -> None:
        self._came = 0
        self._reading_end = self._writing_end = -1
        self._woken = self._waking = -1
        self._handling = _handled(self._record)

    def __enter__(self) -> Self:
        # Writing to a pipe is safe in a signal handler, and waiting for the pipe wakes up at once.
        self._reading_end, self._writing_end = os.pipe()
        self._woken, self._waking = os.pipe()
        # Once it holds more than anybody needs, there is no use in writing to it, nor in waiting for room.
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waking, False)
        self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__(None, None, None)
        for end in (self._reading_end, self._writing_end, self._woken, self._waking):
            os.close(end)

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        self._came += 1
        if self._came == 1:
            os.write(self._writing_end, b"!")
        elif self._came == 2:
            raise KeyboardInterrupt

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._came > 0

    def wait(self, seconds: float, *, wakeful: bool = False) -> None:
        """Return after some seconds or at a signal; if ``wakeful``, also when another thread wakes this one."""
        ends = [self._reading_end, self._woken] if wakeful else [self._reading_end]
        ready, _, _ = select.select(ends, [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, select.PIPE_BUF)

    def wake(self) -> None:
        """Let a wakeful wait return, now or the next time."""
        with suppress(BlockingIOError):
            os.write(self._waking, b"!")


class InterruptingSignals:
    """Raises a KeyboardInterrupt at the first signal, wherever the program is.

    Further ones change nothing: they would come between the request in progress and the queue. Use it as a context
    manager; outside the main thread, where Python handles no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._handling = _handled(self._interrupt)

    def __enter__(self) -> Self:
        self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__(None, None, None)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            raise interruption(number)

    def check(self) -> None:
        """Return if no signal came.

        Raises:
            KeyboardInterrupt: One did, while a library was at work that swallows what a signal handler raises.
        """
        if self._number is not None:
            raise interruption(self._number)


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Handle signals while the block runs, but those that whoever started the program wants ignored."""
    previous = {}
    for number in _wanted(SIGNALS):
        previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _wanted(numbers: Sequence[signal.Signals]) -> list[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []
    return [n for n in numbers if n is signal.SIGTERM or signal.getsignal(n) is not signal.SIG_IGN]
