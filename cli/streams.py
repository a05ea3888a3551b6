"""Standard output and standard error as commands write to them.

Any text can be printed: what the terminal's encoding lacks is spelled with backslashes. An answer that cannot be
written is an error of its own, because what the command did is done all the same.
"""

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from ledger.errors import OutputError

LEAST_WIDTH = 20
"""Characters of the narrowest terminal; in a narrower one, help would take a line for each letter."""
STYLES = re.compile(r"\x1b\[[0-9;]*m")


class ClosedPipeError(Exception):
    """Whoever read standard output has closed it, as ``head`` does; that is not a failure."""


class Output:
    """One of the two streams: it writes what can be written, and tells in which way the rest failed.

    Args:
        stream: The stream beneath; None where whoever started the program had closed it.
        told: Whether a failure is raised. Nobody can be told that standard error fails.
    """

    def __init__(self, stream: TextIO | None, *, told: bool) -> None:
        self._stream: Any = stream
        self._told = told
        self._plain = bool(os.environ.get("NO_COLOR"))
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            ClosedPipeError: Nobody reads it any more.
            OutputError: It cannot be written.
        """
        with self._failures():
            # A style is not always a colour, but who asks for none means bold and dim as well.
            self._beneath().write(STYLES.sub("", text) if self._plain and "\x1b" in text else text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are, whatever the encoding.

        Raises:
            ClosedPipeError: Nobody reads them any more.
            OutputError: They cannot be written.
        """
        with self._failures():
            self._beneath().flush()
            self._beneath().buffer.write(data)

    def flush(self) -> None:
        """Hand on what was written.

        Raises:
            ClosedPipeError: Nobody reads it any more.
            OutputError: It cannot be written.
        """
        if self._stream is not None:
            with self._failures():
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the file's number.

        Raises:
            OSError: There is none.
        """
        return int(self._beneath().fileno())

    def speaks_unicode(self) -> bool:
        """Whether every character can be written as it is."""
        return str(getattr(self._stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _beneath(self) -> Any:
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._abandon()
            if self._told and error.errno == errno.EPIPE:
                raise ClosedPipeError from None
            if self._told:
                raise OutputError(f"the answer cannot be written to standard output: {error.strerror}") from error

    def _abandon(self) -> None:
        """Send what is still in the buffer nowhere: Python would try to write it at the end, and fail loudly."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._beneath().fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            """It has no number, as in a test; then nothing is written at the end either."""


@contextmanager
def guarded() -> Iterator[None]:
    """Let the two streams be :class:`Output` while the block runs."""
    if isinstance(sys.stdout, Output):
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", Output(before[0], told=True))
    sys.stderr = cast("TextIO", Output(before[1], told=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are.

    Raises:
        OutputError: They cannot be written.
    """
    cast("Output", sys.stdout).write_bytes(data)


def speaks_unicode() -> bool:
    """Whether standard output can hold every character."""
    return cast("Output", sys.stdout).speaks_unicode()


def read_bytes(most: int) -> bytes:
    """Return what standard input holds, as far as ``most`` bytes."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read(most)


def open_closed_ones() -> None:
    """Point standard streams that are closed to nowhere.

    Otherwise the next file that is opened, which may be the database, gets the number of a standard stream, and what a
    library prints there ends up in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


def settle_width() -> None:
    """Forget a width of the terminal that is not one, and be content with the least one that can be read."""
    said = os.environ.get("COLUMNS")
    if said is None:
        return
    if not (said.isascii() and said.isdigit() and 0 < int(said[:6]) < 10_000):
        del os.environ["COLUMNS"]
    elif int(said) < LEAST_WIDTH:
        os.environ["COLUMNS"] = str(LEAST_WIDTH)
