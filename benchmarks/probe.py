"""A linear probe: how well the features that a network computes still tell its classes apart.

Forgetting that sits in the last layer alone leaves a class as readable as before, however low its accuracy. A probe
sees that: it learns a last layer of its own, from the same features.
"""

from collections.abc import Mapping

import numpy as np
import torch
from ledger.plugins.evaluators.probe import logistic_regression
from torch import Tensor, nn
from torch.func import functional_call


def probe(
    module: nn.Module, state: Mapping[str, Tensor], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> dict[int, float]:
    """Fit a logistic regression to the features of training images; return its accuracy per class on test images.

    Features are standardised first: to shrink what tells two classes apart is not to remove it.

    Args:
        module: In evaluation mode; its last ``nn.Linear`` is the classifier. It is not changed.
        state: Weights to use instead of those it holds.
        train: Preprocessed images (n, channels, height, width) and labels (n,), of all classes.
        test: Likewise; only classes in it are scored.

    Raises:
        ValueError: The module is in training mode, or its classifier did not run.
    """
    (train_images, train_labels), (test_images, test_labels) = train, test
    classifier = logistic_regression(penultimate(module, state, train_images), train_labels.numpy())
    predicted = classifier.predict(penultimate(module, state, test_images))
    wanted = test_labels.numpy()
    return {int(k): float(np.mean(predicted[wanted == k] == k)) for k in np.unique(wanted)}


def classifier_of(module: nn.Module) -> nn.Linear:
    """Return a network's last ``nn.Linear``.

    Raises:
        ValueError: It has none.
    """
    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not linears:
        raise ValueError("the network has no nn.Linear to take the inputs of")
    return linears[-1]


def penultimate(module: nn.Module, state: Mapping[str, Tensor], images: Tensor, batch_size: int = 256) -> np.ndarray:
    """Return what flows into a network's last ``nn.Linear``: float32 (n, features).

    Args:
        module: In evaluation mode. It is not changed.
        state: Weights to use instead of those it holds.
        images: Preprocessed, shape (n, channels, height, width).
        batch_size: Images passed at once.

    Raises:
        ValueError: The module is in training mode, has no ``nn.Linear``, or did not call its last one.
    """
    if any(part.training for part in module.modules()):
        raise ValueError("the network must be in evaluation mode: dropout and batch statistics would blur its features")
    classifier = classifier_of(module)
    seen: list[Tensor] = []
    held = module.state_dict()
    # A checkpoint may be stored in another precision, and elsewhere, than the network computes.
    weights = {name: tensor.to(held[name]) for name, tensor in state.items()}
    # A copy: later layers may work in place.
    hook = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1).float().clone()))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                functional_call(module, weights, (images[start : start + batch_size].to(classifier.weight.device),))
    finally:
        hook.remove()
    if not seen:
        raise ValueError("the network goes around its last nn.Linear")
    return torch.cat(seen).cpu().numpy()
