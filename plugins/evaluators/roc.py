"""How well a score tells two groups apart: ROC curve, the area under it, and how sure that area is."""

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

MOST_POINTS = 200
"""Most points of a curve that are kept."""
RESAMPLES = 1000
CONFIDENCE = 0.95
MOST_PER_GROUP = 5000
"""Most scores of a group that the interval is computed of: it holds all pairs in memory."""


def separation(positives: np.ndarray, negatives: np.ndarray, seed: int) -> dict[str, Any]:
    """Return how well scores tell positives from negatives, as plain values.

    ``auc`` is the probability that a positive's score is above a negative's, equal scores counting half: 0.5 for a
    score that says nothing. ``auc_low`` and ``auc_high`` bound it. ``tpr_at_1_percent`` and ``tpr_at_0_1_percent`` are
    the share of positives found at a threshold that at most this share of negatives passes; None with too few
    negatives to tell. ``tpr_at_zero`` is the share above every negative. ``roc`` holds pairs ``[FPR, TPR]``.
    All are None without a score on one side.

    Args:
        positives: Scores (p,), larger meaning more like a positive.
        negatives: Scores (q,).
        seed: Of the interval.
    """
    if not (len(positives) and len(negatives)):
        rates = ("tpr_at_1_percent", "tpr_at_0_1_percent", "tpr_at_zero")
        return {**dict.fromkeys(("auc", "auc_low", "auc_high", *rates)), "roc": []}
    is_positive = np.repeat([1, 0], [len(positives), len(negatives)])
    scores = np.concatenate([positives, negatives])
    low, high = bootstrap_interval(positives, negatives, seed)
    return {
        "auc": float(roc_auc_score(is_positive, scores)),
        "auc_low": low,
        "auc_high": high,
        "tpr_at_1_percent": rate_at(positives, negatives, 0.01),
        "tpr_at_0_1_percent": rate_at(positives, negatives, 0.001),
        "tpr_at_zero": float((positives > negatives.max()).mean()),
        "roc": roc_points(positives, negatives),
    }


def rate_at(positives: np.ndarray, negatives: np.ndarray, most_false: float) -> float | None:
    """Return the largest share of positives at a threshold that at most this share of negatives reaches.

    None where ``most_false`` is less than one of the negatives: then the rate cannot be told from that at 0.
    """
    # A thousandth of 1,000 is a little more than 1 in floating point, and of some other numbers a little less.
    if len(negatives) * most_false < 1 - 1e-9:
        return None
    false, true = _curve(positives, negatives, every=True)
    return float(true[false <= most_false + 1e-12].max())


def roc_points(positives: np.ndarray, negatives: np.ndarray) -> list[list[float]]:
    """Return corners of the ROC curve from (0, 0) to (1, 1), at most :data:`MOST_POINTS`, dense at small FPR too."""
    false, true = _curve(positives, negatives, every=False)
    if len(false) > MOST_POINTS:
        half = MOST_POINTS // 2 - 1
        grid = np.concatenate([np.geomspace(1 / len(negatives), 1, half), np.linspace(0, 1, half)])
        kept = np.unique(np.concatenate([[0], np.searchsorted(false, grid, side="right") - 1, [len(false) - 1]]))
        false, true = false[kept], true[kept]
    return [[float(f), float(t)] for f, t in zip(false, true, strict=True)]


def bootstrap_interval(positives: np.ndarray, negatives: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the area: both groups are drawn again with replacement.

    Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. With few scores, and at areas near 0 or 1,
    it is a little too narrow.
    """
    generator = np.random.default_rng(seed)
    positives, negatives = (
        group if len(group) <= MOST_PER_GROUP else generator.choice(group, MOST_PER_GROUP, replace=False)
        for group in (positives, negatives)
    )
    # The area is a mean over all pairs, so a resample only weighs the pairs anew.
    pairs = (positives[:, None] > negatives).astype(np.float64) + 0.5 * (positives[:, None] == negatives)
    areas = []
    for _ in range(RESAMPLES):
        rows, columns = (
            np.bincount(generator.integers(0, len(group), len(group)), minlength=len(group)) / len(group)
            for group in (positives, negatives)
        )
        areas.append(float(rows @ pairs @ columns))
    low, high = np.quantile(areas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    # Weights that add up to a little more than 1 in floating point.
    return float(low), min(1.0, float(high))


def _curve(positives: np.ndarray, negatives: np.ndarray, *, every: bool) -> tuple[np.ndarray, np.ndarray]:
    is_positive = np.repeat([1, 0], [len(positives), len(negatives)])
    false, true, _ = roc_curve(is_positive, np.concatenate([positives, negatives]), drop_intermediate=not every)
    return false, true
