"""Evaluator ``membership``: two membership-inference attacks on the probability of the true class.

Both train a support vector machine (RBF kernel, C = 3) to tell members of the training set from
non-members by one number, and report the share of attacked images that it takes for non-members: 1 means
that all of them look unseen.

- ``paper`` is the attack of the paper whose method this project began with (Kodge, Saha, Roy, arXiv 2312.00761,
  appendix): member = retained train, non-member = forgotten train, attacked = forgotten test. Attacked images were
  never members, so what it measures is whether the forgotten class is answered unlike the others; for a retrained
  network it is pinned at 1.
- ``salun`` is that of Fan et al., SalUn, arXiv 2310.12508, appendix C.3: member = retained train, non-member =
  retained test, attacked = forgotten train.

Both are population attacks: they set one threshold for all images. An image with a low-confidence answer looks unseen,
whoever remembers it, and a masked output passes both. The attack on single images is :mod:`.rmia`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.svm import SVC

from ledger.hookspecs import EvaluationInput, Evaluator, Outputs, hookimpl

MOST_PER_SIDE = 1000
"""Most members, and most non-members, that the attacker trains on: the cost of an SVM grows with their square."""


def true_class_probability(outputs: Outputs, classes: frozenset[int], *, among: bool) -> np.ndarray:
    """Return the probability of the true class, float64 (n, 1), for images in (or not in) ``classes``."""
    inside = np.isin(outputs.labels, sorted(classes))
    picked = np.flatnonzero(inside if among else ~inside)
    values: np.ndarray = outputs.probabilities[picked, outputs.labels[picked]]
    return values[:, None]


def attack(members: np.ndarray, non_members: np.ndarray, attacked: np.ndarray, seed: int) -> float | None:
    """Return the share of ``attacked`` that a fitted SVM takes for non-members; None without images."""
    generator = np.random.default_rng(seed)
    size = min(len(members), len(non_members), MOST_PER_SIDE)
    if size == 0 or len(attacked) == 0:
        return None
    # Equal sides: with ten times as many members the attacker would answer "member" to everything.
    sides = [side[generator.permutation(len(side))[:size]] for side in (members, non_members)]
    answers = np.repeat([1, 0], size)
    svm = SVC(C=3.0, kernel="rbf", gamma="auto").fit(np.concatenate(sides), answers)
    return float((svm.predict(attacked) == 0).mean())


class MembershipEvaluator:
    """Both attacks on the version and, for scale, on the compared weights."""

    name = "membership"

    def evaluate(self, data: EvaluationInput) -> dict[str, Any]:
        """Return ``paper`` and ``salun`` scores in [0, 1], and the same for the compared weights."""
        if not data.forgotten:
            return {"paper": None, "salun": None, "base_paper": None, "base_salun": None}
        paper, salun = self._attacks(data.train, data.test, data)
        base_paper, base_salun = self._attacks(data.base_train, data.base_test, data)
        return {"paper": paper, "salun": salun, "base_paper": base_paper, "base_salun": base_salun}

    @staticmethod
    def _attacks(train: Outputs, test: Outputs, data: EvaluationInput) -> tuple[float | None, float | None]:
        members = true_class_probability(train, data.forgotten, among=False)
        forgotten_train = true_class_probability(train, data.forgotten, among=True)
        forgotten_test = true_class_probability(test, data.forgotten, among=True)
        retained_test = true_class_probability(test, data.forgotten, among=False)
        return (
            attack(members, forgotten_train, forgotten_test, data.seed),
            attack(members, retained_test, forgotten_train, data.seed),
        )


@hookimpl
def unledger_evaluators() -> Sequence[Evaluator]:
    """Offer the membership evaluator."""
    return (MembershipEvaluator(),)
