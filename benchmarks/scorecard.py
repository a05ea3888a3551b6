"""What the project's evaluators find of some weights, as one line of figures; kept in a file, and not asked twice."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examined import Exhibit, Gallery
from ledger.plugins.evaluators.prototypes import restored
from ledger.plugins.evaluators.relearning import DRAWS, SHOTS

from ledger.evaluator_input import Depth, SplitName

Figures = dict[str, float | None]

LIGHT = "light"
"""The evaluators that train nothing, but for probes on features: they run on everything."""
STATISTICS, RELEARNING, RMIA = "statistics", "relearning", "rmia"


@dataclass(frozen=True)
class Sitting:
    """Some weights, and what they are measured beside."""

    gallery: Gallery
    version: Exhibit
    original: Exhibit
    forgotten: frozenset[int]
    retrained: Exhibit | None
    seed: int


def light(sitting: Sitting) -> Figures:
    """Return what answers and features tell."""
    s = sitting
    whole = s.gallery.input(s.version, s.original, s.forgotten, retrained=s.retrained, seed=s.seed)
    # Features of the version alone: gaps are taken between lines of the table.
    alone = s.gallery.input(s.version, s.original, s.forgotten, alone=True, seed=s.seed)
    ask = s.gallery.ask
    accuracy, confusion, divergence = (ask(name, whole) for name in ("accuracy", "confusion", "divergence"))
    similarity, membership = ask("similarity", whole), ask("membership", whole)
    probe, nearest = ask("probe", alone), ask("nearest_mean", alone)
    return {
        "retained": accuracy["test"]["retained"],
        "forgotten": accuracy["forgotten_accuracy"],
        "loss": accuracy["loss_against_mask"],
        "worst_loss": accuracy["worst_class_loss"],
        "row_cosine": confusion["row_cosine_retrained"],
        "row_spearman": confusion["row_spearman_retrained"],
        "js": divergence["js_retrained"],
        "tv": divergence["tv_retrained"],
        "cka_forgotten": similarity["cka_forgotten_retrained"],
        "cka_retained": similarity["cka_retained_retrained"],
        "svm_paper": membership["paper"],
        "svm_salun": membership["salun"],
        "probe": probe["probe_forgotten"],
        "probe_sgd": probe["probe_sgd_forgotten"],
        "nearest": nearest["nearest_mean_forgotten"],
        "five_shot": _five_shot(sitting),
    }


def statistics(sitting: Sitting) -> Figures:
    """Return how much is recognised of the forgotten class once BatchNorm took its statistics anew."""
    found = sitting.gallery.ask(STATISTICS, _alone(sitting))
    return {"statistics": found["statistics_return"], "statistics_gain": found["statistics_gain"]}


def relearning(sitting: Sitting) -> Figures:
    """Return how far the class comes back by fine-tuning, on retained images alone and with five of its own."""
    found = sitting.gallery.ask(RELEARNING, _alone(sitting))
    return {"retained_tuning": found["retained_tuning_return"], "few_steps": found["few_steps_return"]}


def rmia(sitting: Sitting) -> Figures:
    """Return how well training images of the class can be told from its test images.

    The reference models are the same for all weights that were asked to forget the class, and are trained once.
    """
    attack = sitting.gallery.attack(_alone(sitting))
    found = attack.on(sitting.version.train, sitting.version.test)
    return {"rmia_auc": found["auc"], "rmia_tpr": found["tpr_at_1_percent"]}


MEASURES: Mapping[str, Callable[[Sitting], Figures]] = {
    LIGHT: light,
    STATISTICS: statistics,
    RELEARNING: relearning,
    RMIA: rmia,
}


def kept(path: Path, which: str, sitting: Sitting) -> Figures:
    """Return some figures of a file, measured now if they are not in it, or were of other weights.

    Args:
        path: A JSON file, made if it is not there.
        which: A key of :data:`MEASURES`.
        sitting: What is measured.
    """
    beside = None if sitting.retrained is None else sitting.retrained.digest
    of = {"weights": sitting.version.digest, "original": sitting.original.digest, "seed": sitting.seed}
    if which == LIGHT:
        of["retrained"] = beside
    noted: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if noted.get(which, {}).get("of") != of:
        noted[which] = {"of": of, "figures": MEASURES[which](sitting)}
        path.write_text(json.dumps(noted, indent=2) + "\n")
    figures: Figures = noted[which]["figures"]
    return figures


def _alone(sitting: Sitting) -> Any:
    s = sitting
    return s.gallery.input(s.version, s.original, s.forgotten, alone=True, seed=s.seed)


def _five_shot(sitting: Sitting) -> float | None:
    """Return what the evaluator ``relearning`` calls ``five_shot_return``, without what it trains."""
    labels, version = sitting.gallery.labels, sitting.version
    sides = []
    for split in (SplitName.TRAIN, SplitName.TEST):
        features = version.features(split, Depth.PENULTIMATE)
        if features is None:
            return None
        sides.append((features, labels[split]))
    found = restored(sides[0], sides[1], sitting.forgotten, SHOTS, DRAWS, sitting.seed)
    return found.forgotten if found else None
