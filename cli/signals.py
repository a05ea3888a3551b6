"""SIGTERM and SIGINT as a request to stop: the first one asks for it, the second one interrupts."""

import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Records the first signal in ``wanted`` and raises KeyboardInterrupt at the second.

    Use it as a context manager, in the main thread. On leaving, the previous signal handlers are restored.
    """

    def __init__(self) -> None:
        self._asked = False
        self._reading_end = self._writing_end = -1
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        # Writing to a pipe is safe in a signal handler, and waiting for the pipe wakes up at once.
        self._reading_end, self._writing_end = os.pipe()
        self._previous = {number: signal.signal(number, self._record) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._reading_end)
        os.close(self._writing_end)

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        os.write(self._writing_end, b"!")

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._asked

    def wait(self, seconds: float) -> None:
        """Return after some seconds, or as soon as a signal comes."""
        select.select([self._reading_end], [], [], seconds)
