"""Evaluator ``statistics``: does a forgotten class come back when BatchNorm takes its statistics anew?

Whoever has a network and some retained images can do that without training. Where an edit forgot a class only because
statistics did not fit the edited weights, it comes back. A network without batch normalisation has nothing to take
anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ledger.hookspecs import EvaluationInput, Evaluator, ExaminedNetwork, NetworkRole, SplitName, hookimpl

from .fine_tuning import AskedImages
from .own_randomness import own_randomness
from .sampled_images import SampledImages, evenly

MOST_TRAINING = 1000
"""Most retained training images that the statistics are taken of."""
MOST_TEST = 1000
"""Most test images of forgotten classes, and as many of retained ones."""


def with_statistics(module: nn.Module) -> list[nn.Module]:
    """Return the layers of a network that normalise by statistics of earlier images."""
    kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - torch has no public name for all of them
    return [part for part in module.modules() if isinstance(part, kind) and part.running_mean is not None]


def reestimate(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Let every BatchNorm take its mean and variance anew, as the plain mean over batches of images.

    Args:
        module: Changed in place, and left in evaluation mode.
        batches: Preprocessed images (b, channels, height, width) each; one of a single image is left out, since it has
            no variance.
    """
    norms = with_statistics(module)
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()  # type: ignore[operator]
        # None: a cumulative mean instead of an exponential one.
        norm.momentum = None  # type: ignore[assignment]
        norm.train()
    if norms:
        with torch.no_grad():
            for batch in batches:
                if len(batch) > 1:
                    module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


class StatisticsEvaluator:
    """Accuracy before and after, of version, original and, if there is one, a retrained network."""

    name = "statistics"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``statistics_return``, the share of right answers of the forgotten class that comes back most.

        ``statistics_gain`` is how much more that is than before, ``statistics_gap`` than for the retrained network.
        All are None, with a reason, for a network without batch statistics.
        """
        empty = dict.fromkeys(("statistics_return", "statistics_gain", "statistics_gap"))
        read = data.images
        retained = frozenset(range(len(data.labels))) - data.forgotten
        train, test = data.train.labels, data.test.labels
        if read is None or NetworkRole.VERSION not in data.networks:
            return {**empty, "reason": "no copy of the network, or no images, are at hand"}
        layers = len(with_statistics(data.networks[NetworkRole.VERSION].copy()))
        if not layers:
            return {**empty, "layers": 0, "reason": "the network has no batch statistics"}
        images = SampledImages(
            read, SplitName.TRAIN, evenly(train, retained, len(train), MOST_TRAINING, data.seed), train
        )
        gone, kept = (
            SampledImages(read, SplitName.TEST, evenly(test, classes, MOST_TEST, MOST_TEST, data.seed), test)
            for classes in (data.forgotten, retained)
        )
        asked = AskedImages(gone, kept, data.batch_size)
        if not len(asked.forgotten) or len(images) < 2:
            return {**empty, "layers": layers, "reason": "no class is forgotten, or images are missing"}
        roles = [
            role for role in (NetworkRole.VERSION, NetworkRole.ORIGINAL, NetworkRole.RETRAINED) if role in data.networks
        ]
        found = {role.value: _before_and_after(data.networks[role], images, asked, data) for role in roles}
        back = found["version"]["after"]["forgotten"]
        retrained = found.get("retrained")
        return {
            "statistics_return": back,
            "statistics_gain": back - found["version"]["before"]["forgotten"],
            "statistics_gap": back - retrained["after"]["forgotten"] if retrained else None,
            **found,
            "layers": layers,
            "counts": {
                "retained_training": len(images),
                "forgotten_test": len(asked.forgotten),
                "retained_test": len(asked.retained),
                "images_forward": len(roles) * (len(images) + 2 * (len(asked.forgotten) + len(asked.retained))),
                "images_backward": 0,
            },
            "seed": data.seed,
            "reason": None,
        }


def _before_and_after(
    network: ExaminedNetwork, images: SampledImages, asked: AskedImages, data: EvaluationInput
) -> dict[str, Any]:
    module = network.copy().eval()
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    before = asked.standing(module, 0)
    size = max(2, data.batch_size)
    # The order decides which images make up a batch, and variances are those of batches: classes have to be mixed.
    with own_randomness(data.seed) as generator:
        order = torch.randperm(len(images), generator=generator)
        parts = (images.batch(part.tolist()).to(device) for part in order.split(size))  # type: ignore[no-untyped-call]
        reestimate(module, parts)
    after = asked.standing(module, 0)
    return {name: _plain(standing) for name, standing in (("before", before), ("after", after))}


def _plain(standing: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(standing).items() if name != "step"}


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the evaluator ``statistics``."""
    return (StatisticsEvaluator(),)
