"""SIGTERM and SIGINT as a request to leave: the first asks, a second one insists."""

import os
import select
import signal
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes the first signal, for work that looks at ``wanted``; raises KeyboardInterrupt at the second.

    Use it in the main thread, as a context manager: at its end the signals mean what they meant before.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> Self:
        # A pipe: nothing else may safely be touched in a signal handler and waited for outside it.
        self._ear, self._mouth = os.pipe()
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._ear)
        os.close(self._mouth)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        os.write(self._mouth, b"!")

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._asked

    def wait(self, seconds: float) -> None:
        """Return after some seconds, or as soon as a signal comes."""
        select.select([self._ear], [], [], seconds)
