"""Probes and class means on features in which a class is planted, is noise, or was shrunk; and against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ledger.plugins.evaluators.nearest_mean import NearestMeanEvaluator, nearest_means
from ledger.plugins.evaluators.probe import ProbeEvaluator, converged, linear_layer, logistic_regression
from ledger.plugins.evaluators.readouts import learned_images
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from ledger.hookspecs import Depth, EvaluationInput, NetworkRole, Outputs
from tests.fixtures.examined import MadeUpNetwork, examined

CLASSES, WIDTH, FORGOTTEN = 4, 12, 3
TRAIN, TEST = np.repeat(np.arange(CLASSES), 60), np.repeat(np.arange(CLASSES), 40)


def features(labels: np.ndarray, seed: int, *, without: int | None = None) -> np.ndarray:
    """Return noise with a direction planted for each class; one class may look like the first or the second instead."""
    generator = np.random.default_rng(seed)
    shown = labels.copy()
    if without is not None:
        chosen = labels == without
        shown[chosen] = generator.integers(0, 2, chosen.sum())
    planted = 4.0 * np.eye(CLASSES, WIDTH)[shown]
    noise = generator.normal(0, 1, (len(labels), WIDTH))
    return np.asarray(planted + noise, dtype=np.float32)


def network(name: str, *, without: int | None = None) -> MadeUpNetwork:
    pair = (features(TRAIN, 1, without=without), features(TEST, 2, without=without))
    of_noise = (features(TRAIN, 3)[:, CLASSES:], features(TEST, 4)[:, CLASSES:])
    return examined(features={Depth.PENULTIMATE: pair, Depth.TWO_THIRDS: of_noise}, digest=name.ljust(64, "0"))


def evaluation(**networks: MadeUpNetwork) -> EvaluationInput:
    train, test = (Outputs(labels, np.full((len(labels), CLASSES), 1 / CLASSES)) for labels in (TRAIN, TEST))
    roles = {NetworkRole(role): one for role, one in networks.items()}
    return EvaluationInput(tuple("abcd"), frozenset({FORGOTTEN}), train, test, train, test, seed=0, networks=roles)


def test_a_planted_class_is_read_out_and_one_that_is_not_there_is_not() -> None:
    data = evaluation(version=network("v"), original=network("o"), retrained=network("r", without=FORGOTTEN))
    probe, means = ProbeEvaluator().evaluate(data), NearestMeanEvaluator().evaluate(data)
    for kind in (probe["regularised"], probe["sgd"], means["depths"]):
        last = kind["penultimate"]
        assert last["version"] == last["original"]
        assert last["version"]["forgotten"] > 0.95
        # It looks like one of two other classes, which a probe mostly takes it for.
        assert last["retrained"]["forgotten"] < 0.6
        assert last["retrained"]["per_class"][2] > 0.95
        # In noise, four classes cannot be told apart.
        assert kind["two_thirds"]["version"]["retained"] < 0.45
        assert kind["one_third"]["version"] is None
    for metrics, prefix in ((probe, "probe"), (probe, "probe_sgd"), (means, "nearest_mean")):
        assert metrics[f"{prefix}_gap"] > 0.35
        assert metrics[f"{prefix}_fall"] == 0
        assert metrics[f"{prefix}_forgotten"] > 0.95
    assert probe["probe_images"] == means["nearest_mean_images"] == len(TRAIN)
    assert probe["probe_unconverged"] == 0


def test_what_was_removed_falls_and_is_no_further_from_a_retrained_network() -> None:
    gone = network("v", without=FORGOTTEN)
    data = evaluation(version=gone, original=network("o"), retrained=replace(gone, digest="r" * 64))
    probe, means = ProbeEvaluator().evaluate(data), NearestMeanEvaluator().evaluate(data)
    assert probe["probe_gap"] == means["nearest_mean_gap"] == 0
    assert probe["probe_fall"] > 0.35
    assert means["nearest_mean_fall"] > 0.35


def test_what_was_only_shrunk_is_hidden_from_the_raw_probe_alone() -> None:
    def shrunk(labels: np.ndarray, seed: int) -> np.ndarray:
        found = np.random.default_rng(seed).normal(0, 1, (len(labels), 6))
        found[:, 0] = (found[:, 0] + 6 * labels) * 0.002
        return found.astype(np.float32)

    labels, wanted = np.repeat([0, 1], 100), np.repeat([0, 1], 200)
    learnt, asked = shrunk(labels, 1), shrunk(wanted, 2)
    raw = linear_layer(learnt, labels, seed=0).predict(asked)
    assert np.mean(logistic_regression(learnt, labels).predict(asked) == wanted) > 0.97
    assert np.mean(raw == wanted) < 0.65


def test_same_seed_same_figures_and_the_callers_random_state_is_left_alone() -> None:
    data = evaluation(version=network("v"), original=network("o", without=1))
    state = torch.get_rng_state()
    with torch.inference_mode():
        first = ProbeEvaluator().evaluate(data)
    assert first == ProbeEvaluator().evaluate(data)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_retrained_network_a_gap_is_not_known() -> None:
    data = evaluation(version=network("v"), original=network("o"))
    for evaluator, name in ((ProbeEvaluator(), "probe"), (NearestMeanEvaluator(), "nearest_mean")):
        assert (evaluator.level, evaluator.by_default, evaluator.name) == (3, False, name)
        found = evaluator.evaluate(data)
        assert found[f"{name}_gap"] is None
        assert found[f"{name}_fall"] == 0
        for unknown in (replace(data, forgotten=frozenset()), replace(data, networks={})):
            nothing = evaluator.evaluate(unknown)
            assert {nothing[f"{name}_{what}"] for what in ("gap", "fall", "forgotten")} == {None}


def test_gaps_of_several_classes_do_not_cancel() -> None:
    version, retrained = network("v", without=FORGOTTEN), network("r", without=2)
    data = replace(evaluation(version=version, original=network("o"), retrained=retrained), forgotten=frozenset({2, 3}))
    found = NearestMeanEvaluator().evaluate(data)
    last = found["depths"]["penultimate"]
    assert abs(last["version"]["forgotten"] - last["retrained"]["forgotten"]) < 0.2
    assert found["nearest_mean_gap"] > 0.35


def test_nearest_means_are_scikit_learn_s() -> None:
    learnt, asked = features(TRAIN, 5), features(TEST, 6)
    expected = NearestCentroid().fit(learnt.astype(np.float64), TRAIN).predict(asked.astype(np.float64))
    np.testing.assert_array_equal(nearest_means(learnt, TRAIN, asked), expected)


def test_the_nearest_of_two_means() -> None:
    """Means are (1, 0) and (5, 0): the border is at 3, however far away in the other direction."""
    learnt = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 1.0], [6.0, -1.0]], dtype=np.float32)
    found = nearest_means(learnt, np.array([7, 7, 2, 2]), np.array([[2.9, 9.0], [3.1, 9.0], [-50.0, 0.0]]))
    assert found.tolist() == [7, 2, 7]


def test_the_linear_layer_goes_where_an_unpenalised_regression_goes() -> None:
    # Classes that overlap have a finite optimum; 50 epochs come near it.
    generator = np.random.default_rng(7)
    labels = np.repeat([0, 1, 2], 200)
    learnt = (np.eye(3)[labels] * 1.5 + generator.normal(0, 1, (600, 3))).astype(np.float32)
    layer = linear_layer(learnt, labels, seed=0)
    exact = LogisticRegression(C=1e6, max_iter=1000).fit(learnt, labels)
    shares = (torch.from_numpy(learnt) @ layer.weight.T + layer.bias).softmax(1).numpy()
    assert np.abs(shares - exact.predict_proba(learnt)).max() < 0.05
    assert not torch.equal(layer.weight, linear_layer(learnt, labels, seed=1).weight)


def test_the_linear_layer_is_what_torch_s_optimiser_makes_of_it() -> None:
    learnt, labels = features(TRAIN, 9)[:70], TRAIN[:70] + 5
    ours = linear_layer(learnt, labels, seed=4)
    layer = torch.nn.Linear(WIDTH, 2)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(4)
    inputs, wanted = torch.from_numpy(learnt), torch.from_numpy(labels - 5)
    for _ in range(50):
        order = torch.randperm(70, generator=generator)
        for chosen in (order[:64], order[64:]):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(inputs[chosen]), wanted[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    # Sums in another order, 100 steps long.
    torch.testing.assert_close(ours.weight, layer.weight.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.bias, layer.bias.detach(), rtol=0, atol=1e-5)
    assert ours.classes.tolist() == [5, 6]


def test_a_regression_that_runs_out_of_steps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.plugins.evaluators.probe.MOST_STEPS", 2)
    assert not converged(logistic_regression(features(TRAIN, 8), TRAIN))
    found = ProbeEvaluator().evaluate(evaluation(version=network("v"), original=network("o")))
    # The features of both are the same, and are read once.
    assert found["probe_unconverged"] == 2
    found = ProbeEvaluator().evaluate(evaluation(version=network("v"), original=network("o", without=1)))
    assert found["probe_unconverged"] == 3


def test_as_many_images_of_each_class_are_learned_as_the_limit_allows() -> None:
    labels = np.repeat([0, 1, 2], [500, 50, 5])
    chosen = learned_images(labels, seed=0, most=60)
    assert np.bincount(labels[chosen]).tolist() == [20, 20, 5]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, learned_images(labels, seed=0, most=60))
    assert not np.array_equal(chosen, learned_images(labels, seed=1, most=60))
    assert len(learned_images(labels, seed=0, most=555)) == 555
