"""Evaluator ``saliency``: what in an image speaks for its class, before and after, as coarse maps.

Integrated gradients (Sundararajan, Taly, Yan, arXiv 1703.01365) from an image of zeros, which after preprocessing is
the mean colour, computed by captum. They need no choice of a layer, so convolutions and transformers are treated alike.
A map is an illustration: it says where a score comes from, not whether a class is known, and no figure here is meant to
be bounded.

Only maps are recorded, of 16 x 16 fields at most, and no image. A map still follows the outlines of what it was made
of: whoever must not keep a trace of an image should not ask for it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ledger.errors import PluginError
from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, SplitName, hookimpl

from .own_randomness import own_randomness
from .sampled_images import SampledImages, evenly

MOST_IMAGES = 8
SIDE = 16
"""Most rows, and columns, of a map."""
STEPS = 16
"""Points on the way from zeros to the image at which gradients are taken."""
DIGITS = 3
"""Decimals of a map's values."""


def heat_maps(module: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return how much each field of an image adds to the logit of a class, in size, float32 (n, rows, columns).

    Values are sums over channels and means over the pixels of a field, each map scaled so that its largest is 1; a map
    of nothing but zeros stays as it is.

    Args:
        module: In evaluation mode; its parameters are not changed.
        images: Preprocessed (n, channels, height, width).
        classes: The class of each, int64 (n,).

    Raises:
        PluginError: captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError as error:
        raise PluginError(
            f"saliency needs {error.name}, which is not installed: pip install 'unledger[saliency]'",
            "pip install 'unledger[saliency]'",
        ) from error
    shares: Tensor = IntegratedGradients(module).attribute(
        images, target=classes, n_steps=STEPS, internal_batch_size=max(len(images), 2)
    )
    fields = shares.detach().float().sum(dim=1).abs()
    rows, columns = (min(SIDE, size) for size in fields.shape[1:])
    pooled = nn.functional.adaptive_avg_pool2d(fields[:, None], (rows, columns))[:, 0]
    largest = pooled.amax(dim=(1, 2), keepdim=True)
    return pooled / torch.where(largest > 0, largest, torch.ones_like(largest))


class SaliencyEvaluator:
    """Maps of a few test images of forgotten classes, by the original, the version, and a retrained network."""

    name = "saliency"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``pictures``: for each image its ``class``, ``position``, and by network a map and a probability.

        The map is a list of rows with values from 0 to 1; the probability is that of the true class.
        """
        if data.images is None or NetworkRole.VERSION not in data.networks:
            return {"pictures": [], "reason": "no copy of the network, or no images, are at hand"}
        labels = data.test.labels
        positions = evenly(labels, data.forgotten, MOST_IMAGES, MOST_IMAGES, data.seed)
        if not len(positions):
            return {"pictures": [], "reason": "no class is forgotten, or there are no test images of it"}
        images = SampledImages(data.images, SplitName.TEST, positions, labels)
        batch, classes = images.batch(range(len(images))), images.labels
        pictures: list[dict[str, Any]] = [
            {"position": int(position), "class": int(k)} for position, k in zip(positions, classes, strict=True)
        ]
        for role in (NetworkRole.ORIGINAL, NetworkRole.VERSION, NetworkRole.RETRAINED):
            network = data.networks.get(role)
            if network is None:
                continue
            module = network.copy().eval()
            device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
            with own_randomness(data.seed):
                maps = heat_maps(module, batch.to(device), classes.to(device)).cpu()
            for picture, rows in zip(pictures, maps.double().tolist(), strict=True):
                picture[role.value] = {
                    "map": [[round(value, DIGITS) for value in row] for row in rows],
                    "probability": float(network.test.probabilities[picture["position"], picture["class"]]),
                }
        return {
            "pictures": pictures,
            "method": "integrated gradients",
            "steps": STEPS,
            "seed": data.seed,
            "reason": None,
        }


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the evaluator ``saliency``."""
    return (SaliencyEvaluator(),)
