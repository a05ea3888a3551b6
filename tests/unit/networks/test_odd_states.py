"""Weights that torch takes although they are not what a network of now would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch
from torch import nn

from ledger.errors import WeightsError
from ledger.networks.network import Network
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from pathlib import Path

COUNTER = "0.num_batches_tracked"


def network() -> Network:
    return Network.of(nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)), {})


@pytest.mark.parametrize(
    "counter",
    [None, torch.tensor(7.0), torch.tensor([7]), torch.tensor(7, dtype=torch.int32), torch.tensor(7.0).half()],
    ids=["missing", "float", "one element", "int32", "float16"],
)
def test_the_counter_of_a_normalisation_layer_may_be_of_another_kind(counter: torch.Tensor | None) -> None:
    state = {name: tensor.clone() for name, tensor in network().state().items() if name != COUNTER}
    if counter is not None:
        state[COUNTER] = counter
    loaded = network()
    loaded.load(tensor_files.parse(tensor_files.serialise(state), "file"), "file")
    assert int(loaded.state()[COUNTER]) == (0 if counter is None else 7)
    assert torch.equal(loaded.state()["2.weight"], state["2.weight"])
    # What is computed with other weights finds them under the same names.
    assert loaded.prepare_weights(state).keys() == state.keys()


@pytest.mark.parametrize("name", ["0.running_mean", "0.weight", "2.bias"])
def test_nothing_else_may_be_missing_or_of_another_kind(name: str) -> None:
    state = network().state()
    with pytest.raises(WeightsError, match=name):
        network().load({key: tensor for key, tensor in state.items() if key != name}, "file")
    with pytest.raises(WeightsError, match=name):
        network().load(state | {name: state[name].long()}, "file")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(dtype: torch.dtype) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in network().state().items()}
    loaded = network()
    loaded.load(state, "file")
    assert loaded.state()["2.weight"].dtype == torch.float32


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_tied_weights_that_were_stored_once_are_found_under_both_names(tmp_path: Path) -> None:
    module, path = Tied(), tmp_path / "tied.safetensors"
    safetensors.torch.save_model(module, str(path))
    state = tensor_files.parse(tensor_files.read_file(path), "file")
    assert state.keys() == module.state_dict().keys()
    loaded = Network.of(Tied(), {})
    loaded.load(state, "file")
    assert torch.equal(loaded.state()["second.weight"], module.first.weight)


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"a": "nowhere"}, {"first.weight": "first.bias"}, {"x": "x"}])
def test_other_metadata_add_nothing(metadata: dict[str, str]) -> None:
    data = safetensors.torch.save({"first.weight": torch.ones(2), "first.bias": torch.zeros(2)}, metadata)
    state = tensor_files.parse(data, "file")
    assert sorted(state) == ["first.bias", "first.weight"]
    assert torch.equal(state["first.weight"], torch.ones(2))
