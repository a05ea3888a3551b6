"""A file that may be read only so many times while the header of an image is looked for."""

import io

MOST_READS = 10_000
"""Reads until an image's header must be complete; ordinary headers take fewer than a hundred. Some readers take a time
that grows with the square of the number of comments."""


class HeaderReader(io.BufferedReader):
    """A binary file whose reads are counted until :meth:`release`; takes the original's place and closes it.

    Args:
        file: An opened file, or the bytes of one; not to be used afterwards.
    """

    def __init__(self, file: io.BufferedReader | io.BytesIO) -> None:
        super().__init__(file if isinstance(file, io.BytesIO) else file.detach())
        self._left: float = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes.

        Raises:
            ValueError: The header does not end.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError("its header has too many parts")
        return super().read(size)

    def release(self) -> None:
        """Stop counting: the header is complete."""
        self._left = float("inf")

    @property
    def size(self) -> int:
        """Number of bytes."""
        place = self.tell()
        try:
            return self.seek(0, io.SEEK_END)
        finally:
            self.seek(place)
