"""How much a candidate resembles a network that never saw the forgotten classes, told from calibration images alone.

Neither test images nor a retrained network are needed. Two things are measured on forgotten images:

- *Separability*: how well a linear classifier on the candidate's features tells them from the retained classes
  that they resemble. A network that never saw a class separates it a little, since it shares parts with others; one
  whose outputs alone forget separates it as before.
- *Divergence*: how far the mean answer lies from the mixture of retained classes that the registered network resembles
  them to, with the forgotten classes masked.

Where it was measured, both together rank candidates as the distance to a network that never saw the class does, and
where they do not: ``docs/adr/0016-redirecting.md``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.answers.featured_answers import FeaturedAnswers

RIDGE = 0.1
"""Penalty of the linear classifier, as a share of the features' mean squared length. Features outnumber images."""

SEPARABILITY_WEIGHT = 4.0
"""How much separability counts beside divergence. What a class is taken for moves less from edit to edit."""
ENOUGH_HELD_OUT = 20
"""Held-out images of a forgotten class from which on only these are looked at."""
REMEMBERED = 2
"""Features that a search remembers the scores of: as many as it looks at of a candidate."""

LeftOutScores = Callable[[Tensor, Tensor, Sequence[int]], Tensor]
"""What :func:`left_out_scores` is, or what remembers its results."""


@dataclass(frozen=True)
class Likeness:
    """What still tells forgotten images apart; the smaller, the more a candidate looks as if it never saw them."""

    separability: float | None
    """Twice the area under the ROC curve, less 1, mean over forgotten classes: 0 if they cannot be told from their
    look-alikes, 1 if they always can. Mean over the last features and those a quarter of the layers further inside.
    None where the network's features cannot be read."""
    divergence: float
    """Total variation between the mean answer and what a class resembles, mean over forgotten classes: 0 to 1."""

    @property
    def unlikeness(self) -> float:
        """Both in one number in [0, 1]; what the search makes small."""
        if self.separability is None:
            return self.divergence
        return (SEPARABILITY_WEIGHT * max(0.0, self.separability) + self.divergence) / (SEPARABILITY_WEIGHT + 1)


@dataclass(frozen=True, eq=False)
class Resemblance:
    """What forgotten classes resemble."""

    retained: Sequence[int]
    """The retained classes."""
    mixtures: Mapping[int, Tensor]
    """Of each forgotten class: its shares of the retained ones, float32, in their order; they sum to 1."""

    @property
    def shares(self) -> dict[int, float]:
        """The mean share of each retained class, by index."""
        mean = torch.stack([mixture.double().cpu() for mixture in self.mixtures.values()]).mean(0)
        return dict(zip(self.retained, mean.tolist(), strict=True))


def measure_likeness(
    forgotten: FeaturedAnswers,
    retained: FeaturedAnswers,
    resemblance: Resemblance,
    scores_of: LeftOutScores | None = None,
) -> Likeness:
    """Measure a candidate by its answers to forgotten and to retained calibration images.

    Args:
        forgotten: Its answers to images of forgotten classes.
        retained: Its answers to images of retained classes.
        resemblance: What the forgotten classes resemble.
        scores_of: Scores features where others do not: a search has :class:`RememberedScores`.
    """
    scores_of = scores_of or left_out_scores
    forgotten = forgotten.only(_unseen(forgotten))
    classes = [k for k in resemblance.mixtures if bool((forgotten.labels == k).any())]
    labels = torch.cat([forgotten.labels, retained.labels])
    depths = (forgotten.features, retained.features), (forgotten.inner, retained.inner)
    found = []
    for own, others in depths:
        if own is not None and others is not None:
            scores = scores_of(torch.cat([own, others]), labels, classes)
            found.append(_mean([_separability(scores[:, i], labels, k, resemblance) for i, k in enumerate(classes)]))
    return Likeness(_mean(found) if found else None, _mean([_divergence(forgotten, k, resemblance) for k in classes]))


