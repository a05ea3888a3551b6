"""The reference procedure that speed is compared with computes what its source says.

Source: Kodge, Saha, Roy, arXiv 2312.00761, section 4. The expected edits need no singular value decomposition:
``U diag(lambda) U^T`` is ``alpha C ((alpha - 1) C + I)^-1`` for the normalised second moment ``C`` of the input rows.
"""

import importlib.util
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ALPHAS = {"alpha_r": 100.0, "alpha_f": 3.0}


def load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "reference.py"
    spec = importlib.util.spec_from_file_location("unledger_benchmark_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load()


def network(height: int, width: int) -> nn.Sequential:
    """Return a network for two-channel images; in the last layer, rows are fewer than inputs for few images."""
    built = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * ((height - 1) // 2) * ((width - 1) // 2), 5),
        nn.ReLU(inplace=True),
        nn.Linear(5, 3),
    )
    return built.double().eval()


class Unused(nn.Identity):
    """Holds a layer that no image reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


def assert_same(actual: Any, wanted: Any) -> None:
    """Everything compared is float64: P moves by at most alpha (100) times the rounding of C, a few 1e-16."""
    torch.testing.assert_close(actual, wanted, rtol=0.0, atol=1e-12)


def images(count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, 2, height, width, dtype=torch.float64)


def expected(weight: Tensor, retain: Tensor, forget: Tensor) -> Tensor:
    """Return the edited weight (o, i) for input rows (n, i), in float64 and without singular vectors."""
    identity = torch.eye(weight.shape[1], dtype=torch.float64)

    def projection(rows: Tensor, alpha: float) -> Tensor:
        moment = rows.T @ rows / rows.square().sum()
        inverse: Tensor = torch.linalg.inv((alpha - 1) * moment + identity)
        return alpha * moment @ inverse

    p_r, p_f = projection(retain, ALPHAS["alpha_r"]), projection(forget, ALPHAS["alpha_f"])
    edited: Tensor = weight @ (identity - p_f + p_f @ p_r).T
    return edited


def patches(batch: Tensor, kernel: int, padding: int, stride: int) -> Tensor:
    """Cut patches (n, c * kernel * kernel) one by one."""
    padded = nn.functional.pad(batch, [padding] * 4)
    corners = product(
        range(0, padded.shape[2] - kernel + 1, stride),
        range(0, padded.shape[3] - kernel + 1, stride),
    )
    return torch.cat([padded[:, :, y : y + kernel, x : x + kernel].flatten(1) for y, x in corners])


@pytest.mark.parametrize("count", [4, 40], ids=["fewer rows than inputs", "more rows than inputs"])
@pytest.mark.parametrize("index", [6, 8], ids=["wide", "narrow"])
def test_a_linear_layer_is_edited_as_defined(index: int, count: int) -> None:
    net = network(6, 5)
    retain, forget = images(count, 6, 5), images(count + 1, 6, 5)
    result = reference.unlearn(net, retain, forget, **ALPHAS, batch_size=3)
    before = net.state_dict()[f"{index}.weight"]
    with torch.no_grad():
        wanted = expected(before, net[:index](retain), net[:index](forget))
    edited = result.state[f"{index}.weight"]
    assert_same(edited, wanted)
    assert (edited - before).abs().max() > 1e-3


@pytest.mark.parametrize(("index", "padding", "stride"), [(0, 1, 1), (2, 0, 2)], ids=["padded", "strided"])
def test_a_convolution_no_larger_than_its_crop_is_edited_as_defined(index: int, padding: int, stride: int) -> None:
    net = network(9, 5)
    retain, forget = images(7, 9, 5), images(8, 9, 5)
    result = reference.unlearn(net, retain, forget, **ALPHAS, batch_size=3)
    before = net.state_dict()[f"{index}.weight"]
    with torch.no_grad():
        rows = [patches(net[:index](batch), 3, padding, stride) for batch in (retain, forget)]
    edited = result.state[f"{index}.weight"]
    assert edited.shape == before.shape
    assert_same(edited.flatten(1), expected(before.flatten(1), *rows))
    assert (edited - before).abs().max() > 1e-3


def test_a_crop_is_three_kernels_wide_and_padded_with_zeros_that_the_network_never_sees() -> None:
    net = network(14, 12)
    # Each channel of each image is even, so that every place gives the same crop.
    retain, forget = (images(n, 1, 1).expand(n, 2, 14, 12) for n in (5, 6))
    result = reference.unlearn(net, retain, forget, **ALPHAS)
    rows = [patches(batch[:, :, :9, :9], 3, 1, 1) for batch in (retain, forget)]
    wanted = expected(net.state_dict()["0.weight"].flatten(1), *rows)
    assert_same(result.state["0.weight"].flatten(1), wanted)


def test_patches_are_capped_and_rows_of_linear_layers_are_not() -> None:
    net = network(6, 5)
    retain, forget = images(40, 6, 5), images(40, 6, 5)
    whole = reference.unlearn(net, retain, forget, **ALPHAS)
    capped = reference.unlearn(net, retain, forget, **ALPHAS, max_patches=1)
    # One patch is one direction: its share is 1, so P_f and P_r are the projections onto the two patches.
    change = (capped.state["0.weight"] - net.state_dict()["0.weight"]).flatten(1)
    assert torch.linalg.matrix_rank(change, rtol=1e-9) == 1
    assert torch.linalg.matrix_rank((whole.state["0.weight"] - net.state_dict()["0.weight"]).flatten(1), rtol=1e-9) == 3
    assert_same(capped.state["6.weight"], whole.state["6.weight"])


def test_retained_and_forgotten_images_draw_apart() -> None:
    net, same = network(6, 5), images(8, 6, 5)
    # From one and the same patch, P_f (I - P_r) would be nothing.
    result = reference.unlearn(net, same, same, max_patches=1)
    assert (result.state["0.weight"] - net.state_dict()["0.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("max_patches", [50, 10_000], ids=["crops and patches", "crops alone"])
def test_the_seed_decides_every_byte(max_patches: int) -> None:
    net = network(14, 12).float()
    retain, forget = images(6, 14, 12).float(), images(6, 14, 12).float()

    one, again, other = (
        reference.unlearn(net, retain, forget, seed=seed, max_patches=max_patches).state for seed in (1, 1, 2)
    )
    assert [tensor.numpy().tobytes() for tensor in one.values()] == [t.numpy().tobytes() for t in again.values()]
    # Far more than the order of rows can change by rounding.
    assert (one["0.weight"] - other["0.weight"]).abs().max() > 1e-4


def test_batches_do_not_change_what_is_drawn() -> None:
    net = network(14, 12)
    retain, forget = images(6, 14, 12), images(7, 14, 12)
    one, all_at_once = (reference.unlearn(net, retain, forget, max_patches=50, batch_size=n).state for n in (1, 7))
    assert_same(one, all_at_once)


def test_the_network_is_left_alone_and_only_weights_of_linear_maps_are_edited() -> None:
    net = network(6, 5)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    retain, forget = images(5, 6, 5), images(5, 6, 5)
    inputs = retain.clone(), forget.clone()
    result = reference.unlearn(net, retain, forget)
    assert result.state.keys() == before.keys()
    changed = {key for key in before if not torch.equal(result.state[key], before[key])}
    assert changed == {"0.weight", "2.weight", "6.weight", "8.weight"}
    for tensor in result.state.values():
        tensor.zero_()  # whoever changes the result must not change the network
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    torch.testing.assert_close((retain, forget), inputs, rtol=0, atol=0)
    assert not net.training
    assert not any(part._forward_pre_hooks for part in net.modules())
    assert result.seconds.keys() == {"forward", "svd", "project"}
    assert all(seconds > 0 for seconds in result.seconds.values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Conv2d(2, 2, 3, groups=2).eval(), "groups"),
        (lambda: nn.Conv2d(2, 2, 3, padding="same").eval(), "padding by name"),
        (lambda: network(6, 5).train(), "eval mode"),
        (lambda: Unused().eval(), "spare did not run"),
    ],
)
def test_what_the_procedure_cannot_do_is_refused(build: Callable[[], nn.Module], message: str) -> None:
    net = build().double()
    with pytest.raises(ValueError, match=message):
        reference.unlearn(net, images(2, 6, 5), images(2, 6, 5))
    assert not any(part._forward_pre_hooks for part in net.modules())
