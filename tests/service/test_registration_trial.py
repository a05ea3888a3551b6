"""A network that is not a function of the image alone is not registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.domain.models import Architecture
from ledger.errors import ImpureNetworkError
from ledger.plugin_manager import build_plugins
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.desk import Desk

FACTORY = """\
import torch
from torch import nn
from torch.nn import functional as F


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.1)


def build(num_classes, kind):
    middle = {"noisy": Noisy(), "batch": nn.BatchNorm2d(4, track_running_stats=False), "sound": nn.Dropout(0.5)}[kind]
    return nn.Sequential(nn.Conv2d(1, 4, 4, 4), middle, nn.Flatten(), nn.Linear(256, num_classes))
"""


@pytest.mark.parametrize(("kind", "layer"), [("noisy", r"layer 1 \(Noisy\)"), ("batch", r"layer 1 \(BatchNorm2d\)")])
def test_an_impure_network_is_refused_and_a_sound_one_is_not(desk: Desk, tmp_path: Path, kind: str, layer: str) -> None:
    (tmp_path / "factory.py").write_text(FACTORY)
    spec, weights = f"{tmp_path}/factory.py:build", tmp_path / "weights.safetensors"

    def register(kind: str) -> None:
        module = build_plugins().load_model(spec, {"kind": kind}, 10).module
        weights.write_bytes(tensor_files.serialise(module.state_dict()))
        desk.register(kind, architecture=Architecture(spec, {"kind": kind}), weights=weights)

    with desk.unchanged(), pytest.raises(ImpureNetworkError, match=layer):
        register(kind)
    register("sound")
