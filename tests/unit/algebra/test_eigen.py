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


@pytest.mark.parametrize("ways", [1, 2, 3])
def test_what_fails_is_seen_another_way(monkeypatch: pytest.MonkeyPatch, ways: int) -> None:
    rows = torch.randn(2, 3, 6, dtype=torch.float64)
    matrices = rows.mT @ rows
    solve, seen = torch.linalg.eigh, []

    def stubborn(matrix: torch.Tensor) -> Any:
        seen.append(matrix)
        if len(seen) <= ways:
            raise torch.linalg.LinAlgError("failed to converge")  # type: ignore[attr-defined]
        return solve(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", stubborn)
    values, vectors = symmetric_eigen(matrices)
    assert len(seen) == ways + 1
    torch.testing.assert_close(values, solve(matrices)[0])
    torch.testing.assert_close(matrices @ vectors, vectors * values.unsqueeze(-2))
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(6, dtype=torch.float64).expand(2, -1, -1))


def test_what_always_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def hopeless(_matrix: torch.Tensor) -> Any:
        raise torch.linalg.LinAlgError("failed to converge")  # type: ignore[attr-defined]

    monkeypatch.setattr(torch.linalg, "eigh", hopeless)
    with pytest.raises(torch.linalg.LinAlgError, match="failed to converge"):  # type: ignore[attr-defined]
        symmetric_eigen(torch.eye(3))


# Some of these make the solver of one library fail as they are, and two of them scaled as well.
@pytest.mark.parametrize("seed", [*range(20), 2574, 2592, 2601, 2619, 2623, 2685])
def test_channels_that_are_always_zero_are_no_obstacle(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    size, alive, rank = draw(64, 600), draw(3, 20), draw(1, 5)
    channels = torch.randperm(size, generator=generator)[:alive].sort().values
    rows = torch.zeros(rank, size, dtype=torch.float64)
    rows[:, channels] = torch.randn(rank, alive, generator=generator, dtype=torch.float64) * 0.01
    matrix = rows.T @ rows
    values, vectors = symmetric_eigen(matrix)
    torch.testing.assert_close(vectors @ torch.diag(values) @ vectors.T, matrix, rtol=0, atol=1e-15)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)


def test_zero_has_eigenvalues_of_zero() -> None:
    values, vectors = symmetric_eigen(torch.zeros(3, 3))
    torch.testing.assert_close(values, torch.zeros(3))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3))
