"""Not only convolutions: a vision transformer, a ConvNeXt and an EfficientNet forget digits, by commands alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.domain.settings import Preprocessing
from ledger.plugin_manager import build_plugins
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.command_line import Cli

SIZE, MEAN, STD, SEED = 32, 0.3, 0.35, 0
LEAST_ACCURACY, MOST_FORGOTTEN, MOST_DROP = 0.95, 0.01, 0.02
"""The demonstration's bars. A digit has 45 test images: one that is still known is one too many."""


@dataclass(frozen=True)
class Trained:
    """A small timm network, what it is built with, and how long it is trained."""

    name: str
    epochs: int
    options: dict[str, Any]
    kinds: tuple[str, ...]
    """Ends of names of weights that make the architecture what it is."""


# A patch of the transformer is 2 x 2 pixels of the scan.
VIT = Trained(
    "vit_tiny_patch16_224",
    20,
    {"img_size": SIZE, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4, "weight_init": "moco"},
    ("patch_embed.proj.weight", "attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight"),
)
CONVNEXT = Trained("test_convnext", 16, {}, ("conv_dw.weight", "mlp.fc1.weight", "downsample.1.weight"))
EFFICIENTNET = Trained("test_efficientnet", 24, {}, ("conv_dw.weight", "conv_pw.weight", "se.conv_reduce.weight"))


@pytest.fixture(params=[VIT, CONVNEXT, EFFICIENTNET], ids=lambda trained: str(trained.name))
def registered(request: pytest.FixtureRequest, tmp_path: Path, empty: Cli) -> Trained:
    """Train a network on digits, which must go well, and register it with the settings that everybody gets."""
    trained: Trained = request.param
    options = {"in_chans": 1, **trained.options}
    plugins = build_plugins()
    torch.manual_seed(SEED)
    network = plugins.load_model(f"timm/{trained.name}", options, 10).module
    accuracy = train_classifier(
        network,
        plugins.data_source("digits"),
        Preprocessing(1, SIZE, SIZE, (MEAN,), (STD,)),
        seed=SEED,
        epochs=trained.epochs,
    )
    assert accuracy >= LEAST_ACCURACY
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(tensor_files.serialise(network.state_dict()))
    told = [text for key, value in options.items() for text in ("--arch-option", f"{key}={value}")]
    empty(
        *("model", "add", "digits", "--arch", f"timm/{trained.name}", *told, "--weights", str(weights)),
        *("--data", "digits", "--input-size", f"1x{SIZE}x{SIZE}", "--mean", str(MEAN), "--std", str(STD)),
    )
    return trained


def accuracies(cli: Cli) -> dict[str, Any]:
    """Measure the live version and return its accuracy."""
    evidence = cli.json("evaluate", "digits", "-e", "accuracy", "--train-per-class", "5")["evidence"]
    metrics: dict[str, Any] = evidence[0]["metrics"]
    return metrics


def test_one_digit_is_forgotten_then_two_more(registered: Trained, empty: Cli) -> None:
    covered = empty.json("model", "coverage", "digits")["items"]
    assert {item["treatment"] for item in covered} == {"edited", "untouched by design"}
    edited = [item["name"] for item in covered if item["treatment"] == "edited"]
    assert all(any(name.endswith(kind) for name in edited) for kind in registered.kinds)
    for asked, gone in ((("3",), (3,)), (("5", "8"), (3, 5, 8))):
        empty("forget", "digits", *(text for label in asked for text in ("-c", label)), "--wait")
        metrics = accuracies(empty)
        before, after = metrics["base_test"], metrics["test"]
        assert all(before["per_class"][k] > 0.8 for k in gone), "it was never known"
        assert max(after["per_class"][k] for k in gone) <= MOST_FORGOTTEN
        assert before["retained"] - after["retained"] <= MOST_DROP
    assert [version["forgotten"] for version in empty.versions()] == [[], ["3"], ["3", "5", "8"]]
    empty.verified()
