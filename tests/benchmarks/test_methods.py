"""Methods in closed form change what they should and nothing else; what a method costs is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.func import functional_call

from ledger.networks.partial_forward import ForwardTrace, PartialForward, record_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

THREE = frozenset({3})


@pytest.fixture(scope="module")
def task(script: Callable[[str], Any], shelf: Any) -> Any:
    """The small network, and 40 training images of each digit; 3 is to be forgotten."""
    tasks, references = script("methods.task"), script("references")
    network = shelf.network()
    network.load(shelf.get(frozenset(), 0).state(), "the shelf")
    data = tasks.ImageSet(*references.training_images(shelf.source, frozenset(), shelf.reference))
    return tasks.Task(network.module.eval(), data.first_of_each(40), THREE, 0)


def logits(task: Any, state: dict[str, Tensor], images: Tensor) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = functional_call(task.network, state, (images,))
    return answer


def recognised(task: Any, state: dict[str, Tensor]) -> float:
    """The share of forgotten training images that are answered rightly."""
    return float((logits(task, state, task.asked.images).argmax(1) == task.asked.labels).double().mean())


def changed(task: Any, state: dict[str, Tensor]) -> set[str]:
    before = task.network.state_dict()
    assert state.keys() == before.keys()
    return {name for name, tensor in state.items() if not torch.equal(tensor, before[name])}


def test_a_task_keeps_its_images_apart(task: Any) -> None:
    assert set(task.asked.labels.tolist()) == {3}
    assert len(task.asked) == 40
    assert task.retained.classes == [k for k in range(10) if k != 3]
    assert len(task.retained) == 360
    # The network knew the class: what follows is forgetting.
    assert recognised(task, task.state()) > 0.9


def test_a_mask_answers_no_forgotten_class_and_leaves_all_other_logits(task: Any, script: Any) -> None:
    state = script("methods.outputs").mask(task)
    before, after = (logits(task, s, task.data.images) for s in (task.state(), state))
    kept = [k for k in range(10) if k != 3]
    assert torch.equal(before[:, kept], after[:, kept])
    assert recognised(task, state) == 0
    assert float(after.double().softmax(1)[:, 3].max()) == 0


def test_a_shift_lowers_one_bias_as_little_as_it_takes(task: Any, script: Any) -> None:
    state = script("methods.outputs").bias_shift(task)
    assert changed(task, state) == {"10.bias"}
    moved = state["10.bias"] - task.state()["10.bias"]
    assert moved.nonzero().flatten().tolist() == [3]
    assert recognised(task, state) <= 0.01
    state["10.bias"][3] += 0.01
    assert recognised(task, state) > 0.01


def test_the_last_layer_alone_is_projected_as_in_the_whole_update(task: Any, script: Any) -> None:
    projections, reference = script("methods.projections"), script("reference")
    state = projections.last_layer(task, alpha_r=10.0, alpha_f=30.0)
    assert changed(task, state) == {"10.weight"}
    # Every row of a linear layer is used; only their order is drawn, which changes the rounding.
    images = task.retained.images, task.asked.images
    whole = reference.unlearn(task.network, *images, alpha_r=10.0, alpha_f=30.0).state
    torch.testing.assert_close(state["10.weight"], whole["10.weight"], rtol=0, atol=1e-5)
    assert float((state["10.weight"] - task.state()["10.weight"]).abs().max()) > 1e-2
    assert changed(task, projections.paper_update(task)) == {"0.weight", "3.weight", "8.weight", "10.weight"}


def test_the_update_takes_as_many_images_as_are_published(task: Any, script: Any, monkeypatch: Any) -> None:
    projections = script("methods.projections")
    given: dict[str, int] = {}
    monkeypatch.setattr(projections, "IMAGES", 27)
    unlearn = projections.unlearn
    monkeypatch.setattr(
        projections, "unlearn", lambda net, r, f, **more: given.update(r=len(r), f=len(f)) or unlearn(net, r, f, **more)
    )
    projections.last_layer(task)
    # Three of each of nine classes, and as many forgotten ones.
    assert given == {"r": 27, "f": 27}


def test_dampening_shrinks_what_matters_to_the_forgotten_images_only(task: Any, script: Any) -> None:
    dampening = script("methods.dampening")
    network = task.copy()
    asked, whole = dampening.importance(network, task.asked), dampening.importance(network, task.data)
    state, before = dampening.ssd(task, alpha=30.0), task.state()
    shrunk = 0
    for name in asked:
        chosen = asked[name] > 30 * whole[name]
        shrunk += int(chosen.sum())
        assert torch.equal(state[name][~chosen], before[name][~chosen])
        expected = before[name][chosen] * (whole[name][chosen] / asked[name][chosen])
        torch.testing.assert_close(state[name][chosen], expected)
    assert shrunk > 0
    assert all(bool((state[name].abs() <= before[name].abs()).all()) for name in asked)
    assert changed(task, dampening.ssd(task, alpha=1e9)) == set()


def test_importance_is_the_mean_square_of_the_gradients_of_batches(script: Any) -> None:
    """One weight, logits (w x, 0): d/dw of the mean cross entropy of class 0 is the mean of x (p - 1)."""
    dampening, tasks = script("methods.dampening"), script("methods.task")

    class OneWeight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.weight * x, torch.zeros_like(x)], dim=1)

    images = torch.cat([torch.full((dampening.BATCH,), 2.0), torch.full((3,), 6.0)])
    found = dampening.importance(OneWeight(), tasks.ImageSet(images, torch.zeros(len(images), dtype=torch.int64)))
    # With w = 0, p = 1/2: gradients -1 and -3.
    assert float(found["weight"]) == pytest.approx((1 + 9) / 2)


def planted() -> tuple[Tensor, Tensor]:
    """Features (600, 8) in which a third of the rows is shifted in two directions, and which rows those are."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.arange(600) % 3 == 0
    mixing = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    rows = torch.randn(600, 8, generator=generator, dtype=torch.float64) @ mixing
    rows[inside] += 3 * torch.randn(8, generator=generator, dtype=torch.float64)
    return rows, inside


