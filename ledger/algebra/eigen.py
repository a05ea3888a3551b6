"""Eigenvalues of symmetric matrices, with a second attempt where the numeric library fails to converge."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (..., n), ascending, and eigenvectors in columns, of symmetric matrices (..., n, n).

    The divide-and-conquer method sometimes fails on sparse matrices with many equal eigenvalues, as channels that are
    always zero give; with some libraries one time in twenty. It then succeeds on an equivalent matrix: scaled to a
    largest entry of one, then also with rows and columns reversed or reflected. If the first attempt succeeds, its
    result is returned unchanged, bit for bit.

    Raises:
        LinAlgError: All attempts failed.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # it is there all the same
        return _retried(matrix, error)
    return values, vectors


def _retried(matrix: Tensor, failure: Exception) -> tuple[Tensor, Tensor]:
    scale = matrix.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    for equivalent, back in _equivalents(matrix / scale):
        try:
            values, vectors = torch.linalg.eigh(equivalent)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            failure = error
        else:
            return values * scale.squeeze(-1), back(vectors)
    raise failure


def _equivalents(matrix: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Yield similar matrices (..., n, n), each with the function that maps its eigenvectors back.

    They are the matrix itself, the matrix in reverse order, and the matrix reflected so that it is dense.
    """
    yield matrix, lambda vectors: vectors
    yield matrix.flip(-2, -1), lambda vectors: vectors.flip(-2)
    n = matrix.shape[-1]
    mirror = torch.eye(n, dtype=matrix.dtype, device=matrix.device) - 2 / n
    dense = mirror @ matrix @ mirror
    yield (dense + dense.mT) / 2, lambda vectors: mirror @ vectors
