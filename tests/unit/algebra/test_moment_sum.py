"""Sums of very many spaces of one map, against their stacked factors."""

import pytest
import torch
from torch import Tensor

from ledger.algebra import moment_sum
from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.moment_sum import MomentSum
from ledger.algebra.spaces import Space, retain_weights, stack

WIDTH = 12


def of_class(k: int) -> Space:
    accumulator = CovarianceAccumulator(WIDTH, max_rank=5)
    accumulator.update(torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(k)) * (k + 1))
    return accumulator.space()


def product(factor: Tensor) -> Tensor:
    return factor @ factor.T


@pytest.mark.parametrize("at_once", [1, 17, 1024])
def test_a_sum_is_that_of_the_stacked_factors(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment_sum, "COLUMNS_AT_ONCE", at_once)
    spaces = [of_class(k) for k in range(7)]
    added = MomentSum(WIDTH, torch.device("cpu"))
    for space in spaces:
        added.add(space, space.trace)
    found = added.space()
    torch.testing.assert_close(product(found.factor), product(stack(spaces, retain_weights(spaces))), rtol=0, atol=1e-6)
    assert (found.classes, found.rows) == (7, 140)
    assert found.trace == pytest.approx(sum(space.trace for space in spaces))
    assert max(space.error_bound for space in spaces) >= found.error_bound >= min(s.error_bound for s in spaces)


def test_a_sum_goes_on_after_it_was_asked_for() -> None:
    added = MomentSum(WIDTH, torch.device("cpu"))
    added.add(of_class(0), 1.0)
    first = added.space()
    assert added.space() is first
    added.add(of_class(1), 1.0)
    spaces = [of_class(0), of_class(1)]
    torch.testing.assert_close(product(added.space().factor), product(stack(spaces, [0.5, 0.5])), rtol=0, atol=1e-6)


def test_a_sum_of_nothing_has_no_directions() -> None:
    added = MomentSum(WIDTH, torch.device("cpu"))
    added.add(Space.empty(WIDTH, rows=3), 0.0)
    assert added.space().rank == 0
