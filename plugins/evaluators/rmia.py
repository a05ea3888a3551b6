r"""Evaluator ``rmia``: can training images of forgotten classes be told from images that were never trained on?

RMIA (Zarifzadeh, Liu, Shokri, *Low-Cost High-Power Membership Inference Attacks*, arXiv 2312.03262) compares how much
likelier a network finds an image ``x`` than other networks do with how much likelier it finds images ``z`` of a
population that it never saw (sections 2 and 3 of the paper, offline attack):

    LR(x, z) = (p(x | network) / p(x)) / (p(z | network) / p(z)),     score(x) = share of z with LR(x, z) >= gamma,
    p(x) = ((1 + a) p_out(x) + 1 - a) / 2.

``p(. | network)`` is the probability of the true class, ``p_out`` its mean over reference models that were not trained
on the image. The second line stands for the mean over models that were and that were not trained on it.

What that means where a class was forgotten:

- *Members* are training images of the forgotten classes, which the original was trained on. *Non-members* are test
  images of the same classes: the question is what is left of the images, not whether a class is answered.
- The *population* is test images of all classes. Those of retained classes alone, as one would take first, blind the
  attack: a version finds them all likelier than any image of a forgotten class, so every score is 0, and an area of 0.5
  looks like a success. A test image is not compared with itself: non-members are split in two folds, each of which is
  compared with the other. Members are given a fold too, so that both are compared with as many.
- Reference models know the forgotten classes. They tell how hard an image is, and are not unlearned themselves, as
  U-LiRA (arXiv 2403.01218) would have it, which takes many more of them.

If all scores are equal the area is 0.5 because the answers show nothing, as behind a masked output, and not because
the network holds nothing; ``distinct_scores`` tells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ledger.hookspecs import EvaluationInput, Evaluator, NetworkRole, Outputs, SplitName, hookimpl

from .reference_models import BATCH, EPOCHS, MOST_STEPS, PEAK_RATE, ReferenceModel, halves, trained
from .roc import separation
from .sampled_images import SampledImages, answers_of, evenly

OFFLINE_A = 0.3
"""``a`` of the paper, its value for CIFAR-10: 1 would say that training on an image changes nothing."""
GAMMA = 1.0
"""As in the authors' implementation (Privacy Meter). Scores then spread most evenly over the population."""
PAIRS = 2
"""Pairs of reference models, of which one of each pair looks at an image."""
MOST_RETAINED = 2000
"""Most training images of retained classes that reference models are trained on, both halves together."""
MOST_POPULATION = 1000
"""Most test images of retained classes in the population."""


def rmia_scores(
    target: np.ndarray,
    references: np.ndarray,
    population_target: np.ndarray,
    population_references: np.ndarray,
    *,
    a: float = OFFLINE_A,
    gamma: float = GAMMA,
) -> np.ndarray:
    """Return the score of each image, float64 (n,): larger means more like a member.

    Args:
        target: Probability of the true class by the attacked network (n,).
        references: The same by reference models that were not trained on the image (n, k).
        population_target: The same as ``target`` for the population (m,).
        population_references: The same as ``references`` for the population (m, k).
        a: In [0, 1): how much the probabilities of models that were trained on an image are like those of others.
        gamma: How much likelier an image has to be than one of the population.
    """
    ratio = target / marginal(references, a)
    bars = np.sort(gamma * (population_target / marginal(population_references, a)))
    scores: np.ndarray = np.searchsorted(bars, ratio, side="right") / len(bars)
    return scores


def marginal(references: np.ndarray, a: float) -> np.ndarray:
    """Return ``p(x)`` (n,) of probabilities by models that were not trained on the images (n, k)."""
    p: np.ndarray = ((1 + a) * references.mean(axis=1) + 1 - a) / 2
    return p


