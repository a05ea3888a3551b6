"""Make the weights file that ``unledger demo`` starts from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ledger.domain.settings import Preprocessing
from ledger.plugin_manager import build_plugins
from ledger.weights import tensor_files

from .training import train_classifier


def train_to_file(
    path: Path,
    architecture: str,
    options: Mapping[str, Any],
    data: str,
    preprocessing: Preprocessing,
    *,
    seed: int,
    on_epoch: Callable[[], None] = lambda: None,
) -> float:
    """Train a classifier from scratch, write its weights to a safetensors file, and return its test accuracy.

    Args:
        path: The file; overwritten if it exists.
        architecture: As ``model add --arch`` takes it.
        options: Arguments of the architecture.
        data: As ``model add --data`` takes it.
        preprocessing: What the network takes.
        seed: Of the initial weights, and of the order and shifts of images.
        on_epoch: Called after each pass over the training images.
    """
    plugins = build_plugins()
    source = plugins.data_source(data)
    # The network's initial weights come from torch's global generator.
    torch.manual_seed(seed)
    module = plugins.load_model(architecture, options, len(source.labels)).module
    accuracy = train_classifier(module, source, preprocessing, seed=seed, on_epoch=on_epoch)
    path.write_bytes(tensor_files.serialise(module.state_dict()))
    return accuracy
