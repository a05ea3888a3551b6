"""Eigenvalues of symmetric matrices, also where the numeric library gives up at first."""

import torch
from torch import Tensor


def symmetric_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (..., n), ascending, and eigenvectors in columns, of symmetric matrices (..., n, n).

    Divide and conquer sometimes fails on sparse matrices with many equal eigenvalues and succeeds on the same matrix at
    another scale: it is then scaled to a largest entry of one. Where it does not fail, nothing changes, to the bit.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # it is there all the same
        scale = matrix.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
        values, vectors = torch.linalg.eigh(matrix / scale)
        values = values * scale.squeeze(-1)
    return values, vectors
