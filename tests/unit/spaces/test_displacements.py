"""Displacements of a set of classes: what is masked, which look-alike groups still count, and how many."""

import math
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.displacement import Displacement
from ledger.algebra.grouped import GroupedAccumulator
from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import Role
from ledger.spaces import displacements
from ledger.spaces.bases import Basis
from ledger.spaces.displacements import Displacements
from ledger.spaces.look_alikes import LookAlikes, deviations, look_alikes
from ledger.spaces.statistics import ClassStatistics

CLASSES, WIDTH, IMAGES = 7, 6, 20
CPU = torch.device("cpu")


def each_of(k: int) -> Tensor:
    """Return the masked predictions of a class's images, float64 (n, classes)."""
    generator = torch.Generator().manual_seed(50 + k)
    logits = 2 * torch.randn(IMAGES, CLASSES, generator=generator, dtype=torch.float64)
    logits[:, k] = -torch.inf
    return logits.softmax(1)


def rows_of(k: int) -> Tensor:
    return torch.randn(IMAGES, WIDTH, generator=torch.Generator().manual_seed(k)) + 0.1 * k


def groups_of(k: int) -> LookAlikes:
    return look_alikes(each_of(k))


def statistics(k: int) -> ClassStatistics:
    """Return the statistics of a class at a single map and at a group of two."""
    single, grouped = CovarianceAccumulator(WIDTH, max_rank=WIDTH), GroupedAccumulator(2, 3)
    single.update(rows_of(k))
    grouped.update(rows_of(k).view(IMAGES, 2, 3).transpose(0, 1))
    space = single.space()
    space = replace(space, deviations=deviations(space, rows_of(k), each_of(k), groups_of(k)))
    return ClassStatistics({"single": space, "grouped": grouped.space()}, each_of(k).mean(0).float(), groups_of(k))


def without_means(k: int) -> ClassStatistics:
    """Return what a release stored that kept no means."""
    spaces = {key: replace(space, mean=None) for key, space in statistics(k).spaces.items()}
    return ClassStatistics(spaces)


def gathered(role: Role, classes: Iterable[ClassStatistics], indices: Iterable[int]) -> Basis:
    basis = Basis(role, ["single", "grouped"], CPU)
    for k, one in zip(indices, classes, strict=True):
        basis.add(k, one)
    return basis


def displacements_of(forgotten: list[int], retained: list[int] | None = None) -> Displacements:
    kept = [k for k in range(CLASSES) if k not in forgotten] if retained is None else retained
    return Displacements(
        gathered(Role.RETAIN, map(statistics, kept), kept), gathered(Role.FORGET, map(statistics, forgotten), forgotten)
    )


def at(found: Displacements, key: str = "single") -> Displacement:
    known = found.of(key)
    assert known is not None
    return known


def mixture(prediction: Tensor, retained: list[int]) -> Tensor:
    shares = prediction.double()[retained]
    return (shares / shares.sum()).float()


