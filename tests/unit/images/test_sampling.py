"""Which images and positions are used: functions of seed and class, disjoint where they must be."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.domain.settings import Settings
from ledger.errors import DataError
from ledger.images.sampling import (
    ClassSamples,
    bounded_evaluation_samples,
    choose_samples,
    evaluation_samples,
)
from ledger.spaces.positions import PositionSampler

LABELS = [k % 3 for k in range(300)]
COUNTS = st.integers(1, 120)


def settings(**changes: int) -> Settings:
    values = {"retain_samples": 20, "forget_samples": 50, "calibration_samples": 5}
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


# -- images -------------------------------------------------------------------------------------------


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=150),
    seed=st.integers(0, 100),
    retain=COUNTS,
    forget=COUNTS,
    calibration=COUNTS,
)
def test_a_class_has_samples_of_its_own_apart_from_what_strengths_are_chosen_on(
    labels: list[int], seed: int, retain: int, forget: int, calibration: int
) -> None:
    wanted = settings(seed=seed, retain_samples=retain, forget_samples=forget, calibration_samples=calibration)
    for class_index, size in Counter(labels).items():
        chosen = choose_samples(labels, class_index, wanted)
        for indices in (chosen.calibration, chosen.retain, chosen.forget):
            assert indices
            assert len(set(indices)) == len(indices)
            assert {labels[i] for i in indices} == {class_index}
        shorter, longer = sorted((chosen.retain, chosen.forget), key=len)
        assert longer[: len(shorter)] == shorter
        assert len(chosen.calibration) <= max(1, size // 5)
        assert chosen.to_be_forgotten[: len(chosen.calibration)] == chosen.calibration
        assert set(chosen.to_be_forgotten) == {*chosen.calibration, *chosen.forget}
        if size > 1:
            assert not set(chosen.calibration) & {*chosen.retain, *chosen.forget}


def test_numbers_of_samples_are_those_asked_for_where_the_class_has_enough() -> None:
    chosen = choose_samples(LABELS, 1, settings())
    assert [len(chosen.calibration), len(chosen.retain), len(chosen.forget)] == [5, 20, 50]


def test_fewer_samples_are_a_subset_of_more() -> None:
    few = choose_samples(LABELS, 1, settings(retain_samples=3, forget_samples=9))
    many = choose_samples(LABELS, 1, settings())
    assert many.retain[:3] == few.retain
    assert many.forget[:9] == few.forget


def test_a_class_of_one_image_uses_it_for_everything() -> None:
    assert choose_samples([0, 1, 0], 1, settings()) == ClassSamples((1,), (1,), (1,))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9, 10])
def test_a_small_class_keeps_at_least_four_fifths_for_its_space(size: int) -> None:
    chosen = choose_samples([7] * size, 7, settings())
    assert len(chosen.calibration) == max(1, size // 5)
    assert len(chosen.forget) == size - len(chosen.calibration)


@pytest.mark.parametrize("labels", [[], [0, 1, 0]])
def test_a_class_without_images_is_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="class 2 has no training image"):
        choose_samples(labels, 2, settings())


def test_samples_are_a_function_of_seed_and_class() -> None:
    again = choose_samples(LABELS, 1, settings())
    assert choose_samples(LABELS, 1, settings()) == again
    assert choose_samples(LABELS, 1, settings(seed=1)) != again
    # Other classes' images do not matter: only where this class's are.
    assert choose_samples([9 if k != 1 else 1 for k in LABELS], 1, settings()) == again
    # Two classes of the same images would still be shuffled each in its own way.
    assert choose_samples([0] * 100, 0, settings()) != choose_samples([1] * 100, 1, settings())


def test_samples_are_the_same_on_every_machine() -> None:
    few = settings(retain_samples=4, forget_samples=6, calibration_samples=3)
    assert choose_samples([0] * 20, 0, few) == ClassSamples(
        calibration=(19, 9, 12),
        retain=(6, 10, 4, 15),
        forget=(6, 10, 4, 15, 0, 3),
    )


def test_evaluation_takes_so_many_of_each_class_in_index_order() -> None:
    chosen = evaluation_samples(LABELS, 7, seed=3)
    assert Counter(LABELS[i] for i in chosen) == {0: 7, 1: 7, 2: 7}
    assert chosen == sorted(set(chosen))
    assert chosen == evaluation_samples(LABELS, 7, seed=3)
    assert chosen != evaluation_samples(LABELS, 7, seed=4)
    assert set(evaluation_samples(LABELS, 3, seed=3)) < set(chosen)


def test_evaluation_takes_everything_where_no_number_is_given_or_there_are_too_few() -> None:
    assert evaluation_samples(LABELS, None, seed=0) == list(range(300))
    assert evaluation_samples(LABELS, 1000, seed=0) == list(range(300))
    assert evaluation_samples([2, 0, 2], 1, seed=0)[0] in (0, 1)


@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=9),
    per_class=st.none() | st.integers(1, 14),
    most=st.none() | st.integers(1, 60),
    data=st.data(),
)
def test_a_limit_of_all_classes_leaves_one_of_each_and_spares_some(
    counts: list[int], per_class: int | None, most: int | None, data: st.DataObject
) -> None:
    labels = [k for k, count in enumerate(counts) for _ in range(count)]
    whole = data.draw(st.sets(st.sampled_from(range(len(counts)))))
    common, more = bounded_evaluation_samples(labels, per_class, most, whole, seed=1)
    unlimited = evaluation_samples(labels, per_class, seed=1)
    assert set(common) | set(more) <= set(unlimited)
    assert not set(common) & set(more)
    assert common == bounded_evaluation_samples(labels, per_class, most, (), seed=1)[0]
    own = Counter(labels[i] for i in common)
    assert own.keys() == set(range(len(counts)))
    assert most is None or len(common) <= max(most, len(counts))
    wanted = {i for i in unlimited if labels[i] in whole}
    assert {i for i in (*common, *more) if labels[i] in whole} == wanted
    assert {labels[i] for i in more} <= whole
    # As many of each as another, as far as there are.
    each = max(own.values())
    assert all(own[k] == min(each, count) for k, count in enumerate(counts))
    if most is None:
        assert (common, more) == (unlimited, [])


# -- positions ----------------------------------------------------------------------------------------


def drawn(sampler: PositionSampler, key: str, images: int, available: int) -> Tensor:
    positions = sampler.positions(key, images, available)
    assert positions is not None
    return positions


@given(
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    available=st.integers(2, 40),
    data=st.data(),
)
def test_positions_do_not_depend_on_how_images_are_batched(
    batches: list[int], available: int, data: st.DataObject
) -> None:
    per_image = data.draw(st.integers(1, available - 1))
    split = PositionSampler(5, 2, per_image)
    at_once = drawn(PositionSampler(5, 2, per_image), "conv1.weight", sum(batches), available)
    parts = [drawn(split, "conv1.weight", images, available) for images in batches]
    torch.testing.assert_close(torch.cat(parts), at_once, rtol=0, atol=0)
    assert at_once.shape == (sum(batches), per_image)
    assert at_once.dtype == torch.int64
    assert bool((at_once[:, 1:] > at_once[:, :-1]).all()), "sorted, without replacement"
    assert int(at_once.min()) >= 0
    assert int(at_once.max()) < available


def test_positions_are_the_same_on_every_machine() -> None:
    assert drawn(PositionSampler(0, 0, 3), "conv1.weight", 2, 20).tolist() == [[8, 11, 12], [6, 9, 15]]


@pytest.mark.parametrize("available", [1, 9, 10])
def test_every_position_is_read_where_there_are_few(available: int) -> None:
    assert PositionSampler(0, 0, 10).positions("conv1.weight", 4, available) is None


def test_maps_draw_from_streams_of_their_own() -> None:
    interleaved, alone = PositionSampler(0, 0, 3), PositionSampler(0, 0, 3)
    first = drawn(interleaved, "a", 2, 50)
    other = drawn(interleaved, "b", 2, 50)
    second = drawn(interleaved, "a", 2, 50)
    torch.testing.assert_close(torch.cat([first, second]), drawn(alone, "a", 4, 50), rtol=0, atol=0)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("changed", [(1, 0), (0, 1)])
def test_positions_depend_on_seed_and_class(changed: tuple[int, int]) -> None:
    base, other = (drawn(PositionSampler(*who, 5), "a", 10, 100) for who in ((0, 0), changed))
    assert not torch.equal(base, other)


def test_every_position_is_as_likely_as_any_other() -> None:
    counts = drawn(PositionSampler(0, 0, 4), "a", 4000, 16).flatten().bincount(minlength=16).double()
    # Each is drawn with probability 1/4: 1000 expected, standard deviation 27; five of them allowed.
    assert float((counts - 1000).abs().max()) < 137
