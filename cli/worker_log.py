"""The log of the daemon on stderr: a line for each event, in one format."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .render import say

NAME = "unledger"
"""The logger above all of this package's."""
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TIME = "%Y-%m-%dT%H:%M:%SZ"
"""Always UTC: machines in several time zones may work on one queue."""
FORMAT = "UNLEDGER_LOG"
"""Environment variable: ``json`` writes an object a line, for programs that collect logs."""
FACTS = "unledger"
"""Attribute of a record that holds its facts one by one."""


class JsonFormatter(logging.Formatter):
    """Writes a record as a JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record, TIME),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FACTS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _StderrHandler(logging.Handler):
    """Writes records where the command talks, so that progress bars and control characters are dealt with."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before
        formatter = JsonFormatter() if os.environ.get(FORMAT) == "json" else logging.Formatter(LINE, TIME)
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with the traceback of its exception below it."""
        self._before()
        if isinstance(self.formatter, JsonFormatter):
            # As it is: a line that is wrapped for a terminal is no JSON.
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        else:
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
