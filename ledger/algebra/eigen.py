"""Eigenvalues of symmetric matrices, also where the numeric library gives up at first."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (..., n), ascending, and eigenvectors in columns, of symmetric matrices (..., n, n).

    Divide and conquer sometimes fails on sparse matrices with many equal eigenvalues, such as channels that are always
    zero make (of some libraries, one time in twenty), and succeeds on the same matrix seen another way: it is then
    scaled to a largest entry of one, then also turned. Where it does not fail, nothing changes, to the bit.

    Raises:
        LinAlgError: It fails whichever way it is seen.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # it is there all the same
        return _otherwise(matrix, error)
    return values, vectors


def _otherwise(matrix: Tensor, failure: Exception) -> tuple[Tensor, Tensor]:
    scale = matrix.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    for turned, back in _turns(matrix / scale):
        try:
            values, vectors = torch.linalg.eigh(turned)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            failure = error
        else:
            return values * scale.squeeze(-1), back(vectors)
    raise failure


def _turns(matrix: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Yield a matrix as it is, in reverse order, and reflected so that nothing is zero, each with the way back."""
    yield matrix, lambda vectors: vectors
    yield matrix.flip(-2, -1), lambda vectors: vectors.flip(-2)
    n = matrix.shape[-1]
    mirror = torch.eye(n, dtype=matrix.dtype, device=matrix.device) - 2 / n
    dense = mirror @ matrix @ mirror
    yield (dense + dense.mT) / 2, lambda vectors: mirror @ vectors
