"""Names of a state dict, and weights that do or do not fit."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ledger.errors import WeightsError
from ledger.networks.state_names import StateNames, require_fit


class Shared(nn.Module):
    """Two layers of one weight, and a module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)
        self.again = self.norm


def test_a_shared_parameter_goes_by_its_first_name() -> None:
    names = StateNames.of(Shared())
    assert names.first["second.weight"] == names.first["first.weight"] == "first.weight"
    assert names.duplicates == {
        "second.weight": "first.weight",
        "again.weight": "norm.weight",
        "again.bias": "norm.bias",
    }
    assert names.duplicates_of(["first.weight", "first.bias"]) == (("first.weight", "second.weight"),)


def test_a_module_under_two_names_holds_its_tensors_once() -> None:
    held = StateNames.of(Shared()).held
    assert {"first.weight", "second.weight", "norm.weight", "norm.running_mean"} <= held
    assert not [name for name in held if name.startswith("again.")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("first.bias"), "it lacks first.bias"),
        (lambda s: s.update(more=torch.zeros(1)), "it has unknown more"),
        (lambda s: s.update({"first.bias": torch.zeros(4)}), r"first.bias is \(4,\), the network has \(3,\)"),
        (lambda s: s.update({"first.bias": torch.zeros(3, dtype=torch.int64)}), "first.bias holds torch.int64"),
        (lambda s: s.update({"second.weight": torch.ones(3, 3)}), "second.weight differs from first.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: Callable[[dict[str, Tensor]], object], said: str) -> None:
    module = Shared()
    own, names = module.state_dict(), StateNames.of(module)
    state = {name: tensor.clone() for name, tensor in own.items()}
    require_fit(state, own, names.duplicates, "the file")
    change(state)
    with pytest.raises(WeightsError, match=f"^the file does not fit the network: {said}"):
        require_fit(state, own, names.duplicates, "the file")