@pytest.mark.parametrize("forgotten", [[2], [1, 4], [0, 3, 5, 6]])
def test_each_class_is_compared_with_what_it_resembles_of_the_retained(forgotten: list[int]) -> None:
    retained = [k for k in range(CLASSES) if k not in forgotten]
    found = displacements_of(forgotten)
    assert found.known
    assert list(found.retained) == retained
    assert list(found.mixtures) == forgotten
    single, grouped = at(found), at(found, "grouped")
    own = torch.isinf(single.weights)
    assert int(own.sum()) == len(forgotten)
    assert bool(torch.isinf(grouped.weights).all()), "groups of maps do without look-alikes"
    kept_means = torch.stack([rows_of(k).double().mean(0) for k in retained], dim=1)
    for column, k in enumerate(forgotten):
        shares = mixture(each_of(k).mean(0), retained)
        torch.testing.assert_close(found.mixtures[k], shares, rtol=1e-5, atol=1e-7)
        expected = rows_of(k).double().mean(0) - kept_means @ shares.double()
        torch.testing.assert_close(single.columns[:, own][:, column].double(), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(grouped.columns[..., column].flatten().double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(single.retained.double(), kept_means, rtol=0, atol=1e-6)


def test_groups_that_resemble_forgotten_classes_are_dropped_and_the_others_share_what_is_left() -> None:
    groups = groups_of(2)
    first, *rest = groups.classes.tolist()
    assert len(rest) == 3
    alone, together = at(displacements_of([2])), at(displacements_of(sorted([2, first])))
    assert alone.weights.tolist()[1:] == pytest.approx((groups.shares / groups.shares.sum()).tolist())
    # The columns of the class follow those of the other if its index is higher.
    start = 0 if first > 2 else 1 + sum(k != 2 for k in groups_of(first).classes.tolist())
    left = groups.shares[1:].double()
    assert together.weights.tolist()[start] == math.inf
    assert together.weights[start + 1 : start + 4].tolist() == pytest.approx((left / left.sum()).tolist())

    retained = [k for k in range(CLASSES) if k not in (2, first)]
    kept_means = torch.stack([rows_of(k).double().mean(0) for k in retained], dim=1)
    own, each = mixture(each_of(2).mean(0), retained), each_of(2)
    for place, k in enumerate(rest):
        share = each[:, k] / each[:, k].sum()
        apart = share @ rows_of(2).double() - rows_of(2).double().mean(0)
        its = mixture(each.mT @ share, retained)
        expected = apart - kept_means @ (its - own).double()
        torch.testing.assert_close(together.columns[:, start + 1 + place].double(), expected, rtol=0, atol=1e-4)


def test_where_all_look_alikes_are_forgotten_only_the_class_is_left_and_resembles_the_rest() -> None:
    looks = groups_of(2).classes.tolist()
    forgotten = sorted([2, *looks])
    found = displacements_of(forgotten)
    retained = [k for k in range(CLASSES) if k not in forgotten]
    assert len(retained) == 2
    torch.testing.assert_close(found.mixtures[2], mixture(each_of(2).mean(0), retained), rtol=1e-5, atol=1e-7)
    mine = sum(1 + sum(k in retained for k in groups_of(j).classes.tolist()) for j in forgotten)
    assert at(found).columns.shape == (WIDTH, mine)


@pytest.mark.parametrize(("room", "groups"), [(2, 0), (3, 0), (4, 1), (6, 2), (7, 2), (100, 9)])
def test_columns_stay_within_their_room_and_every_class_has_one(
    room: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(displacements, "MOST_COLUMNS", room)
    found = at(displacements_of([1, 4]))
    assert int(torch.isinf(found.weights).sum()) == 2
    assert found.columns.shape[1] <= max(2, room)
    wanted = [[k for k in groups_of(j).classes.tolist() if k not in (1, 4)][:groups] for j in (1, 4)]
    assert len(found.weights) == 2 + sum(map(len, wanted))


def test_what_the_forgotten_classes_are_does_not_depend_on_the_order_in_which_they_were_added() -> None:
    first, second = displacements_of([1, 4]), displacements_of([4, 1])
    for k in (1, 4):
        assert torch.equal(first.mixtures[k], second.mixtures[k])
    one, other = ({tuple(column.tolist()) for column in at(found).columns.T} for found in (first, second))
    assert one == other


@pytest.mark.parametrize("bare", ["retained", "forgotten"])
def test_where_no_class_of_a_role_has_means_nothing_is_known(bare: str) -> None:
    kept, gone = [0, 3], [2]
    found = Displacements(
        gathered(Role.RETAIN, map(without_means if bare == "retained" else statistics, kept), kept),
        gathered(Role.FORGET, map(without_means if bare == "forgotten" else statistics, gone), gone),
    )
    assert not found.known
    assert found.of("single") is None
    assert found.of("grouped") is None


def test_retained_classes_without_means_are_resembled_by_none() -> None:
    retained = [k for k in range(CLASSES) if k != 2]
    classes = [without_means(k) if k in (0, 5) else statistics(k) for k in retained]
    found = Displacements(gathered(Role.RETAIN, classes, retained), gathered(Role.FORGET, [statistics(2)], [2]))
    fewer = displacements_of([2], [1, 3, 4, 6])
    assert list(found.retained) == [1, 3, 4, 6]
    assert torch.equal(found.mixtures[2], fewer.mixtures[2])
    assert torch.equal(at(found).columns, at(fewer).columns)
    assert torch.equal(at(found).weights, at(fewer).weights)


def test_a_forgotten_class_without_look_alikes_has_its_own_column() -> None:
    bare = statistics(2)
    space = bare.spaces["single"]
    assert isinstance(space, Space)
    unknown = ClassStatistics({**bare.spaces, "single": replace(space, deviations=None)}, bare.prediction)
    kept = [0, 1, 3]
    found = Displacements(gathered(Role.RETAIN, map(statistics, kept), kept), gathered(Role.FORGET, [unknown], [2]))
    assert at(found).weights.tolist() == [math.inf]
    torch.testing.assert_close(at(found).columns, at(displacements_of([2], kept)).columns[:, :1], rtol=0, atol=0)
