"""Bases: sums of class spaces that stay small, and are the same sums."""

import pytest
import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedAccumulator
from ledger.domain.class_spaces import Role
from ledger.spaces import bases
from ledger.spaces.bases import AnySpace, Basis, basis_factor

CLASSES = 9
CPU = torch.device("cpu")


def of_class(k: int) -> dict[str, AnySpace]:
    generator = torch.Generator().manual_seed(k)
    single, grouped = CovarianceAccumulator(6, max_rank=3), GroupedAccumulator(2, 4)
    single.update(torch.randn(12, 6, generator=generator) * (k + 1))
    grouped.update(torch.randn(2, 12, 4, generator=generator) * (k + 1))
    return {"single": single.space(), "grouped": grouped.space(), "unwanted": single.space()}


def gathered(role: Role) -> Basis:
    basis = Basis(role, ["single", "grouped"], CPU)
    for k in range(CLASSES):
        basis.add(of_class(k))
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
