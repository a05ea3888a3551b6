"""Evaluators that train do so as well in the process that is stopped when its time is up."""

from collections.abc import Iterator

import pytest
import torch
from ledger.plugins.evaluators.batch_statistics import StatisticsEvaluator
from ledger.plugins.evaluators.relearning import RelearningEvaluator
from ledger.plugins.evaluators.rmia import RmiaEvaluator

from ledger.errors import PluginError
from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole
from ledger.plugin_manager import PluginInfo
from ledger.service.evidence.measuring import measure
from tests.fixtures.small_networks import blobs, examination, fitted, perceptron

INFO = PluginInfo("built-in", "1", builtin=True, hooks=())


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread, as the child does: sums of other orders differ in their last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seen() -> EvaluationInput:
    images = blobs(3, 30, 20, signal=0.6)
    # The parent has computed gradients before it forks.
    network = fitted(perceptron(0, norm=True), images.train, images.train_labels, steps=20)
    roles = dict.fromkeys((NetworkRole.VERSION, NetworkRole.ORIGINAL), network)
    return examination(images, roles, frozenset({2}), lambda seed: perceptron(seed, norm=True))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "evaluator", [RelearningEvaluator(), StatisticsEvaluator(), RmiaEvaluator(pairs=1, most_steps=6)]
)
def test_a_child_measures_the_same(evaluator: Evaluator) -> None:
    data, name = seen(), evaluator.name
    here = measure(evaluator, INFO, data, name=name)
    assert here["reason"] is None
    assert measure(evaluator, INFO, data, name=name, seconds=120) == here


def test_an_attack_is_stopped_when_its_time_is_up() -> None:
    with pytest.raises(PluginError, match="took more than"):
        measure(RmiaEvaluator(epochs=10**6, most_steps=10**6), INFO, seen(), name="rmia", seconds=0.5)