def _unseen(answers: FeaturedAnswers) -> Tensor:
    """Return which images to measure on, bool (n,).

    An edit fits the images that class spaces were collected from better than others of the class, so only those held
    out tell what unseen ones look like. A class that has too few is measured on all of its images.
    """
    chosen = answers.held_out.clone()
    for k in sorted(set(answers.labels.tolist())):
        own = answers.labels == k
        if int((own & chosen).sum()) < ENOUGH_HELD_OUT:
            chosen |= own
    return chosen


def left_out_scores(features: Tensor, labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Return how much each image looks like each class to a ridge regression fitted to all other images.

    One matrix of images by images is inverted, for all classes and all left-out images together.

    Args:
        features: float (n, f); each is standardised first.
        labels: int64 (n,).
        classes: The classes to score.

    Returns:
        float64 (n, classes): the regression's value for targets 1 (the class) and -1.
    """
    values = features.double()
    spread = values.std(0)
    values = (values - values.mean(0)) / (spread + 1e-6 * spread.mean().clamp_min(torch.finfo(torch.float64).tiny))
    kernel = values @ values.mT
    kernel = kernel / kernel.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny)
    targets = torch.stack([torch.where(labels == k, 1.0, -1.0) for k in classes], dim=1).to(kernel)
    centred = targets - targets.mean(0)
    # With the inverse P of kernel + RIDGE, the regression's hat matrix is 1 - RIDGE P. Features are centred, so the
    # intercept is the mean of the targets, and adds 1 / n to every leverage.
    kernel.diagonal().add_(RIDGE)
    # What is no number stays none, rather than an error of its own: outputs are checked elsewhere.
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(kernel).L)
    left = (RIDGE * inverse.diagonal() - 1 / len(kernel)).clamp_min(1e-9)
    residuals = RIDGE * (inverse @ centred) / left[:, None]
    scores: Tensor = targets - residuals
    return scores


class RememberedScores:
    """Scores features with :func:`left_out_scores`, those that it was asked about last only once.

    Strengths of one depth leave features before their edit as they are, so a search asks about the same ones again.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Tensor, Tensor, tuple[int, ...], Tensor]] = []

    def __call__(self, features: Tensor, labels: Tensor, classes: Sequence[int]) -> Tensor:
        """Return the scores; the same tensor for the same features."""
        wanted = tuple(classes)
        for place, (own, its_labels, its_classes, scores) in enumerate(self._known):
            if wanted == its_classes and torch.equal(labels, its_labels) and torch.equal(features, own):
                self._known.insert(0, self._known.pop(place))
                return scores
        scores = left_out_scores(features, labels, wanted)
        self._known = [(features, labels, wanted, scores), *self._known][:REMEMBERED]
        return scores


def weighted_auc(positive: Tensor, negative: Tensor, weights: Tensor) -> float:
    """Return the probability that a positive scores higher than a negative drawn by weight; ties count half."""
    order = torch.sort(negative).indices
    cumulative = torch.cat([weights.new_zeros(1), weights[order].cumsum(0)])
    below, upto = (torch.searchsorted(negative[order], positive, right=right) for right in (False, True))
    total = float(cumulative[-1])
    return float((cumulative[below] + cumulative[upto]).mean()) / (2 * total) if total else 0.5


def _separability(scores: Tensor, labels: Tensor, class_index: int, resemblance: Resemblance) -> float:
    shares = torch.zeros(int(max(*labels.tolist(), *resemblance.retained)) + 1, dtype=torch.float64)
    shares[list(resemblance.retained)] = resemblance.mixtures[class_index].double().cpu()
    images = torch.bincount(labels, minlength=len(shares)).double().clamp_min(1.0)
    weights = (shares / images)[labels]
    negative = weights > 0
    return 2 * weighted_auc(scores[labels == class_index], scores[negative], weights[negative]) - 1


def _divergence(answers: FeaturedAnswers, class_index: int, resemblance: Resemblance) -> float:
    own = answers.logits[answers.labels == class_index].double()[:, list(resemblance.retained)]
    mean = own.softmax(1).mean(0)
    return float((mean - resemblance.mixtures[class_index].double().cpu()).abs().sum()) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
