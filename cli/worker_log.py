"""The log of the daemon on stderr: a line for each event, in one format."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .render import say

NAME = "unledger"
"""The logger above all of this package's."""
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Always UTC: machines in several time zones may work on one queue."""


class _StderrHandler(logging.Handler):
    """Writes records where the command talks, so that progress bars and control characters are dealt with."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before
        formatter = logging.Formatter(LINE, TIME)
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with the traceback of its exception below it."""
        self._before()
        say(self.format(record))


@contextmanager
def log_to_stderr(before: Callable[[], None]) -> Iterator[None]:
    """Write what is logged from level INFO on to stderr while the block runs.

    Args:
        before: Called before each line, e.g. to end a progress bar.
    """
    logger, handler = logging.getLogger(NAME), _StderrHandler(before)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
