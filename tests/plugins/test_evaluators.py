"""The built-in evaluators on answers whose figures can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from ledger.plugins.evaluators.accuracy import AccuracyEvaluator, class_accuracy, masked
from ledger.plugins.evaluators.confusion import ConfusionEvaluator, confusion_matrix
from ledger.plugins.evaluators.membership import MOST_PER_SIDE, MembershipEvaluator, attack

from ledger.hookspecs import EvaluationInput, Outputs


def outputs(labels: list[int], predicted: list[int], confidence: float = 0.9, classes: int = 3) -> Outputs:
    """Return answers that give ``predicted`` the probability ``confidence`` and share the rest."""
    p = np.full((len(labels), classes), (1 - confidence) / (classes - 1))
    p[np.arange(len(labels)), predicted] = confidence
    return Outputs(np.array(labels, dtype=np.int64), p)


def evaluation(train: Outputs, test: Outputs, base_train: Outputs, base_test: Outputs) -> EvaluationInput:
    return EvaluationInput(("a", "b", "c"), frozenset({2}), train, test, base_train, base_test, seed=0)


def test_accuracy_per_class_and_per_group() -> None:
    before = outputs([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2])
    after = outputs([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 0, 1])
    metrics = AccuracyEvaluator().evaluate(evaluation(after, after, before, before))
    assert metrics["test"] == {"per_class": [1.0, 0.5, 0.0], "retained": 0.75, "forgotten": 0.0}
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
    assert metrics["mask_test"] == {"per_class": [1.0, 1.0, 0.0], "retained": 1.0, "forgotten": 0.0}
    assert metrics["retained_drop"] == -0.25
    assert metrics["loss_against_mask"] == 0.125
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
    for name in ("mask_train", "mask_test", "loss_against_mask"):
        assert lost[name] == plain[name]
    assert lost["base_test"]["retained"] == 0.0 < plain["base_test"]["retained"]


def test_without_images_of_retained_classes_nothing_is_lost_or_kept() -> None:
    only = outputs([2], [2])
    metrics = AccuracyEvaluator().evaluate(evaluation(only, only, only, only))
    assert metrics["loss_against_mask"] is None
    assert metrics["retained_drop"] is None


def test_confusion_counts_true_rows_and_predicted_columns() -> None:
    answers = outputs([0, 0, 1, 2, 2], [0, 1, 1, 0, 2])
    np.testing.assert_array_equal(confusion_matrix(answers, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    metrics = ConfusionEvaluator().evaluate(evaluation(answers, answers, answers, answers))
    assert metrics["matrix"] == metrics["base_matrix"] == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


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
