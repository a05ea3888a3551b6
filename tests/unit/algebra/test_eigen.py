"""Eigenvalues come out even where the numeric library fails at first."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ledger.algebra.eigen import symmetric_eigen


def test_what_fails_at_one_scale_is_solved_at_another(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(2, 5, 4, dtype=torch.float64)
    matrices = 1e-3 * rows.mT @ rows
    solve, failed = torch.linalg.eigh, []
    expected = solve(matrices)[0]

    def touchy(matrix: torch.Tensor) -> Any:
        if not torch.equal(matrix.abs().amax((-2, -1)), torch.ones(2, dtype=torch.float64)):
            failed.append(matrix)
            raise torch.linalg.LinAlgError("failed to converge")  # type: ignore[attr-defined]
        return solve(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", touchy)
    values, vectors = symmetric_eigen(matrices)
    assert len(failed) == 1
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(matrices @ vectors, vectors * values.unsqueeze(-2))


def test_zero_has_eigenvalues_of_zero() -> None:
    values, vectors = symmetric_eigen(torch.zeros(3, 3))
    torch.testing.assert_close(values, torch.zeros(3))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3))
