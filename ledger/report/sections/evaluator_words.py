"""What the built-in evaluators look at, in words for people who know none of their names."""

from ledger.domain.levels import EvidenceLevel

LOOKS_AT = {
    "accuracy": "how often each class is answered correctly",
    "confusion": "what its images are taken for instead",
    "divergence": "how far the answers are from those of a reference",
    "membership": "two attacks on the whole group of forgotten images",
    "rmia": "a membership attack on each single image (RMIA)",
    "neighbours": "whether images of a forgotten class stand out from those of the class they are taken for",
    "probe": "whether a linear probe on the features inside the network still tells the forgotten classes apart",
    "nearest_mean": "whether the nearest class mean of the features still does",
    "similarity": "how alike the features are to those of the original (CKA)",
    "relearning": "how quickly the forgotten classes come back when the model is trained on a few images",
    "statistics": "whether new statistics of its normalisation layers bring them back",
    "saliency": "which parts of an image an answer rests on",
}
"""By evaluator."""
ATTACKS = {
    "paper": "SVM, paper",
    "salun": "SVM, SalUn",
}
"""The two attacks of ``membership``, by the names of their metrics."""
ATTACK_NOTES = (
    "Both are support-vector machines on one number, the probability of the right class. The first (Kodge et al. 2024, "
    "of which this method is a descendant) learns retained training images against forgotten ones; the second (Fan et "
    "al. 2024, “SalUn”) retained training images against test images."
)


def looked_at(evaluator: str) -> str:
    """Return what an evaluator looks at; its name, where it is not ours."""
    return LOOKS_AT.get(evaluator, evaluator)


def not_tested(level: EvidenceLevel, missing: list[str]) -> str:
    """Return in a sentence what a level lacks.

    Args:
        level: The level.
        missing: Names of evaluators, and in words what else it needs.
    """
    return f"{level.title}: {'; '.join(looked_at(name) for name in missing)}"