class RmiaEvaluator:
    """The attack on the version, on the original, and on a retrained network if there is one.

    Args:
        pairs: Pairs of reference models.
        epochs: Most epochs of each.
        most_steps: Most steps of each.
    """

    name = "rmia"
    level = 2
    by_default = False

    def __init__(self, pairs: int = PAIRS, epochs: int = EPOCHS, most_steps: int = MOST_STEPS) -> None:
        self._pairs, self._epochs, self._most_steps = pairs, epochs, most_steps

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return areas and rates of the attack; ``rmia_gap`` is how much larger the area is than for the retrained.

        All are None where no class is forgotten, or there are no training or test images of the forgotten classes.
        """
        if reason := _missing(data):
            return _nothing(reason)
        attack = self.prepare(data)
        found = {
            "version": attack.on(data.train, data.test),
            "original": attack.on(data.original_train, data.original_test),
        }
        if retrained := data.networks.get(NetworkRole.RETRAINED):
            found["retrained"] = attack.on(retrained.train, retrained.test)
        version = found["version"]
        return {
            "rmia_auc": version["auc"],
            "rmia_auc_low": version["auc_low"],
            "rmia_auc_high": version["auc_high"],
            "rmia_tpr_at_1_percent": version["tpr_at_1_percent"],
            "rmia_tpr_at_0_1_percent": version["tpr_at_0_1_percent"],
            "rmia_gap": version["auc"] - found["retrained"]["auc"] if "retrained" in found else None,
            **found,
            "counts": attack.counts,
            "references": attack.references,
            "a": OFFLINE_A,
            "gamma": GAMMA,
            "seed": data.seed,
            "reason": None,
        }

    def prepare(self, data: EvaluationInput) -> "RmiaAttack":
        """Train the reference models, which takes nearly all of the time, and return an attack on any answers.

        Args:
            data: With at least two training and two test images of forgotten classes, images and fresh networks. What
                the networks in it answer does not matter.
        """
        read, fresh = data.images, data.fresh
        assert read is not None
        assert fresh is not None
        members, others = _attacked(data)
        retained = frozenset(range(len(data.labels))) - data.forgotten
        seed = data.seed
        generator = np.random.default_rng(seed)
        rest = evenly(data.train.labels, retained, len(data.train.labels), MOST_RETAINED, seed)
        training = SampledImages(read, SplitName.TRAIN, np.sort(np.concatenate([members, rest])), data.train.labels)
        sides = halves(training.labels.numpy(), self._pairs, generator)
        models = [
            trained(
                fresh,
                training,
                np.flatnonzero(sides[pair] == side),
                seed + 1 + 2 * pair + side,
                epochs=self._epochs,
                most_steps=self._most_steps,
            )
            for pair in range(self._pairs)
            for side in (0, 1)
        ]
        population = evenly(data.test.labels, retained, len(data.test.labels), MOST_POPULATION, seed)
        unseen = SampledImages(read, SplitName.TEST, np.sort(np.concatenate([others, population])), data.test.labels)
        probabilities = {
            SplitName.TRAIN: _true_class(models, training, data.batch_size),
            SplitName.TEST: _true_class(models, unseen, data.batch_size),
        }
        attacked = np.isin(training.positions, members)
        return RmiaAttack(
            members=members,
            member_references=_out(probabilities[SplitName.TRAIN], sides)[attacked],
            unseen=unseen.positions,
            unseen_references=_out(
                probabilities[SplitName.TEST], halves(unseen.labels.numpy(), self._pairs, generator)
            ),
            attacked=np.isin(unseen.positions, others),
            member_folds=halves(data.train.labels[members], 1, generator)[0],
            other_folds=halves(data.test.labels[others], 1, generator)[0],
            seed=seed,
            counts={"members": len(members), "non_members": len(others), "population_retained": len(population)},
            references=_described(models, probabilities[SplitName.TEST], unseen, len(training)),
        )


class RmiaAttack:
    """Everything about an attack but the attacked network, which may be any that answered the same images.

    Args:
        members: Positions of attacked training images (n,).
        member_references: Probabilities by one model of each pair that was not trained on them (n, pairs).
        unseen: Positions of test images (m,), non-members and population.
        unseen_references: The same of these (m, pairs).
        attacked: Which of them are non-members, bool (m,) with q of them true.
        member_folds: 0 or 1 of each member (n,).
        other_folds: 0 or 1 of each non-member (q,).
        seed: Of intervals.
        counts: Numbers of images.
        references: What is to be said about the reference models.
    """

    def __init__(
        self,
        *,
        members: np.ndarray,
        member_references: np.ndarray,
        unseen: np.ndarray,
        unseen_references: np.ndarray,
        attacked: np.ndarray,
        member_folds: np.ndarray,
        other_folds: np.ndarray,
        seed: int,
        counts: Mapping[str, int],
        references: Mapping[str, Any],
    ) -> None:
        self.counts, self.references = counts, references
        self._members, self._member_references = members, member_references
        self._unseen, self._unseen_references = unseen, unseen_references
        self._member_folds = member_folds
        self._attacked = attacked
        self._unseen_folds = np.full(len(unseen), -1)
        self._unseen_folds[attacked] = other_folds
        self._seed = seed

    def on(self, train: Outputs, test: Outputs) -> dict[str, Any]:
        """Return how well the attack tells members from non-members by a network's answers."""
        ours, theirs = _probability(train, self._members), _probability(test, self._unseen)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for fold in (0, 1):
            inside, outside = self._member_folds == fold, self._unseen_folds == fold
            population = theirs[~outside], self._unseen_references[~outside]
            found.append(
                (
                    rmia_scores(ours[inside], self._member_references[inside], *population),
                    rmia_scores(theirs[outside], self._unseen_references[outside], *population),
                )
            )
        members, others = (np.concatenate(scores) for scores in zip(*found, strict=True))
        distinct = len(np.unique(np.concatenate([members, others])))
        return {**separation(members, others, self._seed), "distinct_scores": distinct}


