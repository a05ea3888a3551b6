"""Streaming second moment of a linear map's input rows.

Index convention, here and in the other modules of this package: ``n`` rows, ``i`` inputs of the
linear map, ``o`` outputs, ``r`` rank.
"""

import torch
from torch import Tensor

from .spaces import Space

CHUNK_ROWS = 1024
"""Rows folded in at a time. Also the largest eigenproblem solved here, and so the widest map whose
Gram matrix is kept dense."""


class CovarianceAccumulator:
    """Accumulate ``G = sum x x^T`` (uncentred) over rows that arrive in batches of any size.

    Narrow maps keep the exact Gram matrix in float64. Wide ones keep a factor ``F`` (r, i) with
    ``F^T F`` close to ``G``: each time the buffer is full, the factor and the buffer are replaced by
    the ``max_rank`` leading eigenpairs of their joint Gram matrix, found in the smaller of its two
    (primal or dual) forms. What is cut off is added to the error bound, never forgotten.

    Rows pass through a buffer of fixed size, so the result does not depend on how they were batched,
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
        self._gram: Tensor | None = None
        self._factor: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Fold in a batch of input rows.

        Args:
            rows: Finite values, shape (n, i), any floating dtype.
        """
        self.rows += rows.shape[0]
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = torch.empty(CHUNK_ROWS, self.width, device=rows.device)
        start = 0
        while start < rows.shape[0]:
            stop = min(rows.shape[0], start + CHUNK_ROWS - self._filled)
            buffer[self._filled : self._filled + stop - start] = rows[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == CHUNK_ROWS:
                self._fold()

    def _fold(self) -> None:
        """Empty the buffer into the Gram matrix or the factor."""
        if self._buffer is None or self._filled == 0:
            return
        chunk = self._buffer[: self._filled]
        self._filled = 0
        self._trace += float(chunk.double().square().sum())
        if self.width <= CHUNK_ROWS:
            rows = chunk.double()
            gram = rows.T @ rows
            self._gram = gram if self._gram is None else self._gram + gram
            return
        stacked = chunk if self._factor is None else torch.cat([self._factor, chunk])
        # Dual form: the nonzero eigenvalues of X^T X (i, i) are those of X X^T (n, n), and n < i here.
        values, vectors = torch.linalg.eigh((stacked @ stacked.T).double())
        rank = min(self.max_rank, len(values))
        self._cut += float(values[-rank - 1].clamp_min(0)) if rank < len(values) else 0.0
        self._factor = vectors[:, -rank:].to(stacked.dtype).T @ stacked

    def space(self, *, tolerance: float = 0.0) -> Space:
        """Return the accumulated rows' space, normalised to trace 1.

        Args:
            tolerance: Drop trailing eigenvalues at or below this share of the trace, even where
                ``max_rank`` would keep them.
        """
        self._fold()
        if self.rows == 0 or self._trace == 0.0:
            return Space.empty(self.width, rows=self.rows)
        if self._gram is not None:
            values, vectors = torch.linalg.eigh(self._gram)
            factor = None
        else:
            assert self._factor is not None
            values, vectors = torch.linalg.eigh((self._factor @ self._factor.T).double())
            factor = self._factor
        shares = values.flip(0).clamp_min(0) / self._trace
        # Eigenvalues below float64 rounding of the largest are noise, whatever the caller tolerates.
        floor = max(tolerance, float(shares[0]) * len(shares) * torch.finfo(torch.float64).eps)
        rank = min(self.max_rank, int((shares > floor).sum()))
        leading = vectors.flip(1)[:, :rank]
        directions = (
            leading * shares[:rank].sqrt() if factor is None else factor.double().T @ leading / self._trace**0.5
        )
        beyond = float(shares[rank]) if rank < len(shares) else 0.0
        return Space(
            factor=directions.float().contiguous(),
            rows=self.rows,
            trace=self._trace,
            error_bound=beyond + self._cut / self._trace,
        )
