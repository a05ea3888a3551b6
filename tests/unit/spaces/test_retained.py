"""Retained classes: whatever was added and taken away, stored and read between, all that is left is their set."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.grouped import GroupedAccumulator
from ledger.algebra.spaces import Space
from ledger.algebra.summed_moments import SummedMoments
from ledger.domain.linear_map import LinearMap
from ledger.networks.map_groups import MapGroup
from ledger.spaces.retained import (
    ChangedBasis,
    Changes,
    MapShape,
    RetainBasis,
    part_tensors,
    read_part,
    shapes_of_part,
)
from ledger.spaces.statistics import ClassStatistics, MapSpaces
from ledger.weights import tensor_files

CLASSES = 6
CPU = torch.device("cpu")
SHAPES = [
    MapShape("summed", 5, None, summed=True),
    MapShape("stacked", 5, None, summed=False),
    MapShape("grouped", 4, 2, summed=True),
]


def of_class(k: int) -> ClassStatistics:
    """Return a class's statistics as they are read; the last class has no means."""
    generator = torch.Generator().manual_seed(k)
    single, grouped = CovarianceAccumulator(5, max_rank=3), GroupedAccumulator(2, 4)
    single.update(torch.randn(12, 5, generator=generator) * 3.0**k)
    grouped.update(torch.randn(2, 12, 4, generator=generator) * 3.0**k)
    space = single.space()
    space = replace(space, factor=space.factor.half())
    both = grouped.space()
    spaces: MapSpaces = {"summed": space, "stacked": space, "grouped": replace(both, packed=both.packed.half())}
    if k == CLASSES - 1:
        return ClassStatistics({key: replace(one, mean=None) for key, one in spaces.items()})
    return ClassStatistics(spaces, torch.ones(CLASSES))


STATISTICS = [of_class(k) for k in range(CLASSES)]


def plain(classes: set[int]) -> RetainBasis:
    basis = RetainBasis(SHAPES, CPU)
    for k in sorted(classes):
        basis.add(k, STATISTICS[k])
    return basis


def stored(basis: RetainBasis) -> bytes:
    return tensor_files.serialise(part_tensors(basis.head, basis.maps.values()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.integers(0, CLASSES - 1), min_size=1), min_size=2, max_size=5))
def test_sums_that_are_changed_again_and_again_are_those_of_the_set(sets: list[set[int]]) -> None:
    data, have = stored(plain(sets[0])), sets[0]
    for wanted in sets[1:]:
        tensors = tensor_files.parse(data, "test")
        expected = plain(wanted)
        changes = Changes(
            {k: STATISTICS[k] for k in have - wanted},
            {k: STATISTICS[k] for k in wanted - have},
            expected.class_indices,
        )
        places = {shape.key: place for place, shape in enumerate(SHAPES)}
        basis = ChangedBasis(lambda key, t=tensors, p=places: read_part(t, SHAPES, p[key]), changes, CPU)  # type: ignore[misc]
        data = tensor_files.serialise(part_tensors(expected.head, [basis.changed(shape.key) for shape in SHAPES]))
        assert data == stored(expected)
        assert list(basis.class_indices) == list(expected.class_indices)
        for shape in SHAPES:
            assert torch.equal(basis.means(shape.key), expected.means(shape.key))
            one, other = basis.spaces(shape.key), expected.spaces(shape.key)
            if isinstance(one, SummedMoments) and isinstance(other, SummedMoments):
                assert torch.equal(one.matrix(), other.matrix())
            else:
                assert not isinstance(one, SummedMoments)
                assert not isinstance(other, SummedMoments)
                assert all(torch.equal(a.factor, b.factor) for a, b in zip(one, other, strict=True))
        have = wanted


def test_means_are_those_of_the_classes() -> None:
    basis = plain({0, 2, CLASSES - 1})
    assert list(basis.class_indices) == [0, 2]
    for key in ("summed", "grouped"):
        means = [STATISTICS[k].spaces[key].mean for k in (0, 2)]
        expected = torch.stack([mean for mean in means if mean is not None], dim=-1)
        torch.testing.assert_close(basis.means(key), expected, rtol=2e-3, atol=1e-3 * float(expected.abs().max()))


def test_no_class_has_no_mean_and_no_space() -> None:
    basis = RetainBasis(SHAPES, CPU)
    assert [basis.means(shape.key).shape for shape in SHAPES] == [(5, 0), (5, 0), (2, 4, 0)]
    assert basis.spaces("stacked") == []


def test_sums_are_kept_where_they_are_smaller_than_factors() -> None:
    wide, narrow = (MapGroup("w", (LinearMap("w", "w", 0, 4, width),)) for width in (4608, 27))
    assert [MapShape.of(one, 10, 64).summed for one in (wide, narrow)] == [False, True]
    assert MapShape.of(wide, 1000, 64).summed


def test_a_part_says_how_its_maps_are_kept() -> None:
    groups = [
        MapGroup(shape.key, tuple(LinearMap(f"{shape.key}[{j}]", shape.key, j, j + 1, shape.width) for j in range(n)))
        for shape, n in zip(SHAPES, (1, 1, 2), strict=True)
    ]
    tensors = tensor_files.parse(stored(plain({1})), "test")
    assert shapes_of_part(tensors, groups) == SHAPES
    assert isinstance(STATISTICS[0].spaces["summed"], Space)
