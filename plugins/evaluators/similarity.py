"""Evaluator ``similarity``: how alike the features of two networks are on the same images, by linear CKA.

Linear centred kernel alignment, Kornblith et al., "Similarity of Neural Network Representations Revisited", arXiv
1905.00414, equation 5 with linear kernels: 1 for features that agree up to rotation and one common scale, towards 0 for
features that have nothing in common. It does not change when features are rotated, shifted or scaled as a whole, and
needs no equal number of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ledger.hookspecs import Depth, EvaluationInput, Evaluator, ExaminedNetwork, NetworkRole, SplitName, hookimpl

GROUPS = ("forgotten", "retained")
REFERENCES = (NetworkRole.ORIGINAL, NetworkRole.RETRAINED)


def linear_cka(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return the linear CKA of two sets of features of the same images: |Y'X|^2 / (|X'X| |Y'Y|), Frobenius norms.

    X and Y are centred over the images. Computed in float64. None for fewer
    than two images, or where features are the same for all of them.

    Args:
        one: (n, f).
        other: (n, g), rows in the same order.
    """
    if len(one) < 2:
        return None
    x, y = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (one, other))
    shared, own, others = (_squared_norm(*pair) for pair in ((x, y), (x, x), (y, y)))
    size = float(np.sqrt(own) * np.sqrt(others))
    # What rounding leaves of features that are the same for all images is some 1e-16 of what was subtracted.
    negligible = [_is_constant(centred, features) for centred, features in ((x, one), (y, other))]
    return None if any(negligible) or not size else min(1.0, shared / size)


class SimilarityEvaluator:
    """CKA of the version with the original and with a retrained network, on forgotten and on retained test images."""

    name = "similarity"
    level = 3
    by_default = False

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return CKA at three depths.

        - ``depths``: by depth and reference (original, retrained), the CKA on ``forgotten`` and on ``retained`` test
          images; None where it cannot be told.
        - ``cka_forgotten_original``, ``cka_retained_original``, ``cka_forgotten_retrained`` and
          ``cka_retained_retrained``: those at the penultimate depth.
        - ``cka_forgotten_images``, ``cka_retained_images``: the numbers of images.
        """
        inside = np.isin(data.test.labels, sorted(data.forgotten))
        chosen = {"forgotten": np.flatnonzero(inside), "retained": np.flatnonzero(~inside)}
        version = data.networks.get(NetworkRole.VERSION)
        depths: dict[str, dict[str, dict[str, float | None]]] = {}
        references = {role.value: data.networks[role] for role in REFERENCES if role in data.networks}
        if version is not None:
            depths = {
                depth.value: {role: _by_group(version, one, depth, chosen) for role, one in references.items()}
                for depth in Depth
            }
        last = depths.get(Depth.PENULTIMATE.value, {})
        scalars = {
            f"cka_{group}_{role.value}": last.get(role.value, {}).get(group) for role in REFERENCES for group in GROUPS
        }
        counts = {f"cka_{group}_images": len(chosen[group]) for group in GROUPS}
        return {**scalars, **counts, "depths": depths}


def _by_group(
    version: ExaminedNetwork, reference: ExaminedNetwork, depth: Depth, chosen: dict[str, np.ndarray]
) -> dict[str, float | None]:
    ours, theirs = (network.features(SplitName.TEST, depth) for network in (version, reference))
    if ours is None or theirs is None:
        return dict.fromkeys(GROUPS)
    return {group: linear_cka(ours[rows], theirs[rows]) for group, rows in chosen.items()}


def _squared_norm(x: np.ndarray, y: np.ndarray) -> float:
    """Return the squared Frobenius norm of Y'X, by n x n products where that is less work."""
    n, f, g = len(x), x.shape[1], y.shape[1]
    if n * (f + g) < f * g:
        return float(np.sum((x @ x.T) * (y @ y.T)))
    return float(np.sum((y.T @ x) ** 2))


def _is_constant(centred: np.ndarray, features: np.ndarray) -> bool:
    largest = float(np.abs(features).max(initial=0.0))
    return float(np.abs(centred).max(initial=0.0)) <= 1e-12 * largest


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the similarity of features."""
    return (SimilarityEvaluator(),)