def test_no_linear_probe_reads_what_leace_erased(script: Any) -> None:
    rows, inside = planted()
    eraser = script("methods.erasure").fit_eraser(rows, inside[:, None].double())
    accuracy = {
        name: LogisticRegression(max_iter=1000).fit(x, inside).score(x, inside)
        for name, x in (("before", rows.numpy()), ("after", eraser(rows).numpy()))
    }
    assert accuracy["before"] > 0.9
    # Two thirds are the others: that is what the best constant answer scores.
    assert accuracy["after"] == pytest.approx(2 / 3)
    again = eraser(eraser(rows))
    torch.testing.assert_close(again, eraser(rows))
    assert int(torch.linalg.matrix_rank(eraser.matrix)) == 1
    torch.testing.assert_close(eraser(rows)[inside].mean(0), eraser(rows)[~inside].mean(0))


def test_two_concepts_that_go_together_erase_one_direction(script: Any) -> None:
    rows, inside = planted()
    concepts = torch.stack([inside, ~inside], dim=1).double()
    assert int(torch.linalg.matrix_rank(script("methods.erasure").fit_eraser(rows, concepts).matrix)) == 1


def test_the_eraser_is_absorbed_in_the_classifier(task: Any, script: Any) -> None:
    erasure, prototypes = script("methods.erasure"), script("methods.prototypes")
    state = erasure.leace(task)
    assert changed(task, state) == {"10.weight", "10.bias"}
    layer = task.network.get_submodule("10")
    features = prototypes.mean_inputs(task, {"10": layer})["10"]
    eraser = erasure.fit_eraser(features, (task.data.labels == 3).double()[:, None])
    expected = eraser(features) @ layer.weight.double().T + layer.bias.double()
    # float32 logits of some tens.
    torch.testing.assert_close(logits(task, state, task.data.images), expected.float(), rtol=0, atol=1e-3)
    assert recognised(task, state) < 0.5


