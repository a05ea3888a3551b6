"""The built-in evaluators on answers whose figures can be worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ledger.plugins.evaluators.accuracy import (
    AccuracyEvaluator,
    class_accuracy,
    loss_counts,
    masked,
    split_accuracy,
    top_correct,
)
from ledger.plugins.evaluators.confusion import (
    ConfusionEvaluator,
    confusion_matrix,
    mean_alignment,
    row_alignment,
)
from ledger.plugins.evaluators.divergence import DivergenceEvaluator
from ledger.plugins.evaluators.membership import MOST_PER_SIDE, MembershipEvaluator, attack
from scipy.spatial import distance
from scipy.stats import binomtest, pearsonr, rankdata
from sklearn.metrics import top_k_accuracy_score

from ledger.domain.intervals import mean_loss_interval
from ledger.hookspecs import EvaluationInput, NetworkRole, Outputs
from tests.fixtures.examined import examined


def outputs(labels: list[int], predicted: list[int], confidence: float = 0.9, classes: int = 3) -> Outputs:
    """Return answers that give ``predicted`` the probability ``confidence`` and share the rest."""
    p = np.full((len(labels), classes), (1 - confidence) / (classes - 1))
    p[np.arange(len(labels)), predicted] = confidence
    return Outputs(np.array(labels, dtype=np.int64), p)


def means(split: dict[str, Any]) -> dict[str, Any]:
    return {name: split[name] for name in ("per_class", "retained", "forgotten")}


def evaluation(train: Outputs, test: Outputs, base_train: Outputs, base_test: Outputs) -> EvaluationInput:
    return EvaluationInput(("a", "b", "c"), frozenset({2}), train, test, base_train, base_test, seed=0)


def test_accuracy_per_class_and_per_group() -> None:
    before = outputs([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2])
    after = outputs([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 0, 1])
    metrics = AccuracyEvaluator().evaluate(evaluation(after, after, before, before))
    assert means(metrics["test"]) == {"per_class": [1.0, 0.5, 0.0], "retained": 0.75, "forgotten": 0.0}
    assert (metrics["test"]["images"], metrics["test"]["correct"]) == ([2, 2, 2], [2, 1, 0])
    assert (metrics["test"]["retained_images"], metrics["test"]["forgotten_images"]) == (4, 2)
    assert metrics["base_test"]["forgotten"] == 1.0
    assert metrics["retained_drop"] == 0.25


def test_the_mean_over_classes_is_not_weighted_by_their_sizes() -> None:
    uneven = outputs([0] * 9 + [1, 2], [0] * 9 + [0, 2])
    metrics = AccuracyEvaluator().evaluate(evaluation(uneven, uneven, uneven, uneven))
    assert metrics["test"]["retained"] == 0.5


def test_a_class_without_images_has_no_accuracy() -> None:
    assert class_accuracy(outputs([0, 2], [0, 0]), 3) == [1.0, None, 0.0]


def answers(labels: list[int], *rows: list[float]) -> Outputs:
    return Outputs(np.array(labels, dtype=np.int64), np.array(rows))


def test_who_gains_against_the_plain_original_may_lose_against_the_masked_one() -> None:
    labels = [0, 0, 0, 0, 1, 2]
    clear, taken = [0.8, 0.1, 0.1], [0.3, 0.1, 0.6]
    before = answers(labels, clear, taken, taken, taken, [0.1, 0.8, 0.1], [0.1, 0.1, 0.8])
    after = answers(labels, clear, clear, clear, [0.4, 0.6, 0.0], [0.1, 0.9, 0.0], [0.5, 0.5, 0.0])
    metrics = AccuracyEvaluator().evaluate(evaluation(before, after, before, before))
    assert (metrics["base_test"]["retained"], metrics["test"]["retained"]) == (0.625, 0.875)
    assert means(metrics["mask_test"]) == {"per_class": [1.0, 1.0, 0.0], "retained": 1.0, "forgotten": 0.0}
    assert metrics["retained_drop"] == -0.25
    assert metrics["loss_against_mask"] == 0.125
    assert metrics["per_class"] == {"loss_against_mask": [0.25, 0.0, None], "loss_against_retrained": None}
    assert metrics["worst_class_loss"] == 0.25
    # On training images the version is the original, and still misses what the mask would have given back.
    assert metrics["mask_train"]["retained"] == 1.0 > metrics["train"]["retained"]


def test_masking_shares_the_rest_in_proportion_and_evenly_where_there_is_none() -> None:
    before = answers([0, 1, 2], [0.2, 0.6, 0.2], [0.0, 0.0, 1.0], [0.1, 0.0, 0.9])
    found = masked(before, frozenset({2}))
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], rtol=1e-12)
    assert before.probabilities[1, 2] == 1.0
    np.testing.assert_array_equal(found.labels, before.labels)
    np.testing.assert_array_equal(masked(before, frozenset()).probabilities, before.probabilities)


def test_the_mask_is_the_original_s_whatever_the_version_is_compared_with() -> None:
    original = outputs([0, 0, 1, 2], [0, 2, 1, 2])
    other = outputs([0, 0, 1, 2], [1, 1, 0, 0])
    after = outputs([0, 0, 1, 2], [0, 0, 1, 0])
    compared = evaluation(after, after, other, other)
    lost = AccuracyEvaluator().evaluate(replace(compared, anchor_train=original, anchor_test=original))
    plain = AccuracyEvaluator().evaluate(evaluation(after, after, original, original))
    for name in ("mask_train", "mask_test", "loss_against_mask", "worst_class_loss"):
        assert lost[name] == plain[name]
    assert lost["original_test"] == plain["base_test"]
    assert "original_test" not in plain
    assert lost["base_test"]["retained"] == 0.0 < plain["base_test"]["retained"]


def test_without_images_of_retained_classes_nothing_is_lost_or_kept() -> None:
    only = outputs([2], [2])
    metrics = AccuracyEvaluator().evaluate(evaluation(only, only, only, only))
    for name in ("loss_against_mask", "worst_class_loss", "loss_against_retrained", "retained_drop"):
        assert metrics[name] is None
    assert metrics["forgotten_accuracy"] == 1.0
    assert metrics["test"]["retained_interval"] is None
    assert metrics["test"]["intervals"][:2] == [None, None]


def test_the_worst_class_and_the_highest_forgotten_one_are_not_averaged_away() -> None:
    labels = [0, 0, 1, 1, 2, 2, 3, 3]
    before = outputs(labels, labels, classes=4)
    after = outputs(labels, [0, 0, 1, 0, 2, 1, 0, 1], classes=4)
    data = EvaluationInput(("a", "b", "c", "d"), frozenset({2, 3}), after, after, before, before, seed=0)
    metrics = AccuracyEvaluator().evaluate(data)
    assert (metrics["loss_against_mask"], metrics["worst_class_loss"]) == (0.25, 0.5)
    assert (metrics["test"]["forgotten"], metrics["forgotten_accuracy"]) == (0.25, 0.5)
    assert metrics["base_test"]["forgotten"] == 1.0


def test_every_share_has_the_interval_of_its_images() -> None:
    labels = [0] * 40 + [1] * 10 + [2] * 3
    answers = outputs(labels, [0] * 37 + [1] * 3 + [1] * 10 + [0] * 3)
    metrics = AccuracyEvaluator().evaluate(evaluation(answers, answers, answers, answers))
    for (low, high), correct, images in zip(metrics["test"]["intervals"], (37, 10, 0), (40, 10, 3), strict=True):
        exact = binomtest(correct, images).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    # Half the distances of both classes to their bounds, as the sides of a right angle.
    low = 0.9625 - 0.5 * ((0.925 - 0.8013577) ** 2 + (1 - 0.7224672) ** 2) ** 0.5
    high = 0.9625 + 0.5 * ((0.9741640 - 0.925) ** 2 + 0) ** 0.5
    assert metrics["test"]["retained_interval"] == pytest.approx({"low": low, "high": high}, abs=1e-6)
    assert metrics["few_images"] == 2


def test_the_loss_against_the_mask_has_the_interval_of_the_images_that_differ() -> None:
    labels = [0] * 20 + [1] * 20 + [2] * 5
    before = outputs(labels, [0] * 18 + [1] * 2 + [1] * 20 + [2] * 5)
    after = outputs(labels, [0] * 15 + [1] * 3 + [0] * 2 + [1] * 20 + [0] * 5)
    assert loss_counts(before, after, 3) == [(3, 2, 20), (0, 0, 20), (5, 0, 5)]
    metrics = AccuracyEvaluator().evaluate(evaluation(after, after, before, before))
    interval = mean_loss_interval([(3, 2, 20), (0, 0, 20)])
    assert interval is not None
    assert metrics["loss_against_mask_interval"] == interval.to_json()
    assert interval.low < metrics["loss_against_mask"] < interval.high
    only = outputs([2], [2])
    assert AccuracyEvaluator().evaluate(evaluation(only, only, only, only))["loss_against_mask_interval"] is None


def test_the_true_class_may_be_among_the_five_most_likely() -> None:
    noise = np.random.default_rng(3)
    labels = np.repeat(np.arange(8), 25)
    answers = Outputs(labels, noise.dirichlet(np.full(8, 0.5), len(labels)))
    found = split_accuracy(answers, 8, frozenset({7}))
    of_all = top_k_accuracy_score(labels, answers.probabilities, k=5)
    assert np.mean(found["top5"]["per_class"]) == pytest.approx(of_all, abs=1e-12)
    assert found["top5"]["retained"] > found["retained"]
    np.testing.assert_array_equal(top_correct(answers, 1), answers.probabilities.argmax(axis=1) == labels)


def test_equal_answers_count_in_class_order_and_impossible_ones_never() -> None:
    even = Outputs(np.arange(8), np.full((8, 8), 1 / 8))
    assert top_correct(even, 5).tolist() == [True] * 5 + [False] * 3
    some = Outputs(np.arange(8), np.tile([0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0], (8, 1)))
    assert top_correct(some, 5).tolist() == [False, False, True, True] + [False] * 4
    assert "top5" not in split_accuracy(outputs([0], [0], classes=5), 5, frozenset())


def test_a_retrained_network_is_measured_and_compared_with() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    before, after = outputs(labels, labels), outputs(labels, [0, 1, 1, 1, 0, 1])
    retrained = examined(test=outputs(labels, [0, 0, 1, 0, 1, 1]))
    networks = {NetworkRole.ORIGINAL: examined(test=before), NetworkRole.RETRAINED: retrained}
    data = replace(evaluation(after, after, before, before), networks=networks)
    metrics = AccuracyEvaluator().evaluate(data)
    assert means(metrics["retrained_test"]) == {"per_class": [1.0, 0.5, 0.0], "retained": 0.75, "forgotten": 0.0}
    assert metrics["loss_against_retrained"] == 0.0
    assert metrics["per_class"]["loss_against_retrained"] == [0.5, -0.5, None]
    assert metrics["loss_against_mask"] == 0.25


def test_what_takes_the_place_of_a_purged_original_is_not_masked() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    after, retrained = outputs(labels, [0, 1, 1, 1, 0, 1]), outputs(labels, [0, 0, 1, 0, 1, 1])
    networks = {NetworkRole.VERSION: examined(test=after), NetworkRole.RETRAINED: examined(test=retrained)}
    data = replace(evaluation(after, after, retrained, retrained), networks=networks)
    accuracy, confusion = AccuracyEvaluator().evaluate(data), ConfusionEvaluator().evaluate(data)
    divergence = DivergenceEvaluator().evaluate(data)
    for name in ("loss_against_mask", "worst_class_loss"):
        assert accuracy[name] is None
    assert "mask_test" not in accuracy
    assert accuracy["loss_against_mask_interval"] is None
    assert accuracy["per_class"] == {"loss_against_mask": None, "loss_against_retrained": [0.5, -0.5, None]}
    assert set(confusion["went_to"]["2"]) == {"images", "version", "retrained"}
    assert (confusion["row_cosine_masked"], divergence["tv_masked"]) == (None, None)
    assert confusion["row_cosine_retrained"] is not None
    assert divergence["tv_retrained"] is not None
    original = replace(data, networks={**networks, NetworkRole.ORIGINAL: examined(test=retrained)})
    assert AccuracyEvaluator().evaluate(original)["loss_against_mask"] is not None


def test_confusion_counts_true_rows_and_predicted_columns() -> None:
    answers = outputs([0, 0, 1, 2, 2], [0, 1, 1, 0, 2])
    np.testing.assert_array_equal(confusion_matrix(answers, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    metrics = ConfusionEvaluator().evaluate(evaluation(answers, answers, answers, answers))
    assert metrics["matrix"] == metrics["base_matrix"] == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert not np.any(metrics["difference"])


def test_confusion_says_where_the_images_of_forgotten_classes_went() -> None:
    labels = [0, 1, 2, 2, 2, 2]
    after = outputs(labels, [0, 1, 0, 0, 0, 1])
    before = answers(labels, *[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], *[[0.1, 0.2, 0.7]] * 3, [0.2, 0.1, 0.7])
    retrained = examined(test=outputs(labels, [0, 1, 0, 0, 1, 1]))
    networks = {NetworkRole.ORIGINAL: examined(test=before), NetworkRole.RETRAINED: retrained}
    data = replace(evaluation(after, after, before, before), networks=networks)
    metrics = ConfusionEvaluator().evaluate(data)
    assert metrics["base_matrix"][2] == [0, 0, 4]
    assert metrics["went_to"] == {
        "2": {
            "images": 4,
            "version": {"0": 0.75, "1": 0.25},
            "masked_original": {"0": 0.25, "1": 0.75},
            "retrained": {"0": 0.5, "1": 0.5},
        }
    }
    assert metrics["difference"] == [[0, 0, 0], [0, 0, 0], [3, 1, -4]]
    # (3, 1) beside (1, 3), and beside (2, 2).
    assert metrics["row_cosine_masked"] == pytest.approx(6 / 10)
    assert metrics["row_spearman_masked"] == pytest.approx(-1)
    assert metrics["row_cosine_retrained"] == pytest.approx(8 / (10 * 8) ** 0.5)
    assert metrics["row_spearman_retrained"] is None


def test_rows_align_as_scipy_says() -> None:
    noise = np.random.default_rng(5)
    row, other = noise.integers(0, 6, 12), noise.integers(0, 6, 12)
    cosine, correlation = row_alignment(row, other)
    assert cosine == pytest.approx(1 - distance.cosine(row, other), abs=1e-12)
    assert correlation == pytest.approx(pearsonr(rankdata(row), rankdata(other)).statistic, abs=1e-12)
    assert row_alignment(row, 3 * row) == pytest.approx((1, 1))
    assert row_alignment(np.zeros(3), np.array([1, 2, 0])) == (None, None)


def test_a_class_that_is_still_answered_throughout_does_not_hide_behind_another() -> None:
    matrix = np.array([[5, 0, 0, 0], [0, 5, 0, 0], [3, 2, 0, 0], [0, 0, 0, 5]])
    reference = np.array([[5, 0, 0, 0], [0, 5, 0, 0], [3, 2, 0, 0], [1, 4, 0, 0]])
    assert mean_alignment(matrix, reference, frozenset({2})) == pytest.approx((1, 1))
    assert mean_alignment(matrix, reference, frozenset({2, 3})) == (None, None)


def confident(labels: list[int], values: np.ndarray) -> Outputs:
    """Return answers whose true class has the given probabilities."""
    p = np.tile(((1 - values) / 2)[:, None], (1, 3))
    p[np.arange(len(labels)), labels] = values
    return Outputs(np.array(labels, dtype=np.int64), p)


@pytest.mark.parametrize(("kept", "expected"), [(0.97, 0.0), (0.02, 1.0)])
def test_membership_tells_remembered_from_forgotten(kept: float, expected: float) -> None:
    noise = np.random.default_rng(0)
    labels = [0] * 200 + [1] * 200 + [2] * 200
    sure, unsure = noise.uniform(0.95, 0.99, 400), noise.uniform(0.3, 0.7, 400)
    # Members are sure and unseen images are not; the class in question is `kept` sure on train and test.
    of_class = np.clip(kept + noise.uniform(-0.01, 0.01, 200), 0, 1)
    train = confident(labels, np.concatenate([sure, of_class]))
    test = confident(labels, np.concatenate([unsure, of_class]))
    metrics = MembershipEvaluator().evaluate(evaluation(train, test, train, test))
    assert metrics["salun"] == pytest.approx(expected, abs=0.02)
    assert metrics["base_salun"] == metrics["salun"]
    if expected:
        assert metrics["paper"] == 1.0


def test_membership_needs_a_forgotten_class() -> None:
    answers = outputs([0, 1, 2], [0, 1, 2])
    nothing = EvaluationInput(("a", "b", "c"), frozenset(), answers, answers, answers, answers, seed=0)
    assert set(MembershipEvaluator().evaluate(nothing).values()) == {None}


def test_the_attack_is_seeded_and_its_sides_are_equal() -> None:
    noise = np.random.default_rng(1)
    many, few = noise.uniform(0.2, 1, (3 * MOST_PER_SIDE, 1)), noise.uniform(0, 0.8, (50, 1))
    attacked = noise.uniform(0, 1, (100, 1))
    assert attack(many, few, attacked, seed=3) == attack(many, few, attacked, seed=3)
    # With sixty times as many members and no balancing, nothing would ever be called a non-member.
    assert (attack(many, few, attacked, seed=3) or 0) > 0.2
    assert attack(many[:0], few, attacked, seed=3) is None
