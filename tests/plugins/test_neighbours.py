"""The neighbour test finds images that are answered unlike their neighbour's, and none that are answered alike."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ledger.plugins.evaluators.neighbours import FOLDS, NeighboursEvaluator, detection_scores, over_retained
from sklearn.metrics import roc_auc_score

from ledger.hookspecs import EvaluationInput, ExaminedNetwork, NetworkRole, Outputs
from tests.fixtures.small_networks import SmallExamined, blobs, perceptron

IMAGES = 80
LABELS = np.repeat(np.arange(4), IMAGES)
FORGOTTEN = frozenset({3})


def answers(rows: np.ndarray, seed: int = 0) -> Outputs:
    """Return noisy answers around logits (4, 4) of each class."""
    logits = rows[LABELS] + np.random.default_rng(seed).normal(0, 1, (len(LABELS), 4))
    p = np.exp(logits)
    return Outputs(LABELS, p / p.sum(axis=1, keepdims=True))


KNOWN = 6.0 * np.eye(4)
KNOWN[3, 2] = 3.0
"""Logits of a network that knows all classes, and finds the last a little like the one before."""


def told(version: np.ndarray) -> dict[str, Any]:
    original = answers(KNOWN, seed=1)
    nothing = Outputs(LABELS[:0], np.zeros((0, 4)))
    changed = answers(version)
    data = EvaluationInput(tuple("abcd"), FORGOTTEN, nothing, changed, nothing, original, seed=0)
    metrics: dict[str, Any] = NeighboursEvaluator().evaluate(data)
    return metrics


def instead(*row: float) -> np.ndarray:
    rows = KNOWN.copy()
    rows[3] = row
    return rows


def test_images_spread_over_all_classes_are_detected() -> None:
    metrics = told(instead(0, 0, 0, -20))
    assert metrics["neighbour_auc"] > 0.95
    (version,) = metrics["version"]
    assert (version["class"], version["neighbour"], version["images"]) == (3, 2, IMAGES)
    assert version["goes_to"][0]["probability"] < 0.5
    assert metrics["masked_original"][0]["goes_to"][0]["class"] == 2


def test_images_sent_to_another_class_are_detected() -> None:
    metrics = told(instead(6, 0, 0, -20))
    assert metrics["neighbour_auc"] > 0.95
    assert metrics["version"][0]["goes_to"][0]["class"] == 0


@pytest.mark.parametrize("dead", [-20.0, -800.0])
def test_images_answered_as_the_neighbours_are_not_detected(dead: float) -> None:
    metrics = told(instead(0, 0, 6, dead))
    version = metrics["version"][0]
    assert version["auc_low"] <= 0.5 <= version["auc_high"]
    assert metrics["neighbour_auc"] == version["auc"] < 0.6
    assert told(instead(0, 0, 6, dead)) == metrics


def test_the_gap_is_to_the_retrained_network() -> None:
    images = blobs(4, 2, IMAGES, signal=1.0)
    network = SmallExamined(perceptron(0, 4), images)
    networks: dict[NetworkRole, ExaminedNetwork] = {NetworkRole.RETRAINED: network}
    original, version = answers(KNOWN), answers(instead(0, 0, 0, -20))
    data = EvaluationInput(tuple("abcd"), FORGOTTEN, version, version, original, original, seed=0)
    metrics = NeighboursEvaluator().evaluate(replace(data, networks=networks))
    alone = NeighboursEvaluator().evaluate(data)
    assert alone["neighbour_gap"] is None
    assert metrics["neighbour_gap"] == alone["neighbour_auc"] - metrics["retrained"][0]["auc"]


def test_scores_come_from_fits_that_did_not_see_the_image() -> None:
    noise = np.random.default_rng(0)
    # More numbers than images: whoever was fitted to them would tell them all apart.
    ours, theirs = (noise.dirichlet(np.ones(60), 25) for _ in range(2))
    scores = detection_scores(ours, theirs, seed=0)
    assert scores is not None
    assert roc_auc_score(np.repeat([1, 0], 25), np.concatenate(scores)) == pytest.approx(0.5, abs=0.2)
    assert detection_scores(ours[: FOLDS - 1], theirs, seed=0) is None


def test_probability_is_shared_out_among_retained_classes() -> None:
    outputs = Outputs(np.array([0, 2]), np.array([[0.3, 0.1, 0.6], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(over_retained(outputs, frozenset({2})), [[0.75, 0.25], [0.5, 0.5]])


def test_without_a_forgotten_class_nothing_is_claimed() -> None:
    outputs = answers(KNOWN)
    data = EvaluationInput(tuple("abcd"), frozenset(), outputs, outputs, outputs, outputs, seed=0)
    metrics = NeighboursEvaluator().evaluate(data)
    assert (metrics["neighbour_auc"], metrics["neighbour_gap"], metrics["version"]) == (None, None, [])
