"""Classes that were only hidden come back, classes that were never known do not."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from ledger.plugins.evaluators.batch_statistics import StatisticsEvaluator, reestimate
from ledger.plugins.evaluators.fine_tuning import BATCH, Standing, mixed_batches, retained_batches
from ledger.plugins.evaluators.prototypes import restored
from ledger.plugins.evaluators.relearning import MOST_LOST, RelearningEvaluator, highest
from sklearn.neighbors import NearestCentroid
from torch import nn

from ledger.hookspecs import NetworkRole
from tests.fixtures.small_networks import Images, blobs, examination, fitted, perceptron

FORGOTTEN = frozenset({2})
IMAGES = blobs(4, 60, 40, signal=0.6)


def original(images: Images = IMAGES, *, norm: bool = False) -> nn.Sequential:
    return fitted(perceptron(0, images.classes, norm=norm), images.train, images.train_labels)


def retrained(*, norm: bool = False) -> nn.Sequential:
    return fitted(perceptron(1, 4, norm=norm), *IMAGES.without(FORGOTTEN))


def pushed(network: nn.Sequential) -> nn.Sequential:
    """Return a copy that answers class 3 to nearly everything: training on retained classes has to undo the push."""
    copy = deepcopy(network)
    with torch.no_grad():
        head = copy.get_parameter("head.weight")
        copy.get_parameter("body.bias").add_(12.0 * (head[3] - (head[0] + head[1]) / 2))
    return copy


def relearned(version: nn.Sequential) -> dict[str, Any]:
    roles = {NetworkRole.VERSION: version, NetworkRole.ORIGINAL: original(), NetworkRole.RETRAINED: retrained()}
    before = {role: deepcopy(module.state_dict()) for role, module in roles.items()}
    metrics: dict[str, Any] = RelearningEvaluator().evaluate(examination(IMAGES, roles, FORGOTTEN))
    for role, module in roles.items():
        torch.testing.assert_close(module.state_dict(), before[role], rtol=0, atol=0)
    return metrics


def test_a_hidden_class_comes_back_and_one_never_seen_does_not() -> None:
    state = torch.random.get_rng_state()
    metrics = relearned(pushed(original()))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert metrics["original"]["before"]["forgotten"] > 0.8, "the class was known"
    assert metrics["version"]["before"]["forgotten"] < 0.2, "and is hidden"
    assert metrics["retained_tuning_return"] > 0.5
    assert metrics["retrained"]["before"]["forgotten"] == metrics["retrained"]["retained_tuning"]["return"] == 0.0
    assert metrics["retained_tuning_gap"] == metrics["retained_tuning_return"]
    # Of the same courses, the highest; and no figure of a network that was damaged on the way.
    courses = metrics["version"]["retained_tuning"]["courses"]
    assert {course["rate"] for course in courses} == {0.003, 0.03}
    assert (
        max(one["forgotten"] for course in courses for one in course["standings"]) == metrics["retained_tuning_return"]
    )
    assert relearned(pushed(original())) == metrics


def test_a_version_that_never_saw_the_class_has_no_gap_but_returns_all_the_same_from_images_of_it() -> None:
    metrics = relearned(retrained())
    assert metrics["retained_tuning_return"] == 0.0
    assert metrics["five_shot_return"] > 0.5, "features made for other classes serve for a new one"
    assert {metrics[f"{name}_gap"] for name in ("retained_tuning", "one_shot", "five_shot", "few_steps")} == {0.0}


def test_an_output_that_can_never_be_given_is_not_trained_on() -> None:
    masked = original()
    with torch.no_grad():
        masked.get_parameter("head.bias")[2] = -torch.inf
    metrics = relearned(masked)
    assert metrics["few_steps_return"] is None, "the loss is infinite"
    assert metrics["retained_tuning_return"] == 0.0
    assert metrics["five_shot_return"] > 0.8, "the features know what the mask hides"


def test_accuracy_bought_with_retained_classes_does_not_count() -> None:
    before = Standing(0, 0.0, 0.0, 0.9)
    cheap, dear = Standing(1, 0.3, 0.2, 0.9 - MOST_LOST / 2), Standing(2, 0.9, 0.8, 0.9 - 2 * MOST_LOST)
    assert highest(before, [cheap, dear]) == 0.3
    assert highest(before, [dear]) is None


def test_batches_hold_every_retained_image_once_and_half_forgotten_ones_where_asked() -> None:
    batches = retained_batches(2 * BATCH, seed=0)
    first, second = next(batches), next(batches)
    assert sorted([*first[0], *second[0]]) == list(range(2 * BATCH))
    retained, forgotten = next(mixed_batches(100, 5, seed=0))
    assert len(set(retained)) == BATCH // 2 == len(forgotten)
    assert set(forgotten) == set(range(5))
    # Of many forgotten classes, all take part in time.
    many = mixed_batches(100, 50, seed=0)
    assert {number for _ in range(20) for number in next(many)[1]} == set(range(50))


# -- prototypes --------------------------------------------------------------------------------------


def test_the_nearest_mean_is_that_of_scikit_learn() -> None:
    noise = np.random.default_rng(0)
    labels, truth = np.repeat(np.arange(3), 20), np.repeat(np.arange(3), 15)
    centres = noise.normal(0, 1, (3, 8))
    features, asked = (centres[k] + noise.normal(0, 1.2, (len(k), 8)) for k in (labels, truth))
    # With as many shots as there are images nothing is left to chance.
    found = restored((features, labels), (asked, truth), FORGOTTEN, shots=20, draws=2, seed=0)
    predicted = NearestCentroid().fit(features, labels).predict(asked)
    assert found is not None
    assert found.forgotten == pytest.approx((predicted == truth)[truth == 2].mean())
    assert found.retained == pytest.approx(np.mean([(predicted == truth)[truth == k].mean() for k in (0, 1)]))
    assert found.draws[0] == found.draws[1]
    assert 0.5 < found.forgotten < 1


def test_more_shots_restore_more_and_noise_restores_nothing() -> None:
    noise = np.random.default_rng(0)
    labels, truth = np.repeat(np.arange(10), 30), np.repeat(np.arange(10), 30)
    centres = noise.normal(0, 1, (10, 16))

    def shares(signal: float) -> list[float]:
        features, asked = (signal * centres[k] + noise.normal(0, 1, (len(k), 16)) for k in (labels, truth))
        each = [restored((features, labels), (asked, truth), FORGOTTEN, shots, 20, 0) for shots in (1, 5)]
        return [one.forgotten for one in each if one is not None]

    one, five = shares(1.0)
    assert five > 0.8 > one > 0.2
    # A mean of few images lies far out, and is rarely the nearest: less than one in ten is told.
    assert max(shares(0.0)) < 0.15


def test_too_few_images_restore_nothing() -> None:
    features, labels = np.zeros((6, 2)), np.array([0, 0, 1, 1, 2, 2])
    assert restored((features, labels), (features, labels), FORGOTTEN, 3, 1, 0) is None


# -- batch statistics --------------------------------------------------------------------------------


def test_statistics_are_the_mean_over_batches() -> None:
    norm = nn.BatchNorm1d(3, momentum=0.3)
    norm(torch.randn(50, 3) * 7 + 5)
    module = nn.Sequential(norm).train()
    batches = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).split((16, 16, 7, 1))  # type: ignore[no-untyped-call]
    reestimate(module, batches)
    # The last batch, of one image, has no variance.
    means, variances = (torch.stack([getattr(b, what)(0) for b in batches[:3]]).mean(0) for what in ("mean", "var"))
    torch.testing.assert_close((norm.running_mean, norm.running_var), (means, variances))
    assert (norm.momentum, module.training) == (0.3, False)


def mislaid(network: nn.Sequential) -> nn.Sequential:
    """Return a copy whose statistics do not fit: it answers class 0 to nearly everything."""
    copy = deepcopy(network)
    with torch.no_grad():
        head = copy.get_parameter("head.weight")
        copy.get_buffer("norm.running_mean").sub_(4.0 * (head[0] - head[2]))
    return copy


def statistics(version: nn.Sequential) -> dict[str, Any]:
    roles = {
        NetworkRole.VERSION: version,
        NetworkRole.ORIGINAL: original(norm=True),
        NetworkRole.RETRAINED: retrained(norm=True),
    }
    metrics: dict[str, Any] = StatisticsEvaluator().evaluate(examination(IMAGES, roles, FORGOTTEN))
    return metrics


def test_a_class_hidden_by_statistics_comes_back_and_one_never_seen_does_not() -> None:
    metrics = statistics(mislaid(original(norm=True)))
    assert metrics["original"]["before"]["forgotten"] > 0.8, "the class was known"
    assert metrics["version"]["before"]["forgotten"] < 0.2, "and is hidden"
    assert metrics["statistics_return"] > 0.7
    assert metrics["statistics_gain"] == metrics["statistics_return"] - metrics["version"]["before"]["forgotten"]
    assert metrics["retrained"]["after"]["forgotten"] == 0.0
    assert metrics["statistics_gap"] == metrics["statistics_return"]
    assert metrics["version"]["after"]["retained"] > 0.7
    assert statistics(mislaid(original(norm=True))) == metrics
    assert statistics(retrained(norm=True))["statistics_gain"] == 0.0


def test_a_network_without_statistics_says_so() -> None:
    roles = dict.fromkeys((NetworkRole.VERSION, NetworkRole.ORIGINAL), original())
    metrics = StatisticsEvaluator().evaluate(examination(IMAGES, roles, FORGOTTEN))
    assert metrics["statistics_return"] is None
    assert metrics["reason"] == "the network has no batch statistics"
