"""Streaming second moment and mean of a linear map's input rows.

Index convention, here and in the other modules of this package: ``n`` rows, ``i`` inputs of the
linear map, ``o`` outputs, ``r`` rank.
"""

import torch
from torch import Tensor

from .compression import LARGEST_EXACT_SIZE, ROWS_AT_ONCE, compress, compress_gram, energy, truncate
from .spaces import Space

CHUNK_ROWS = 1024
"""Rows that the buffer holds before they are folded into the Gram matrix or the factor."""


class CovarianceAccumulator:
    """Accumulate ``G = sum x x^T`` (uncentred) and ``sum x`` over rows that arrive in batches of any size.

    Narrow maps keep the exact Gram matrix in float64. Wide ones keep a factor ``F`` (r, i) with
    ``F^T F`` close to ``G``: each time the buffer is full, the factor and the buffer are compressed
    together. What is cut off is added to the error bound. The sum of the rows is kept whole, in float64.

    Rows pass through a buffer that is emptied at a fixed size, so the result does not depend on how they were batched,
    to the last bit, and memory does not grow with their number.

    Args:
        width: Number of inputs ``i``.
        max_rank: Largest rank kept.
    """

    def __init__(self, width: int, *, max_rank: int) -> None:
        self.width = width
        self.max_rank = max_rank
        self.rows = 0
        self._trace = 0.0
        self._cut = 0.0
        self._buffer: Tensor | None = None
        self._filled = 0
        self._sum: Tensor | None = None
        self._gram: Tensor | None = None
        self._factor: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Add a batch of input rows.

        Args:
            rows: Finite values, shape (n, i), any floating dtype.
        """
        self.rows += rows.shape[0]
        start = 0
        while start < rows.shape[0]:
            if self._filled == CHUNK_ROWS:
                self._fold()
            stop = min(rows.shape[0], start + CHUNK_ROWS - self._filled)
            filled = self._filled + stop - start
            self._room_for(filled, rows.device)[self._filled : filled] = rows[start:stop]
            self._filled, start = filled, stop

    def _room_for(self, rows: int, device: torch.device) -> Tensor:
        """Return the buffer, with room for so many rows: a network's buffers of full size are hundreds of megabytes."""
        if self._buffer is None:
            self._buffer = torch.empty(rows, self.width, device=device)
        elif len(self._buffer) < rows:
            grown = torch.empty(min(CHUNK_ROWS, max(rows, 2 * len(self._buffer))), self.width, device=device)
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer = grown
        return self._buffer

    def _fold(self) -> None:
        """Empty the buffer into the Gram matrix or the factor."""
        if self._buffer is None or self._filled == 0:
            return
        chunk = self._buffer[: self._filled]
        self._filled = 0
        total = _sum_of_rows(chunk)
        self._sum = total if self._sum is None else self._sum + total
        if self.width <= LARGEST_EXACT_SIZE:
            rows = chunk.double()
            gram = rows.T @ rows
            self._trace += float(gram.diagonal().sum())
            self._gram = gram if self._gram is None else self._gram + gram
        else:
            self._trace += energy(chunk)
            self._compress(chunk)

    def _compress(self, rows: Tensor) -> None:
        stacked = rows if self._factor is None else torch.cat([self._factor, rows])
        compressed = compress(stacked, self.max_rank)
        self._factor, self._cut = compressed.factor, self._cut + compressed.cut

    def space(self, *, tolerance: float = 0.0, as_they_are: bool = False) -> Space:
        """Return the accumulated rows' space, normalised to trace 1.

        Args:
            tolerance: Drop trailing eigenvalues at or below this share of the trace, even where
                ``max_rank`` would keep them.
            as_they_are: Where there are no more rows than ``max_rank``, take them for the factor, weak ones too: to
                decompose them would only turn them.
        """
        folded = self._gram is not None or self._factor is not None
        if as_they_are and self._buffer is not None and not folded and self._filled <= self.max_rank:
            return self._space_of(self._buffer[: self._filled])
        self._fold()
        floor = tolerance * self._trace
        if self._gram is not None:
            final = compress_gram(self._gram, self.max_rank, floor=floor)
        elif self._factor is not None:
            final = truncate(self._factor, floor)
        if self._sum is None or self._trace == 0.0:
            return Space.empty(self.width, rows=self.rows)
        return Space(
            factor=(final.factor / self._trace**0.5).T.contiguous(),
            rows=self.rows,
            trace=self._trace,
            error_bound=(final.cut + self._cut) / self._trace,
            mean=(self._sum / self.rows).float(),
        )

    def _space_of(self, rows: Tensor) -> Space:
        trace = energy(rows)
        if trace == 0.0:
            return Space.empty(self.width, rows=self.rows)
        factor = (rows / trace**0.5).T
        return Space(factor, self.rows, trace, error_bound=0.0, mean=(_sum_of_rows(rows) / self.rows).float())


def _sum_of_rows(rows: Tensor) -> Tensor:
    """Return the sum of rows (n, i), float64 (i,).

    Converts a few rows at a time, so that the copies stay in the processor's cache.
    """
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, ROWS_AT_ONCE):
        total += part.double().sum(0)
    return total
