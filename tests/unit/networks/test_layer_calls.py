"""Rows are read from every call of a layer, and the network is left as it was."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ledger.algebra.grouped import GroupedSpace
from ledger.errors import NonFiniteError, WeightsError
from ledger.networks.coverage import Treatment
from ledger.networks.inference import logits
from ledger.networks.layer_calls import arguments, capture_rows
from ledger.networks.map_weights import Edit, MapWeights
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler

HANDLERS = build_plugins().layer_handlers()
EVERYWHERE = 10**6
IMAGES = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(2))
"""Read as 5 x 4 tokens of width 4."""


def collected(network: Network, per_image: int = EVERYWHERE, batch: int = 5) -> dict[str, Tensor]:
    """Return every map's second moment of trace 1, (i, i), by the map's key."""
    found = collect_spaces(network, torch.split(IMAGES, batch), PositionSampler(0, 0, per_image), max_rank=64).spaces
    each: dict[str, Tensor] = {}
    for group in network.map_groups:
        space = found[group.key]
        if isinstance(space, GroupedSpace):
            each |= {m.key: moment.float() for m, moment in zip(group.maps, space.moments(), strict=True)}
        else:
            each[group.key] = space.factor @ space.factor.T
    return each


def expected(*parts: Tensor) -> Any:
    rows = torch.cat([part.detach().flatten(0, -2) for part in parts])
    return rows.T @ rows / rows.square().sum()


def tokens(images: Tensor) -> Tensor:
    return images.squeeze(1)


class Twice(nn.Module):
    """One layer, called two times."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Any:
        return self.fc(self.fc(tokens(images)).relu())


class Tied(nn.Module):
    """Two layers of one weight, a module under two names, and a layer in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.between, self.second = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.again = self.between

    def forward(self, images: Tensor) -> Any:
        x = self.first(tokens(images))
        return self.second(self.again(self.between(x)))


def test_a_layer_called_twice_is_read_twice() -> None:
    module = Twice()
    network = Network.of(module, HANDLERS).observed(IMAGES)
    space = collected(network)["fc.weight"]
    x = tokens(IMAGES)
    torch.testing.assert_close(space, expected(x, module.fc(x).relu()))


@pytest.mark.parametrize("build", [Twice, Tied])
def test_sampled_rows_of_several_calls_do_not_depend_on_batches(build: Any) -> None:
    torch.manual_seed(0)
    network = Network.of(build(), HANDLERS).observed(IMAGES)
    spaces = [collected(network, per_image=2, batch=batch) for batch in (5, 2, 1)]
    for key, space in spaces[0].items():
        for other in spaces[1:]:
            # The same rows, added up in another order.
            torch.testing.assert_close(other[key], space, rtol=0, atol=1e-6)


def test_layers_that_share_a_weight_are_one_map_with_the_rows_of_each() -> None:
    module = Tied()
    network = Network.of(module, HANDLERS).observed(IMAGES)
    assert [m.key for m in network.maps] == ["first.weight", "between.weight"]
    found = collected(network)
    x = tokens(IMAGES)
    first = module.first(x)
    torch.testing.assert_close(found["first.weight"], expected(x, module.between(module.between(first))))
    torch.testing.assert_close(found["between.weight"], expected(first, module.between(first)))
    named = {c.name: c for c in network.observed(IMAGES[:1]).coverage}
    assert {named[n].treatment for n in ("first.weight", "second.weight", "again.weight")} == {Treatment.EDITED}
    assert "the same as first.weight" in named["second.weight"].detail


def test_an_edit_of_a_shared_weight_is_written_under_all_its_names() -> None:
    module = Tied()
    network = Network.of(module, HANDLERS)
    weights = MapWeights(network.state(), network.state())
    edit = Edit(weights)
    for m in network.maps:
        edit.put(m, weights.of(m) * 2)
    state = edit.state()
    for one, other in (("first.weight", "second.weight"), ("between.weight", "again.weight")):
        torch.testing.assert_close(state[one], 2 * module.state_dict()[one], rtol=0, atol=0)
        torch.testing.assert_close(state[other], state[one], rtol=0, atol=0)
    functional = logits(network, state, [IMAGES])
    network.load(state, "the edit")
    torch.testing.assert_close(network.module(IMAGES), functional)


def test_asking_with_other_weights_leaves_a_module_under_two_names_its_own() -> None:
    network = Network.of(Tied(), HANDLERS)
    held, before = dict(network.module.named_parameters(remove_duplicate=False)), network.state()
    state = {name: 2 * tensor for name, tensor in before.items()}
    values = {name: tensor.clone() for name, tensor in before.items()}
    plain, doubled = (logits(network, weights, [IMAGES]) for weights in (before, state))
    assert not torch.equal(doubled, plain)
    assert all(held[name] is found for name, found in network.module.named_parameters(remove_duplicate=False))
    torch.testing.assert_close(network.state(), values, rtol=0, atol=0)
    torch.testing.assert_close(logits(network, before, [IMAGES]), plain, rtol=0, atol=0)


def test_weights_that_differ_where_the_network_has_one_are_refused() -> None:
    network = Network.of(Tied(), HANDLERS)
    state = network.state()
    with pytest.raises(WeightsError, match=r"second\.weight differs from first\.weight, which is the same parameter"):
        network.load(state | {"second.weight": state["first.weight"] + 1}, "file")


def test_a_layer_is_entered_at_the_earliest_use_of_its_weight() -> None:
    class Backwards(Tied):
        def forward(self, images: Tensor) -> Any:
            return self.first(self.between(self.second(tokens(images))))

    network = Network.of(Backwards(), HANDLERS).observed(IMAGES)
    assert [layer.name for layer in network.layers] == ["second", "between"]
    assert network.layers[0].module is network.module.get_submodule("second")
    assert [m.key for m in network.maps] == ["first.weight", "between.weight"]


def test_a_weight_shared_in_another_shape_is_not_covered() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 1, groups=1, bias=False)
            self.grouped = nn.Conv2d(4, 4, 1, groups=4, bias=False)
            self.other = nn.Conv2d(1, 4, 1, bias=False)
            self.other.weight = self.grouped.weight

        def forward(self, images: Tensor) -> Any:
            x = self.conv(tokens(images)).unsqueeze(1)
            return self.grouped(self.other(x))

    found = {c.name: c for c in Network.of(Mixed(), HANDLERS).observed(IMAGES).coverage}
    assert found["grouped.weight"].treatment is Treatment.UNHANDLED
    assert "not the only one to use it" in found["grouped.weight"].detail


class Encoder(nn.Module):
    """A transformer, which torch would run in one fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, images: Tensor) -> Any:
        answer: Tensor = self.encoder(tokens(images))
        return answer