def _probability(outputs: Outputs, positions: np.ndarray) -> np.ndarray:
    values: np.ndarray = outputs.probabilities[positions, outputs.labels[positions]]
    return values


def _true_class(models: Sequence[ReferenceModel], images: SampledImages, batch_size: int) -> np.ndarray:
    """Return what each model gives the true class, float64 (models, n)."""
    rows = [answers_of(model.module, images, batch_size).double().softmax(dim=1) for model in models]
    return torch.stack(rows)[:, torch.arange(len(images)), images.labels].numpy()


def _out(probabilities: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return of each pair what the model of the other half says (n, pairs), of (2 pairs, n) and halves (pairs, n)."""
    columns = [
        np.where(side == 0, probabilities[2 * pair + 1], probabilities[2 * pair]) for pair, side in enumerate(sides)
    ]
    return np.stack(columns, axis=1)


def _described(
    models: Sequence[ReferenceModel], probabilities: np.ndarray, unseen: SampledImages, training: int
) -> dict[str, Any]:
    backward = sum(model.passes for model in models)
    return {
        "models": len(models),
        "seeds": [model.seed for model in models],
        "epochs": models[0].epochs,
        "images_each": [model.images for model in models],
        "batch": BATCH,
        "peak_rate": PEAK_RATE,
        "mean_true_class_probability": float(probabilities.mean()),
        "images_forward": backward + len(models) * (training + len(unseen)),
        "images_backward": backward,
    }


def _attacked(data: EvaluationInput) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of members (n,) and of non-members (m,)."""
    inside = sorted(data.forgotten)
    members, others = (np.flatnonzero(np.isin(one.labels, inside)) for one in (data.train, data.test))
    return members, others


def _missing(data: EvaluationInput) -> str | None:
    """Return why nothing can be attacked, if so."""
    if data.images is None or data.fresh is None:
        return "the network cannot be built anew, or its images are not at hand"
    if any(len(found) < 2 for found in _attacked(data)):
        return "there is nothing to attack: no class is forgotten, or there are too few images of it"
    return None


def _nothing(reason: str) -> dict[str, Any]:
    names = (
        "rmia_auc",
        "rmia_auc_low",
        "rmia_auc_high",
        "rmia_tpr_at_1_percent",
        "rmia_tpr_at_0_1_percent",
        "rmia_gap",
    )
    return {**dict.fromkeys(names), "reason": reason}


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the evaluator ``rmia``."""
    return (RmiaEvaluator(),)
