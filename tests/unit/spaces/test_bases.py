"""Bases: sums of class spaces that stay small, and are the same sums."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedAccumulator
from ledger.domain.class_spaces import Role
from ledger.spaces import bases
from ledger.spaces.bases import AnySpace, Basis, basis_factor
from ledger.spaces.statistics import ClassStatistics

CLASSES = 9
CPU = torch.device("cpu")


def of_class(k: int) -> dict[str, AnySpace]:
    generator = torch.Generator().manual_seed(k)
    single, grouped = CovarianceAccumulator(6, max_rank=3), GroupedAccumulator(2, 4)
    single.update(torch.randn(12, 6, generator=generator) * (k + 1))
    grouped.update(torch.randn(2, 12, 4, generator=generator) * (k + 1))
    return {"single": single.space(), "grouped": grouped.space(), "unwanted": single.space()}


def prediction(k: int) -> Tensor:
    return torch.rand(CLASSES, generator=torch.Generator().manual_seed(100 + k))


def without_means(spaces: dict[str, AnySpace]) -> ClassStatistics:
    """Return statistics as an earlier release stored them."""
    return ClassStatistics({key: replace(space, mean=None) for key, space in spaces.items()})


def gathered(role: Role) -> Basis:
    basis = Basis(role, ["single", "grouped"], CPU)
    for k in range(CLASSES):
        basis.add(k, ClassStatistics(of_class(k), prediction(k)))
    return basis


def moments(basis: Basis, role: Role, key: str) -> Tensor:
    factor = basis_factor(basis.spaces(key), role)
    return factor @ factor.mT


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("key", ["single", "grouped"])
def test_a_sum_formed_on_the_way_is_the_same_sum(role: Role, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = moments(gathered(role), role, key)
    monkeypatch.setattr(bases, "MAX_SEPARATE_COLUMNS", 7)
    monkeypatch.setattr(bases, "MAX_SEPARATE_GROUPED", 2)
    basis = gathered(role)
    held = basis.spaces(key)
    assert len(held) <= 3
    assert sum(space.classes for space in held) == CLASSES
    torch.testing.assert_close(moments(basis, role, key), expected, rtol=0, atol=1e-5)


def test_a_few_classes_are_kept_apart() -> None:
    held = gathered(Role.RETAIN).spaces("single")
    assert [space.classes for space in held] == [1] * CLASSES


def test_maps_that_nobody_asks_for_are_not_held() -> None:
    assert gathered(Role.RETAIN).spaces("unwanted") == []


@pytest.mark.parametrize("key", ["single", "grouped"])
def test_means_and_predictions_of_classes_are_kept_apart_in_the_order_added(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "MAX_SEPARATE_COLUMNS", 7)
    monkeypatch.setattr(bases, "MAX_SEPARATE_GROUPED", 2)
    order = [4, 0, 8, 2, 7]
    basis = Basis(Role.RETAIN, ["single", "grouped"], CPU)
    for k in order:
        basis.add(k, ClassStatistics(of_class(k), prediction(k)))
    assert len(basis.spaces(key)) < len(order), "their sum is kept instead"
    assert basis.class_indices == tuple(order)
    means, predictions = basis.means(key), basis.predictions()
    assert means.shape == ((6, 5) if key == "single" else (2, 4, 5))
    assert predictions.shape == (CLASSES, 5)
    for column, k in enumerate(order):
        mean = of_class(k)[key].mean
        assert mean is not None
        torch.testing.assert_close(means[..., column], mean, rtol=0, atol=0)
        torch.testing.assert_close(predictions[:, column], prediction(k), rtol=0, atol=0)


def test_a_class_without_means_has_no_column_and_counts_in_the_spaces() -> None:
    basis = Basis(Role.FORGET, ["single", "grouped"], CPU)
    basis.add(3, without_means(of_class(3)))
    assert (basis.class_indices, basis.means("single").shape, basis.means("grouped").shape) == ((), (6, 0), (2, 4, 0))
    assert basis.predictions().shape == (0, 0)
    basis.add(5, ClassStatistics(of_class(5), prediction(5)))
    basis.add(6, ClassStatistics(without_means(of_class(6)).spaces, prediction(6)))
    assert basis.class_indices == (5,)
    assert basis.means("single").shape == (6, 1)
    assert basis.means("grouped").shape == (2, 4, 1)
    assert basis.predictions().shape == (CLASSES, 1)
    assert len(basis.spaces("single")) == 3
