"""Which names fit a network's outputs: found where answers show it, and nowhere else."""

import numpy as np
import pytest

from ledger.domain.label_orders import LabelOrder
from ledger.service.models.label_fit import Answers, LabelFit, find_better_fit


def names(count: int) -> tuple[str, ...]:
    return tuple(f"label{k:04d}" for k in range(count))


def answers(
    classes: int, per_class: int, accuracy: float, output_of: list[int] | None = None, seed: int = 0
) -> Answers:
    """Make up answers of a network whose output ``output_of[k]`` stands for class ``k``."""
    generator = np.random.default_rng(seed)
    true = np.repeat(np.arange(classes), per_class)
    right = np.arange(classes) if output_of is None else np.array(output_of)
    known = generator.random(len(true)) < accuracy
    predicted = np.where(known, right[true], generator.integers(0, classes, len(true)))
    return Answers(classes, true, predicted)


@pytest.mark.parametrize(("classes", "per_class"), [(2, 50), (3, 20), (10, 5), (10, 50), (100, 10), (1000, 1)])
@pytest.mark.parametrize("accuracy", [0.0, 0.05, 0.4, 0.9, 1.0])
def test_nothing_fits_better_than_labels_that_are_right(classes: int, per_class: int, accuracy: float) -> None:
    for seed in range(5):
        found = find_better_fit(answers(classes, per_class, accuracy, seed=seed), names(classes))
        assert found is None or not found.clear


@pytest.mark.parametrize(("classes", "per_class"), [(2, 20), (3, 20), (10, 5), (100, 10), (1000, 3)])
def test_any_order_is_found(classes: int, per_class: int) -> None:
    shuffled = [int(k) for k in np.random.default_rng(3).permutation(classes)]
    if shuffled == sorted(shuffled):
        shuffled.reverse()
    found = find_better_fit(answers(classes, per_class, 0.95, shuffled), names(classes))
    assert found is not None
    assert found.clear
    assert [found.names[output] for output in shuffled] == list(range(classes))


def test_a_known_order_is_found_with_one_image_of_each_of_a_thousand_classes() -> None:
    labels = tuple(sorted(str(k) for k in range(1000)))
    timm = LabelOrder.TIMM.sort(labels)
    found = find_better_fit(answers(1000, 1, 0.7, [timm.index(label) for label in labels]), labels)
    assert found is not None
    assert (found.order, found.clear) == (LabelOrder.TIMM, True)


def test_a_few_moved_folders_among_a_hundred_are_found() -> None:
    """One upper-case name moves the classes that sort between both places by one output."""
    labels = tuple(sorted(["Armadillo", *(f"ant{k:02d}" for k in range(30)), *(f"zebra{k:02d}" for k in range(69))]))
    timm = LabelOrder.TIMM.sort(labels)
    found = find_better_fit(answers(100, 4, 0.8, [timm.index(label) for label in labels]), labels)
    assert found is not None
    assert found.clear
    assert len(found.moved) == 31
    assert found.order in (LabelOrder.TIMM, LabelOrder.CASELESS)


@pytest.mark.parametrize("pairs", [[(3, 7)], [(0, 1), (50, 99)], [(10, 20), (30, 40), (60, 61)]])
def test_exchanged_pairs_are_found_among_many_right_ones(pairs: list[tuple[int, int]]) -> None:
    order = list(range(100))
    for a, b in pairs:
        order[a], order[b] = b, a
    found = find_better_fit(answers(100, 10, 0.9, order), names(100))
    assert found is not None
    assert found.clear
    assert sorted(found.moved) == sorted(k for pair in pairs for k in pair)


def test_a_class_that_is_taken_for_another_is_no_exchange() -> None:
    """All crows are called ravens, ravens are recognised: that is a weak network, not another order."""
    made = answers(10, 20, 1.0)
    predicted = np.where(made.true == 3, 4, made.predicted)
    assert find_better_fit(Answers(10, made.true, predicted), names(10)) is None


@pytest.mark.parametrize("seed", range(4))
def test_systematic_mistakes_for_a_single_photograph_of_each_class_are_no_other_order(seed: int) -> None:
    """Views of one photograph are mistaken alike; and classes that are not recognised at first are looked at again."""
    generator = np.random.default_rng(seed)
    classes, views = 1000, 3
    mistaken = (np.arange(classes) + generator.integers(1, 6, classes)) % classes
    taken_for = np.where(generator.random(classes) < 0.76, np.arange(classes), mistaken)
    answer = np.where(generator.random((classes, views)) < 0.9, taken_for[:, None], mistaken[:, None])
    looked_at = np.zeros((classes, views), dtype=bool)
    looked_at[generator.permutation(classes)[: classes // 2], 0] = True
    looked_at[generator.permutation(classes)[: classes // 2], 1] = True
    right = (answer == np.arange(classes)[:, None]) & looked_at
    looked_at[looked_at.any(axis=1) & ~right.any(axis=1)] = True
    true, view = np.nonzero(looked_at)
    found = find_better_fit(Answers(classes, true, answer[true, view]), names(classes))
    assert found is None or not found.clear


def test_two_look_alikes_with_few_images_may_be_exchanged_and_with_more_they_are() -> None:
    def exchanged(each: int) -> LabelFit | None:
        made = answers(100, each, 1.0)
        swapped = np.where(made.true == 3, 4, np.where(made.true == 4, 3, made.predicted))
        return find_better_fit(Answers(100, made.true, swapped), names(100))

    for each, clear in ((3, False), (4, True)):
        found = exchanged(each)
        assert found is not None
        assert (found.moved, found.clear) == ((3, 4), clear)


def test_a_constant_answer_fits_no_order() -> None:
    made = answers(10, 20, 1.0)
    assert find_better_fit(Answers(10, made.true, np.full_like(made.true, 3)), names(10)) is None


def test_without_images_nothing_is_found() -> None:
    none = np.empty(0, dtype=np.int64)
    assert find_better_fit(Answers(5, none, none), names(5)) is None


def test_an_unclear_exchange_names_the_pair() -> None:
    true, predicted = np.array([0, 1, 2, 3, 4]), np.array([0, 1, 3, 2, 4])
    found = find_better_fit(Answers(5, true, predicted), names(5))
    assert found == LabelFit((0, 1, 3, 2, 4), 5, None, clear=False)