def test_fused_transformers_are_taken_apart_while_they_are_read() -> None:
    module = Encoder()
    network = Network.of(module, HANDLERS).observed(IMAGES)
    assert not [c for c in network.observed(IMAGES).coverage if c.treatment is Treatment.UNHANDLED]
    assert len(network.maps) == 2 * 6
    found = collected(network)
    layer: Any = module.encoder.layers[0]
    x = tokens(IMAGES)
    with torch.no_grad():
        attended = layer.norm1(x + layer.self_attn(x, x, x)[0])
        hidden = layer.linear1(attended).relu()
    torch.testing.assert_close(found["encoder.layers.0.self_attn.in_proj_weight[k]"], expected(x))
    torch.testing.assert_close(found["encoder.layers.0.linear2.weight"], expected(hidden))
    assert torch.backends.mha.get_fastpath_enabled()


class Statistics(nn.Module):
    """Has whatever a careless pass would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.fc = nn.Linear(12, 2)

    def forward(self, images: Tensor) -> Any:
        answer: Tensor = self.fc(self.drop(self.norm(self.conv(images))).flatten(1))
        return answer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_network_is_left_as_it_was(*, training: bool, fails: bool) -> None:
    module = Statistics()
    network = Network.of(module, HANDLERS)
    module.train(training)
    module.norm.eval()
    flags = {name: part.training for name, part in module.named_modules()}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    inside = Network.of(Statistics(), HANDLERS)
    inside.module.load_state_dict(before)
    if fails:
        with pytest.raises(NonFiniteError, match="the input of conv holds NaN"):
            collect_spaces(network, [IMAGES * torch.nan], PositionSampler(0, 0, 4), max_rank=4)
    else:
        # As in evaluation, whatever the flags say.
        torch.testing.assert_close(collected(network)["fc.weight"], collected(inside)["fc.weight"])
    assert {name: part.training for name, part in module.named_modules()} == flags
    assert not [m for m in module.modules() if m._forward_hooks or m._forward_pre_hooks]
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


def test_arguments_are_handed_over_in_the_order_of_the_signature() -> None:
    attention = nn.MultiheadAttention(4, 2)
    q, k, v = torch.rand(3, 2, 1, 4)
    bound = arguments(attention, (q,), {"value": v, "key": k, "need_weights": False})
    assert bound[0] is q
    assert bound[1] is k
    assert bound[2] is v
    assert bound[3:] == (None, False, None, True, False)


def test_rows_are_named_after_the_layer_and_given_by_map() -> None:
    network = Network.of(Tied(), HANDLERS)
    seen: list[tuple[str, tuple[str, ...]]] = []
    with capture_rows(network, PositionSampler(0, 0, 1), lambda name, rows: seen.append((name, tuple(rows)))):
        network.module(IMAGES)
    assert seen == [
        ("first", ("first.weight",)),
        ("between", ("between.weight",)),
        ("between", ("between.weight",)),
        ("second", ("first.weight",)),
    ]


def test_only_the_layers_that_are_wanted_are_read() -> None:
    network = Network.of(Tied(), HANDLERS)
    network = replace(network, layers=network.layers[1:])
    assert list(collected(network)) == ["between.weight"]


def test_a_network_may_be_a_single_layer() -> None:
    network = Network.of(nn.Linear(4, 3), HANDLERS).observed(IMAGES)
    torch.testing.assert_close(collected(network)["weight"], expected(tokens(IMAGES)))
    assert (network.maps[0].key, network.maps[0].parameter) == ("weight", "weight")


def test_memory_layout_does_not_change_rows() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(36, 2))
    network = Network.of(module, HANDLERS)
    before = collected(network, per_image=3)
    network.move(torch.device("cpu"))
    after = collected(network, per_image=3)
    for key, space in before.items():
        torch.testing.assert_close(after[key], space, rtol=0, atol=1e-6)
