"""Methods that train: they forget, draw from their seed alone, leave the network, and see only what they may."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = {
    "fine-tuning": {"epochs": 2, "rate": 0.03},
    "NegGrad+": {"epochs": 5, "rate": 0.03, "weight": 0.9},
    "SCRUB": {"rate": 0.03},
    "SalUn": {"epochs": 8, "rate": 0.03},
    "UNSIR": {"impair_rate": 0.005, "repair_rate": 0.002, "batch": 64},
}
"""Few steps, which are enough for the small network here."""


@pytest.fixture(scope="module")
def task(script: Callable[[str], Any], shelf: Any) -> Any:
    tasks, references = script("methods.task"), script("references")
    network = shelf.network()
    network.load(shelf.get(frozenset(), 0).state(), "the shelf")
    data = tasks.ImageSet(*references.training_images(shelf.source, frozenset(), shelf.reference))
    return tasks.Task(network.module.eval(), data.first_of_each(40), frozenset({3}), 0)


@pytest.fixture(scope="module")
def catalogue(script: Callable[[str], Any]) -> Any:
    return script("methods.catalogue")


@pytest.fixture(scope="module")
def method(catalogue: Any) -> Callable[[str], Any]:
    return {one.name: one for one in catalogue.METHODS}.__getitem__


def shares(task: Any, state: dict[str, Tensor]) -> tuple[float, float]:
    """Accuracy on retained and on forgotten training images."""
    with torch.inference_mode():
        correct = functional_call(task.network, state, (task.data.images,)).argmax(1) == task.data.labels
    inside = task.data.labels == 3
    return float(correct[~inside].double().mean()), float(correct[inside].double().mean())


def bytes_of(state: dict[str, Tensor]) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in state.values()]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_seed_decides_every_byte_and_the_network_is_left_alone(
    name: str, task: Any, catalogue: Any, method: Any
) -> None:
    held = bytes_of(task.network.state_dict())
    outside = torch.get_rng_state()
    one, again, other = (
        catalogue.carry_out(method(name), replace(task, seed=seed), SETTINGS[name]) for seed in (0, 0, 1)
    )
    assert bytes_of(one.state) == bytes_of(again.state)
    assert bytes_of(one.state) != bytes_of(other.state)
    assert bytes_of(task.network.state_dict()) == held
    assert not task.network.training
    assert torch.equal(torch.get_rng_state(), outside)
    assert one.cost() | {"seconds": 0} == again.cost() | {"seconds": 0}
    assert one.backward > 0


@pytest.mark.parametrize("name", ["NegGrad+", "SCRUB", "SalUn", "UNSIR"])
def test_a_class_that_was_known_is_forgotten(name: str, task: Any, catalogue: Any, method: Any) -> None:
    before = shares(task, task.state())
    assert min(before) > 0.9
    retained, forgotten = shares(task, catalogue.carry_out(method(name), task, SETTINGS[name]).state)
    assert forgotten < 0.5
    assert retained > 0.6


def test_fine_tuning_never_sees_a_forgotten_image(task: Any, catalogue: Any, method: Any) -> None:
    images = task.data.images.clone()
    images[task.data.labels == 3] = torch.nan
    blinded = replace(task, data=type(task.data)(images, task.data.labels))
    states = [catalogue.carry_out(method("fine-tuning"), t, SETTINGS["fine-tuning"]).state for t in (task, blinded)]
    assert bytes_of(states[0]) == bytes_of(states[1])
    assert bytes_of(states[0]) != bytes_of(task.state())


def test_passes_are_those_of_the_epochs(task: Any, catalogue: Any, method: Any) -> None:
    """360 retained and 40 forgotten images."""
    cost = {name: catalogue.carry_out(method(name), task, SETTINGS[name]).cost() for name in ("fine-tuning", "SCRUB")}
    assert (cost["fine-tuning"]["forward"], cost["fine-tuning"]["backward"]) == (720, 720)
    # Ten epochs, two of which begin with the forgotten images; the teacher answers each image too.
    assert (cost["SCRUB"]["forward"], cost["SCRUB"]["backward"]) == (2 * 3680, 3680)


def test_saliency_frees_the_half_with_the_largest_gradients(task: Any, script: Any) -> None:
    saliency = script("methods.saliency")
    free = saliency.saliency_mask(task.copy(), task.asked, 0.5, 256)
    count = sum(int(mask.sum()) for mask in free.values())
    assert count >= sum(mask.numel() for mask in free.values()) / 2
    state, before = saliency.salun(task, epochs=2), task.state()
    moved = 0
    for name, mask in free.items():
        assert torch.equal(state[name][~mask], before[name][~mask])
        moved += int((state[name][mask] != before[name][mask]).sum())
    assert moved > count / 2


def test_disagreement_is_the_softened_divergence(script: Any) -> None:
    taught, own = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    # Softened by 2, the teacher says (3/4, 1/4) and the student (1/2, 1/2).
    wanted = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    found = script("methods.distillation").disagreement(own, taught, 2.0)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_noise_is_as_wrong_as_can_be(task: Any, script: Any) -> None:
    noise = script("methods.noise").error_maximising_noise(task, 3, 32, task.generator())
    begun = torch.randn(32, *task.data.images.shape[1:], generator=task.generator())
    with torch.inference_mode():
        loss = [float(nn.functional.cross_entropy(task.network(x), noise.labels)) for x in (begun, noise.images)]
    assert loss[1] > loss[0] + 1
    assert set(noise.labels.tolist()) == {3}


def test_the_setting_with_the_best_score_on_training_images_is_chosen(task: Any, catalogue: Any, script: Any) -> None:
    outputs = script("methods.outputs")

    def run(task: Any, *, how: int) -> dict[str, Tensor]:
        state: dict[str, Tensor] = outputs.mask(task) if how else task.state()
        return state

    tried = catalogue.Method("tried", run, "here", [{"how": 0}, {"how": 1}, {"how": 2}])
    scored = catalogue.scored_settings(tried, task)
    assert [setting for setting, _ in scored] == list(tried.settings)
    assert catalogue.best_setting(scored) == {"how": 1}
    assert catalogue.score(task, task.state()) < 0.1
    assert catalogue.score(task, outputs.mask(task)) > 0.9
    broken = task.state() | {"10.bias": torch.full((10,), torch.nan)}
    assert catalogue.score(task, broken) == 0


def test_names_are_unique_and_each_has_a_source_and_a_published_setting(catalogue: Any) -> None:
    names = [one.name for one in catalogue.METHODS]
    assert len(set(names)) == len(names) == 12
    assert all(one.source and len(one.settings) >= 1 for one in catalogue.METHODS)
