"""A timm network that recognises its classes without having been trained: its classifier is solved for.

The features of an untrained network tell textures apart. The nearest class mean, in features whitened by their
covariance, is a linear classifier, so one image of each class makes a network that forgetting can be tried on in
minutes, at any size.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

BATCH, STATISTICS = 32, 128
"""Images in a batch, and those that batch normalisation takes its statistics from."""
BRANCH = 0.1
"""Weight of what a residual block adds. timm begins with nothing or next to it, as if most layers were not there."""
RIDGE = 0.1
"""Added to the covariance, as a share of the mean variance of a feature."""
LEAD = 2.0
"""By how many times the logarithm of the number of classes the right logit of an average image lies above the mean."""


def fitted_network(arch: str, images: Path, seed: int) -> nn.Module:
    """Make a timm network with random weights, and fit its classifier.

    Args:
        arch: Its name.
        images: A folder of training images for each class; their sorted names are the order of the outputs. The first
            of each is looked at.
        seed: Of the random weights.
    """
    files = [min(folder.iterdir()) for folder in sorted(images.iterdir())]
    torch.manual_seed(seed)
    network: Any = timm.create_model(arch, num_classes=len(files)).eval()
    transform = create_transform(**resolve_data_config({}, model=network))  # type: ignore[no-untyped-call]

    def batches(chosen: Sequence[Path]) -> Iterator[Tensor]:
        for start in range(0, len(chosen), BATCH):
            yield torch.stack([transform(Image.open(file).convert("RGB")) for file in chosen[start : start + BATCH]])

    with torch.inference_mode():
        _let_all_blocks_take_part(network)
        _take_statistics(network, batches(files[:: max(1, len(files) // STATISTICS)]))
        seen = [network.forward_head(network.forward_features(one), pre_logits=True) for one in batches(files)]
        _solve(network.get_classifier(), torch.cat(seen).double())
    return cast("nn.Module", network)


def _let_all_blocks_take_part(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        scales_layer = name.endswith((".gamma", ".layer_scale"))
        if parameter.ndim == 1 and (scales_layer or (name.endswith(".weight") and not parameter.any())):
            parameter.fill_(BRANCH)


def _take_statistics(network: nn.Module, batches: Iterator[Tensor]) -> None:
    """Give batch normalisation the statistics of some images, so that activations neither grow nor vanish."""
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        for batch in batches:
            network(batch)
    network.eval()


def _solve(classifier: nn.Linear, features: Tensor) -> None:
    """Set a classifier to the nearest of some features (classes, features), one row for each class."""
    mean = features.mean(0)
    centred = features - mean
    covariance = centred.T @ centred / len(features)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    weight = torch.linalg.solve(covariance + ridge, centred.T).T
    own = (weight * centred).sum(1)
    scale = LEAD * math.log(len(features)) / own.mean()
    classifier.weight.copy_(scale * weight)
    classifier.bias.copy_(scale * (-own / 2 - weight @ mean))