def test_damp_removes_what_a_mean_has_beside_the_others(task: Any, script: Any) -> None:
    prototypes = script("methods.prototypes")
    state, before = prototypes.damp(task), task.state()
    # One channel of input is spanned by the retained means, and biases stay.
    assert changed(task, state) == {"3.weight", "8.weight", "10.weight"}
    layers = {name: task.network.get_submodule(name) for name in ("0", "3", "8", "10")}
    seen = prototypes.mean_inputs(task, layers)
    assert list(seen) == ["0", "3", "8", "10"]
    rows, labels = seen["10"], task.data.labels
    kept = torch.stack([rows[labels == k].mean(0) for k in range(10) if k != 3], dim=1)
    asked = rows[labels == 3].mean(0)
    inside = prototypes.separability(rows, labels == 3)
    assert 0.5 < inside <= 1
    old, new = (s["10.weight"].double() for s in (before, state))
    torch.testing.assert_close(new @ kept, old @ kept, rtol=0, atol=1e-4)
    direction = asked - kept @ torch.linalg.lstsq(kept, asked[:, None]).solution[:, 0]
    # The last layer is the deepest: l / L is 1.
    torch.testing.assert_close(new @ direction, (1 - inside) * (old @ direction), rtol=0, atol=1e-4)


def test_separability_is_that_of_the_nearer_mean(script: Any) -> None:
    rows = torch.tensor([[0.0], [1.0], [10.0], [11.0], [12.0], [0.5]], dtype=torch.float64)
    inside = torch.tensor([True, True, False, False, False, False])
    # Means 0.5 and 8.375: all but the last row are nearer to their own, so (1 + 3/4) / 2.
    assert script("methods.prototypes").separability(rows, inside) == pytest.approx(0.75)
    assert script("methods.prototypes").separability(torch.zeros(6, 1), inside) == 0


def test_damp_refuses_what_it_is_not_defined_for(task: Any, script: Any) -> None:
    grouped = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, groups=2)).eval()
    with pytest.raises(ValueError, match="groups"):
        script("methods.prototypes").damp(replace(task, network=grouped))


def test_a_network_without_last_biases_is_refused(task: Any, script: Any) -> None:
    with pytest.raises(ValueError, match="with biases"):
        script("methods.outputs").mask(replace(task, network=nn.Sequential(nn.Linear(2, 3, bias=False)).eval()))


def test_images_are_counted_once_forward_and_once_back(script: Any) -> None:
    passes = script("methods.passes")
    network = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2)))
    with passes.PassCounter(network) as counter:
        network(torch.ones(5, 3))
        with torch.no_grad():
            network(torch.ones(7, 3))
        loss: Any = network(torch.ones(4, 3)).sum()
        loss.backward()
    network(torch.ones(9, 3))
    assert (counter.forward, counter.partial, counter.backward) == (16, 0, 4)


def test_a_failed_pass_does_not_hide_the_next_one(script: Any) -> None:
    network = nn.Sequential(nn.Linear(3, 3))
    with script("methods.passes").PassCounter(network) as counter:
        with pytest.raises(RuntimeError):
            network(torch.ones(1, 8))
        network(torch.ones(2, 3))
    assert counter.forward == 3


def test_a_pass_of_the_last_layers_is_counted_apart(task: Any, script: Any) -> None:
    images = task.data.images[:4]
    trace = ForwardTrace(task.network, images)
    partial = PartialForward(trace, task.network.get_submodule("8"))
    _, recorded = record_outputs(task.network, partial.boundary, images)
    with script("methods.passes").PassCounter(task.network) as counter:
        partial.run({}, [recorded[m] for m in partial.boundary], images)
    assert (counter.forward, counter.partial, counter.backward) == (0, 4, 0)
