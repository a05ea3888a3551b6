"""How much still tells forgotten images apart: against brute force, by hand, and where it must be nothing or all."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ledger.answers.calibration import Batch
from ledger.answers.featured_answers import FeaturedAnswers
from ledger.candidates.likeness import (
    ENOUGH_HELD_OUT,
    RIDGE,
    SEPARABILITY_WEIGHT,
    Likeness,
    RememberedScores,
    Resemblance,
    left_out_scores,
    measure_likeness,
    weighted_auc,
)

CLASSES = 4


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- scores of images that were left out --------------------------------------------------------------


def refitted_scores(features: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return each image's value under a ridge regression with an intercept, fitted anew to all other images."""
    features = features.double()
    values = (features - features.mean(0)) / features.std(0)
    # The same penalty in units of the features: images weigh their mean squared length.
    penalty = RIDGE * float(values.square().sum(1).mean())
    design = torch.cat([torch.ones(len(values), 1, dtype=torch.float64), values], dim=1)
    shrink = torch.diag(torch.tensor([0.0] + [penalty] * values.shape[1], dtype=torch.float64))
    targets = torch.where(labels == k, 1.0, -1.0).double()
    found = []
    for i in range(len(values)):
        others = torch.arange(len(values)) != i
        rows = design[others]
        found.append(design[i] @ torch.linalg.solve(rows.T @ rows + shrink, rows.T @ targets[others]))
    return torch.stack(found)


