"""Coverage is a promise: what multiplies features is edited or named, whatever it is called and however it is held."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor, nn

from ledger.networks.coverage import ParameterCoverage, Treatment
from ledger.networks.dataflow import trace_dataflow
from ledger.networks.network import Network
from ledger.networks.operators import UseKind
from ledger.plugin_manager import build_plugins

HANDLERS = build_plugins().layer_handlers()
EXAMPLE = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
"""Read by most networks here as 2 x 18 tokens of width 4."""


class Net(nn.Module):
    """A layer that is covered, then whatever the subclass does to its tokens (n, 18, 4) with the parameter ``p``."""

    shape: tuple[int, ...] = (4, 4)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.fc = nn.Linear(4, 4)
        self.p = nn.Parameter(torch.rand(self.shape) / 2)

    def forward(self, images: Tensor) -> Any:
        return self.use(self.fc(images.flatten(1, 2)))

    def use(self, x: Tensor) -> Any:
        raise NotImplementedError


def network(**members: Any) -> type[Net]:
    return type("Made", (Net,), members)


def covered(module: nn.Module, example: Tensor = EXAMPLE) -> dict[str, ParameterCoverage]:
    return {c.name: c for c in Network.of(module, HANDLERS).observed(example).coverage}


def recurrence(self: Any, x: Tensor) -> Tensor:
    state = torch.zeros_like(x[:, 0])
    for step in x.unbind(1):
        state = state * torch.sigmoid(self.p) + step
    return state


def selective_scan(self: Any, x: Tensor) -> Any:
    return (torch.exp(F.softplus(x) * self.p) * x).cumsum(1)


def long_convolution(self: Any, x: Tensor) -> Any:
    kernel = self.p.view(-1, 1) ** torch.arange(x.shape[1])
    return torch.fft.irfft(torch.fft.rfft(x, dim=1) * torch.fft.rfft(kernel.T, dim=0), n=x.shape[1], dim=1)


@pytest.mark.parametrize(
    ("shape", "use"),
    [
        ((4, 4), lambda s, x: F.linear(x, s.p)),
        ((4, 4), lambda s, x: x @ s.p.T.contiguous()),
        ((4, 4), lambda s, x: torch.einsum("bnd,de->bne", x, s.p)),
        ((4, 4), lambda s, x: F.linear(x, s.p - s.p.mean(1, keepdim=True))),
        ((4, 4), lambda s, x: F.linear(x, torch.cat([s.p[:2], torch.zeros(2, 4)]))),
        ((2, 4, 4), lambda s, x: torch.baddbmm(torch.zeros(1), x, s.p)),
        ((4,), lambda s, x: x @ s.p),
        ((4, 1, 3), lambda s, x: F.conv1d(x.transpose(1, 2), s.p, groups=4)),
        ((3,), lambda s, x: F.conv1d(x.flatten(0, 1).unsqueeze(1), s.p.view(1, 1, 3))),
        ((1, 4, 4), lambda s, x: F.scaled_dot_product_attention(x, s.p.expand(2, -1, -1), x[:, :4])),
        ((18, 4), lambda s, x: x * s.p),
        ((4,), recurrence),
        ((4,), selective_scan),
        ((4, 4), lambda s, x: torch.exp(x.unsqueeze(3) * s.p)),
        ((4,), long_convolution),
        ((18, 4), lambda s, x: torch.fft.fft(x, dim=1) * torch.fft.fft(s.p, dim=0)),
        ((4, 4, 4), lambda s, x: F.bilinear(x, x, s.p)),
        ((4, 4), lambda s, x: F.linear(x, s.p + x[0, :4])),
        ((4, 4), lambda s, x: torch.einsum("boi,bni->bno", s.p + x[:, :4] @ x[:, 4:8], x)),
        ((4, 1, 3), lambda s, x: F.conv1d(x.transpose(1, 2), (x[0, :3].T.unsqueeze(1) + s.p).clone(), groups=4)),
    ],
    ids=[
        *("linear", "matmul", "einsum", "computed", "part", "bmm", "vector", "depthwise", "one kernel", "keys"),
        *("table", "recurrence", "selective scan", "scan with states", "long convolution", "fourier", "bilinear"),
        *("corrected by features", "corrected for each image", "corrected kernel"),
    ],
)
def test_a_functional_weight_is_unhandled(shape: tuple[int, ...], use: Any) -> None:
    found = covered(network(shape=shape, use=use)())
    assert found["p"].treatment is Treatment.UNHANDLED, found["p"]
    assert "no handler for Made" in found["p"].detail
    assert found["fc.weight"].treatment is Treatment.EDITED


@pytest.mark.parametrize(
    ("shape", "use", "detail"),
    [
        ((4,), lambda s, x: x + s.p, "bias"),
        ((18, 4), lambda s, x: x + s.p, "position"),
        ((1, 1, 4), lambda s, x: torch.cat([s.p.expand(2, -1, -1), x], 1), "token"),
        ((4,), lambda s, x: x * s.p, "scale"),
        ((1, 4), lambda s, x: x / s.p.exp(), "scale"),
        ((2, 4), lambda s, x: x * s.p[0] + x * s.p[1], "scale"),
        ((), lambda s, x: x * s.p, "scale"),
        ((1,), lambda s, x: x.clamp(min=0.1).pow(s.p), "scale"),
        ((4,), lambda s, x: F.layer_norm(x, (4,), s.p), "normalisation"),
        ((4,), lambda s, x: F.prelu(x.transpose(1, 2), s.p), "normalisation"),
        (
            (35, 1),
            lambda s, x: (x @ x.transpose(1, 2) + s.p[torch.arange(324) % 35].view(18, 18)).softmax(2),
            "position",
        ),
        ((1, 1), lambda s, x: (x @ x.transpose(1, 2) + s.p * torch.eye(18)) @ x, "position"),
        ((18, 18), lambda s, x: F.scaled_dot_product_attention(x, x, x, attn_mask=s.p), "position"),
        ((1, 4), lambda s, x: s.fc(s.p).unsqueeze(1) + x, "token"),
    ],
)
def test_what_is_no_weight_is_untouched(shape: tuple[int, ...], use: Any, detail: str) -> None:
    found = covered(network(shape=shape, use=use)())
    assert found["p"].treatment is Treatment.UNTOUCHED, found["p"]
    assert detail in found["p"].detail
    assert found["fc.weight"].treatment is Treatment.EDITED


def test_a_table_of_positions_is_one_by_name_even_in_a_product() -> None:
    class Decomposed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.rel_pos_h = nn.Parameter(torch.rand(18, 4))

        def use(self, x: Tensor) -> Any:
            return x @ self.rel_pos_h.T + self.p[0, 0]

    assert covered(Decomposed())["rel_pos_h"].treatment is Treatment.UNTOUCHED


@pytest.mark.parametrize(
    "use",
    [
        lambda s, x: F.linear(x, s.fc.weight),
        lambda s, x: x @ s.fc.weight[:2].T,
        lambda s, x: F.linear(x, F.normalize(s.fc.weight)),
        lambda s, x: s.fc(x) @ torch.linalg.inv(s.fc.weight + torch.eye(4)),
    ],
)
def test_a_layer_whose_weight_is_also_used_elsewhere_is_noticed(use: Any) -> None:
    found = covered(network(use=use)())
    assert found["fc.weight"].treatment is Treatment.UNHANDLED
    assert "not the only one to use it: product in Made" in found["fc.weight"].detail


def test_an_embedding_that_is_also_the_output_layer_is_noticed() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 4)
            self.fc = nn.Linear(4, 4)

        def forward(self, images: Tensor) -> Tensor:
            return F.linear(self.fc(images.flatten(1, 2)) + self.words(torch.tensor(1)), self.words.weight)

    assert covered(Tied())["words.weight"].treatment is Treatment.UNHANDLED
    assert (
        covered(network(use=lambda s, x: x + F.embedding(torch.tensor(1), s.p))())["p"].treatment is Treatment.UNTOUCHED
    )


def test_what_is_never_used_is_not_called_covered() -> None:
    class Idle(Net):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(4, 4)
            self.norm = nn.LayerNorm(4)
            self.scale = nn.Parameter(torch.ones(4))

        def use(self, x: Tensor) -> Any:
            return x + self.p[0]

    found = covered(Idle())
    assert found["idle.weight"].treatment is Treatment.UNHANDLED
    assert "never reaches its layer" in found["idle.weight"].detail
    assert found["scale"].treatment is Treatment.UNHANDLED
    assert "never uses it" in found["scale"].detail
    assert {found[name].treatment for name in ("idle.bias", "norm.weight", "norm.bias")} == {Treatment.UNTOUCHED}


def test_layers_that_read_positions_alone_are_left_alone() -> None:
    class Positions(Net):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(1, 8), nn.Linear(8, 4)
            self.register_buffer("grid", torch.arange(18.0).view(18, 1))

        def use(self, x: Tensor) -> Any:
            return x + self.second(self.first(self.grid).relu()) + self.p[0]

    network = Network.of(Positions(), HANDLERS)
    found = {c.name: c.treatment for c in network.observed(EXAMPLE).coverage}
    assert found["first.weight"] is found["second.weight"] is Treatment.UNTOUCHED
    network = network.observed(EXAMPLE)
    assert [layer.name for layer in network.layers] == ["fc"]


def test_an_observed_network_leaves_out_what_the_coverage_calls_unhandled() -> None:
    class Around(Net):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 4)

        def use(self, x: Tensor) -> Any:
            return F.linear(self.other(x), self.fc.weight) + self.p[0]

    network = Network.of(Around(), HANDLERS)
    assert [layer.name for layer in network.layers] == ["fc", "other"]
    network = network.observed(EXAMPLE)
    assert [layer.name for layer in network.layers] == [layer.name for layer in network.hooked_layers] == ["other"]


class Plus(nn.Linear):
    def forward(self, features: Tensor) -> Any:
        return super().forward(features + 1)


def test_a_subclass_with_a_forward_of_its_own_is_unhandled() -> None:
    found = covered(nn.Sequential(nn.Flatten(1, 2), Plus(4, 4)))
    assert found["1.weight"].treatment is Treatment.UNHANDLED
    assert "Plus computes its output in its own way, product in Plus 1" in found["1.weight"].detail
    assert found["1.bias"].treatment is Treatment.UNTOUCHED


def test_a_layer_whose_forward_was_replaced_is_unhandled() -> None:
    module = nn.Sequential(nn.Flatten(1, 2), nn.Linear(4, 4))
    replaced: Any = module[1]
    replaced.forward = lambda features: nn.Linear.forward(replaced, features**2)
    found = covered(module)["1.weight"]
    assert found.treatment is Treatment.UNHANDLED
    assert "its forward was replaced" in found.detail


def test_a_handler_is_found_for_subclasses_that_change_nothing() -> None:
    class Tagged(nn.Linear):
        pass

    assert covered(nn.Sequential(nn.Flatten(1, 2), Tagged(4, 4)))["1.weight"].detail == "LinearHandler"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("whole", [True, False])
def test_what_was_compiled_is_seen_and_unhandled(*, whole: bool) -> None:
    inner: Any = torch.jit.script(nn.Sequential(nn.Flatten(1, 2), nn.Linear(4, 4)))
    found = covered(inner if whole else nn.Sequential(inner, nn.Linear(4, 2)))
    assert found["1.weight" if whole else "0.1.weight"].treatment is Treatment.UNHANDLED
    assert found["1.bias" if whole else "0.1.bias"].treatment is Treatment.UNTOUCHED
    assert whole or found["1.weight"].treatment is Treatment.EDITED


def test_what_features_are_written_into_counts_as_features() -> None:
    class Buffered(Net):
        def use(self, x: Tensor) -> Any:
            held = torch.zeros(2, 18, 4)
            held[:, :9] = x[:, :9]
            return F.linear(held, self.p)

    assert covered(Buffered())["p"].treatment is Treatment.UNHANDLED


def test_a_parameter_copied_into_an_empty_tensor_is_still_followed() -> None:
    class Assembled(Net):
        def use(self, x: Tensor) -> Any:
            weight = torch.zeros(4, 4)
            weight[:2] = self.p[:2]
            return F.linear(x, weight)

    assert covered(Assembled())["p"].treatment is Treatment.UNHANDLED


def test_watching_changes_nothing_even_on_error() -> None:
    module = nn.Sequential(
        nn.Flatten(1, 2), nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    ).eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    dataflow = trace_dataflow(module, EXAMPLE)
    assert {use.kind for use in dataflow.uses["2.linear1.weight"]} == {UseKind.PRODUCT}
    with pytest.raises(RuntimeError):
        trace_dataflow(module, EXAMPLE[..., :3])
    assert torch.backends.mha.get_fastpath_enabled()
    assert not [m for m in module.modules() if m._forward_hooks or m._forward_pre_hooks]
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)
