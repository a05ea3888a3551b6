"""Evaluator ``divergence``: how far what a version says of forgotten images is from what a reference says of them.

The references are the masked original and, if there is one, a retrained network; the images are the test images of the
forgotten classes. All answers count, those of forgotten classes as well.

- *Total variation*: half the sum of absolute differences, 0 (the same) to 1 (nothing shared).
- *Jensen-Shannon divergence*: in nats, 0 to ln 2 = 0.693; not its square root, which scipy calls a distance. Lin
  (1991), IEEE Transactions on Information Theory 37, pages 145-151.
- *Kullback-Leibler divergence* of the version from the reference, KL(reference || version): in nats, 0 and up. The
  other direction is infinite beside the masked original, which gives forgotten classes no probability at all.

Output distances to a retrained network are those of Golatkar et al., arXiv 1911.04933, and Chundawat et al., arXiv
2205.08096 (the JS divergence that their ZRF score is made of).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, Outputs, hookimpl

from .accuracy import masked, mean_of, of_classes, original_answers

FLOOR = 1e-12
"""Least probability of the version inside KL's logarithm, so that it is finite where softmax has rounded to 0."""


def kullback_leibler(reference: np.ndarray, version: np.ndarray) -> np.ndarray:
    """Return KL(reference || version) in nats over the last axis, float64 (...).

    Args:
        reference: Probabilities (..., classes).
        version: Likewise; those below 1e-12 count as that.
    """
    return np.asarray(np.maximum(0.0, _relative_entropy(reference, np.maximum(version, FLOOR))))


def jensen_shannon(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the JS divergence of probabilities (..., classes) in nats over the last axis, float64 (...)."""
    middle = (one + other) / 2
    mean = (_relative_entropy(one, middle) + _relative_entropy(other, middle)) / 2
    return np.asarray(np.clip(mean, 0.0, np.log(2)))


def total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return half the sum of absolute differences of probabilities (..., classes) over the last axis, (...)."""
    return np.asarray(np.abs(one - other).sum(axis=-1) / 2)


def divergences(version: Outputs, reference: Outputs, forgotten: frozenset[int]) -> dict[str, dict[str, float | None]]:
    """Return ``kl``, ``js`` and ``tv`` between the answers to images of forgotten classes.

    ``mean_prediction`` is between the mean answers to the images of a class, ``per_image`` the mean over its images of
    what is between the two answers to each. Both are then averaged over the forgotten classes, unweighted; None without
    images.
    """
    found: dict[str, list[dict[str, float]]] = {"mean_prediction": [], "per_image": []}
    for k in sorted(forgotten):
        chosen = version.labels == k
        if not chosen.any():
            continue
        ours, theirs = version.probabilities[chosen], reference.probabilities[chosen]
        found["mean_prediction"].append(_all_three(ours.mean(axis=0), theirs.mean(axis=0)))
        found["per_image"].append(_all_three(ours, theirs))
    return {kind: {name: mean_of(one[name] for one in each) for name in _NAMES} for kind, each in found.items()}


class DivergenceEvaluator:
    """Distances between the answers to forgotten test images of the version and of its references."""

    name = "divergence"
    level = 1

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return divergences to each reference.

        ``masked_original`` and ``retrained`` are as :func:`divergences` returns them, each only where there is such a
        network. ``tv_masked``, ``js_masked``, ``kl_masked`` and those of ``..._retrained`` are the figures of
        the mean predictions; None without that network. ``divergence_images`` is the number of images.
        """
        references = {}
        if original := original_answers(data):
            references["masked"] = masked(of_classes(original[1], data.forgotten), data.forgotten)
        if retrained := data.networks.get(NetworkRole.RETRAINED):
            references["retrained"] = of_classes(retrained.test, data.forgotten)
        asked = of_classes(data.test, data.forgotten)
        found = {name: divergences(asked, one, data.forgotten) for name, one in references.items()}
        scalars = {
            f"{kind}_{name}": found[name]["mean_prediction"][kind] if name in found else None
            for name in ("masked", "retrained")
            for kind in _NAMES
        }
        titles = {"masked": "masked_original", "retrained": "retrained"}
        named = {titles[name]: one for name, one in found.items()}
        return {**scalars, **named, "divergence_images": len(asked.labels)}


_NAMES = ("kl", "js", "tv")


def _all_three(version: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    values = (
        kullback_leibler(reference, version),
        jensen_shannon(version, reference),
        total_variation(version, reference),
    )
    return {name: float(value.mean()) for name, value in zip(_NAMES, values, strict=True)}


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the sum of p ln(p / q) over the last axis; what has no share in ``p`` adds nothing."""
    # Below the smallest normal number half of a probability would be rounded to nothing.
    shared = p > np.finfo(np.float64).tiny
    ratio = np.divide(p, q, out=np.ones_like(p, dtype=np.float64), where=shared)
    return np.asarray((p * np.log(ratio)).sum(axis=-1))


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the divergence evaluator."""
    return (DivergenceEvaluator(),)