@given(
    images=st.integers(4, 20),
    width=st.integers(1, 30),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_each_image_is_scored_as_by_a_regression_that_never_saw_it(
    images: int, width: int, scale: float, seed: int
) -> None:
    features = (scale * normal(images, width, seed=seed)).float()
    labels = torch.arange(images) % 3
    found = left_out_scores(features, labels, [2, 0])
    assert found.dtype == torch.float64
    for column, k in enumerate((2, 0)):
        # Standardising allows for constant features: 1e-6 of the mean spread.
        torch.testing.assert_close(found[:, column], refitted_scores(features, labels, k), rtol=1e-4, atol=1e-4)


def test_features_that_are_no_numbers_give_scores_that_are_none() -> None:
    features, labels = normal(12, 5, seed=0), torch.arange(12) % 3
    features[3, 2] = torch.nan
    assert bool(left_out_scores(features, labels, [1]).isnan().all())


def test_scores_that_are_remembered_are_those_of_the_features_that_are_asked_about() -> None:
    a, b, labels = normal(12, 5, seed=0), normal(12, 5, seed=1), torch.arange(12) % 3
    remembered = RememberedScores()
    first = remembered(a, labels, [1])
    assert remembered(a.clone(), labels.clone(), [1]) is first
    assert remembered(b, labels, [1]) is remembered(b, labels, (1,))
    assert remembered(a, labels, [1]) is first, "two are remembered"
    others = ((a.nextafter(b), labels, [1]), (a, labels.flip(0), [1]), (a, labels, [1, 2]))
    for other in others:
        assert torch.equal(remembered(*other), left_out_scores(*other))
    assert remembered(a, labels, [1]) is not first, "no more than two"


def test_features_that_are_always_the_same_tell_nothing_and_do_no_harm() -> None:
    features, labels = normal(12, 5, seed=0), torch.arange(12) % 3
    with_constant = torch.cat([features, torch.full((12, 2), 7.0, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(
        left_out_scores(with_constant, labels, [1]), left_out_scores(features, labels, [1]), rtol=1e-4, atol=1e-5
    )
    flat = left_out_scores(torch.zeros(12, 3), labels, [1])
    # All that is left is the mean target of the other images.
    others = (4 * 1.0 - 8 * 1.0 - torch.where(labels == 1, 1.0, -1.0)) / 11
    torch.testing.assert_close(flat[:, 0], others.double())


# -- area under the curve -----------------------------------------------------------------------------


@given(
    positive=st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    negative=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=12),
)
def test_the_area_is_what_a_double_loop_counts_ties_as_half(
    positive: list[int], negative: list[tuple[int, float]]
) -> None:
    won = sum(w * ((p > n) + 0.5 * (p == n)) for p in positive for n, w in negative)
    expected = won / (len(positive) * sum(w for _, w in negative))
    scores, weights = (torch.tensor(column, dtype=torch.float64) for column in zip(*negative, strict=True))
    found = weighted_auc(torch.tensor(positive, dtype=torch.float64), scores, weights)
    assert found == pytest.approx(expected, abs=1e-12)


def test_without_negatives_or_weight_nothing_can_be_told() -> None:
    none = torch.zeros(0, dtype=torch.float64)
    assert weighted_auc(torch.ones(3, dtype=torch.float64), none, none) == 0.5
    ones = torch.ones(3, dtype=torch.float64)
    assert weighted_auc(ones, ones, torch.zeros(3)) == 0.5


# -- a candidate --------------------------------------------------------------------------------------


def answers(
    rows: Sequence[tuple[int, Tensor]], logits: Tensor | None = None, held_out: Tensor | None = None
) -> FeaturedAnswers:
    """Return answers with these features, class by class."""
    features = torch.cat([part for _, part in rows])
    labels = torch.cat([torch.full((len(part),), k) for k, part in rows])
    known = torch.ones(len(labels), dtype=torch.bool) if held_out is None else held_out
    return FeaturedAnswers(
        torch.zeros(len(labels), CLASSES) if logits is None else logits, features.float(), labels, known
    )


def resemblance(**mixtures: Sequence[float]) -> Resemblance:
    """Return what classes 2 and 3 (``two`` and ``three``) resemble of classes 0 and 1."""
    named = {"two": 2, "three": 3}
    return Resemblance([0, 1], {named[name]: torch.tensor(shares) for name, shares in mixtures.items()})


def around(center: float, images: int, seed: int, width: int = 6) -> Tensor:
    rows = normal(images, width, seed=seed)
    rows[:, 0] += center
    return rows


def test_images_drawn_like_their_look_alike_cannot_be_told_apart_and_separate_ones_can() -> None:
    retained = answers([(0, around(0, 150, 1)), (1, around(8, 150, 2))])
    alike, apart, other = (answers([(2, around(center, 150, 3))]) for center in (0.0, 16.0, 8.0))
    like_first = resemblance(two=[1.0, 0.0])
    found = [measure_likeness(one, retained, like_first).separability for one in (alike, apart, other)]
    assert all(one is not None for one in found)
    # 150 against 150 images: the area scatters by some 0.03, twice that here.
    assert abs(found[0] or 0.0) < 0.2
    assert (found[1] or 0.0) > 0.95
    # They look like the other class: far from the one they should resemble.
    assert (found[2] or 0.0) > 0.9
    swapped = measure_likeness(other, retained, resemblance(two=[0.0, 1.0])).separability
    assert abs(swapped or 0.0) < 0.2


def test_separability_is_of_the_look_alikes_by_their_shares_whatever_their_number_of_images() -> None:
    forgotten = answers([(2, around(4, 30, 3))])
    retained = answers([(0, around(0, 40, 1)), (1, around(3, 10, 2))])
    features = torch.cat([part.features for part in (forgotten, retained) if part.features is not None])
    labels = torch.cat([forgotten.labels, retained.labels])
    scores = left_out_scores(features, labels, [2])[:, 0]
    areas = [float((scores[labels == 2][:, None] > scores[labels == k]).double().mean()) for k in (0, 1)]
    found = measure_likeness(forgotten, retained, resemblance(two=[0.25, 0.75])).separability
    assert found == pytest.approx(2 * (0.25 * areas[0] + 0.75 * areas[1]) - 1, abs=1e-6)
    assert areas[0] - areas[1] > 0.05


def test_divergence_is_the_total_variation_of_the_mean_answer_without_forgotten_classes() -> None:
    # Probabilities of the retained classes: 1/4 and 3/4, and 1/2 each; whatever class 2 gets does not count.
    logits = torch.tensor([[1.0, 3.0, 9.0, 0.0], [2.0, 2.0, 1e-6, 5.0]]).log()
    logits[1, 2] = -50
    forgotten = answers([(2, torch.zeros(2, 3))], logits)
    retained = answers([(0, torch.zeros(2, 3)), (1, torch.ones(2, 3))])
    found = measure_likeness(forgotten, retained, resemblance(two=[0.875, 0.125]))
    assert found.divergence == pytest.approx(0.5, abs=1e-6)
    assert measure_likeness(forgotten, retained, resemblance(two=[0.375, 0.625])).divergence < 1e-6


def test_both_are_means_over_the_forgotten_classes_in_any_order_of_images() -> None:
    logits = torch.randn(50, CLASSES, generator=torch.Generator().manual_seed(0))
    both = answers([(2, around(1, 20, 3)), (3, around(9, 30, 4))], logits)
    retained = answers([(0, around(0, 40, 1)), (1, around(8, 40, 2))])
    alike = resemblance(two=[1.0, 0.0], three=[0.0, 1.0])
    found = measure_likeness(both, retained, alike)
    alone = [
        measure_likeness(both.only(both.labels == k), retained, Resemblance([0, 1], {k: alike.mixtures[k]}))
        for k in (2, 3)
    ]
    assert found.divergence == pytest.approx(sum(one.divergence for one in alone) / 2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    again = measure_likeness(both.only(order), retained, Resemblance([0, 1], {k: alike.mixtures[k] for k in (3, 2)}))
    assert again.divergence == pytest.approx(found.divergence, abs=1e-12)
    assert again.separability == pytest.approx(found.separability or -1.0, abs=1e-9)


@pytest.mark.parametrize("unseen", [0, ENOUGH_HELD_OUT - 1, ENOUGH_HELD_OUT])
def test_only_unseen_images_count_where_there_are_enough(unseen: int) -> None:
    logits = torch.zeros(60, CLASSES)
    logits[unseen:, 0] = 50.0  # seen images are all taken for class 0, unseen ones for either
    held_out = torch.arange(60) < unseen
    forgotten = answers([(2, around(1, 60, 3))], logits, held_out)
    retained = answers([(0, around(0, 40, 1)), (1, around(8, 40, 2))])
    found = measure_likeness(forgotten, retained, resemblance(two=[0.5, 0.5]))
    if unseen < ENOUGH_HELD_OUT:
        assert found.divergence == pytest.approx(0.5 * (60 - unseen) / 60)
        assert found == measure_likeness(
            answers([(2, around(1, 60, 3))], logits), retained, resemblance(two=[0.5, 0.5])
        )
    else:
        assert found.divergence == 0.0
        assert found == measure_likeness(forgotten.only(held_out), retained, resemblance(two=[0.5, 0.5]))


def test_each_class_has_its_own_count_of_unseen_images() -> None:
    logits = torch.zeros(100, CLASSES)
    held_out = torch.tensor([True] * ENOUGH_HELD_OUT + [False] * (50 - ENOUGH_HELD_OUT) + [True] + [False] * 49)
    logits[~held_out, 0] = 50.0
    forgotten = answers([(2, around(1, 50, 3)), (3, around(1, 50, 4))], logits, held_out)
    retained = answers([(0, around(0, 40, 1)), (1, around(8, 40, 2))])
    found = measure_likeness(forgotten, retained, resemblance(two=[0.5, 0.5], three=[0.5, 0.5]))
    assert found.divergence == pytest.approx((0.0 + 0.5 * 49 / 50) / 2)


@pytest.mark.parametrize("missing", ["forgotten", "retained"])
def test_where_features_cannot_be_read_only_answers_tell(missing: str) -> None:
    parts = {
        "forgotten": answers([(2, around(9, 30, 3))], torch.zeros(30, CLASSES)),
        "retained": answers([(0, around(0, 40, 1)), (1, around(8, 40, 2))]),
    }
    blind = parts[missing]
    parts[missing] = FeaturedAnswers(blind.logits, None, blind.labels, blind.held_out)
    found = measure_likeness(parts["forgotten"], parts["retained"], resemblance(two=[1.0, 0.0]))
    assert found == Likeness(None, 0.5)
    assert found.unlikeness == 0.5


def test_unlikeness_weighs_both_and_counts_nothing_below_chance() -> None:
    assert Likeness(0.4, 0.1).unlikeness == pytest.approx((SEPARABILITY_WEIGHT * 0.4 + 0.1) / (SEPARABILITY_WEIGHT + 1))
    assert Likeness(-0.3, 0.0).unlikeness == 0.0
    assert Likeness(1.0, 1.0).unlikeness == 1.0


# -- where features are read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3), lambda x: x),
        ((2, 5, 3), lambda x: x.mean(1)),
        ((2, 3, 4, 5), lambda x: x.mean((2, 3))),
    ],
)
def test_features_are_one_row_for_each_image(shape: tuple[int, ...], expected: object) -> None:
    assert callable(expected)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), torch.tensor([True, False]))
    found = FeaturedAnswers.of(torch.zeros(2, CLASSES), [values], batch)
    torch.testing.assert_close(found.features, expected(values))
    assert found.held_out.tolist() == [True, False]


@pytest.mark.parametrize("inputs", [[], [torch.zeros(2, 3)] * 2, [torch.zeros(3, 3)], [torch.zeros(2)]])
def test_features_that_belong_to_no_image_are_not_read(inputs: list[Tensor]) -> None:
    batch = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]))
    found = FeaturedAnswers.of(torch.zeros(2, CLASSES), inputs, batch)
    assert found.features is None
    assert found.held_out.tolist() == [True, True]
    known = FeaturedAnswers.of(torch.ones(2, CLASSES), [torch.ones(2, 3)], batch)
    joined = FeaturedAnswers.joined([known, found])
    assert joined.features is None
    assert joined.labels.tolist() == [0, 1, 0, 1]
    assert joined.logits[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    again = FeaturedAnswers.joined([known, known]).features
    assert again is not None
    assert again.shape == (4, 3)
