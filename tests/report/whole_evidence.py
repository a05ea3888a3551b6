"""Made-up evidence of every built-in evaluator, beside a retrained network or not, in the shape that they return."""

import random
from dataclasses import replace
from typing import Any

from ledger.domain.evidence import Evidence, Provenance
from ledger.domain.versions import Version
from ledger.service.versions.recording import append_evidence
from tests.ledgers.sample import Sample

DEPTHS = ("penultimate", "two_thirds", "one_third")
IMAGES = 30


def whole_evidence(
    classes: int, forgotten: frozenset[int], *, retrained: bool = True, images: int = IMAGES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return metrics by evaluator."""
    draw = random.Random(seed)
    roles = ("version", "original", *(("retrained",) if retrained else ()))

    def split(known: frozenset[int]) -> dict[str, Any]:
        correct = [draw.randint(int(0.8 * images), images) if k in known else 0 for k in range(classes)]
        return {"per_class": [n / images for n in correct], "images": [images] * classes, "correct": correct}

    everything = frozenset(range(classes))
    kept = everything - forgotten
    accuracy = {
        f"{network}{part}": split(known)
        for part in ("test", "train")
        for network, known in (
            ("", kept),
            ("base_", everything),
            ("mask_", kept),
            *((("retrained_", kept),) if retrained else ()),
        )
    }

    def matrix(known: frozenset[int]) -> list[list[int]]:
        rows = [[0] * classes for _ in range(classes)]
        for k, row in enumerate(rows):
            row[k if k in known else (k + 1) % classes] += images - 4
            row[(k + 2) % classes] += 4
        return rows

    went = {
        str(k): {
            "images": images,
            "version": {str((k + 1) % classes): 0.75, str((k + 2) % classes): 0.25},
            "masked_original": {str((k + 3) % classes): 1.0},
            **({"retrained": {str((k + 1) % classes): 0.5, str((k + 3) % classes): 0.5}} if retrained else {}),
        }
        for k in sorted(forgotten)
    }

    def by_depth(value: float) -> dict[str, Any]:
        return {
            depth: {role: {"forgotten": value - 0.1 * i, "retained": 0.9} for i, role in enumerate(roles)}
            for depth in DEPTHS
        }

    def attacked(auc: float) -> dict[str, Any]:
        points = [[0.0, 0.0], [0.005, 0.02], [0.01, 0.05], [0.1, 0.3], [0.5, 0.8], [1.0, 1.0]]
        return {"auc": auc, "auc_low": auc - 0.05, "auc_high": auc + 0.05, "tpr_at_1_percent": 0.05, "roc": points}

    back = {
        "few_steps": {"return": 0.5},
        "retained_tuning": {"return": 0.0},
        "one_shot": {"return": 0.2},
        "five_shot": {"return": 0.4},
    }
    heat = [[(i + j) / 14 for j in range(8)] for i in range(8)]
    return {
        "accuracy": accuracy,
        "confusion": {
            "matrix": matrix(kept),
            "base_matrix": matrix(everything),
            "went_to": went,
            "row_cosine_retrained": 0.9,
        },
        "membership": {"paper": 0.97, "salun": 0.9, "base_paper": 0.4, "base_salun": 0.02},
        "rmia": {
            **{role: attacked(0.6) for role in roles},
            "counts": {"members": 90, "non_members": images},
            "references": {"models": 4},
        },
        "neighbours": {
            role: [{"class": k, "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8} for k in sorted(forgotten)]
            for role in ("version", "masked_original")
        },
        "probe": {"regularised": by_depth(0.9), "sgd": by_depth(0.8), "probe_images": 200},
        "nearest_mean": {"depths": by_depth(0.7), "nearest_mean_images": 200},
        "similarity": {
            "depths": {depth: {role: {"forgotten": 0.9, "retained": 0.95} for role in roles[1:]} for depth in DEPTHS}
        },
        "relearning": dict.fromkeys(roles, back),
        "statistics": {role: {"before": {"forgotten": 0.0}, "after": {"forgotten": 0.125}} for role in roles},
        "saliency": {
            "pictures": [
                {"class": k, "position": k, **{role: {"map": heat, "probability": 0.25} for role in roles}}
                for k in sorted(forgotten)[:8]
            ],
            "method": "integrated gradients",
        },
    }


def record_whole(
    sample: Sample, version: Version, *, retrained: bool = True, without: tuple[str, ...] = (), **made: Any
) -> None:
    """Record evidence of every built-in evaluator on a version."""
    with sample.ledger.database.write() as tx:
        model = tx.models.get(sample.name)
        found = whole_evidence(len(model.labels), version.forgotten, retrained=retrained, **made)
        provenance = Provenance(weights=version.weights, against="base")
        if retrained:
            provenance = replace(provenance, retrained="c" * 64, declared_by="ada")
        for name, metrics in found.items():
            if name in without:
                continue
            evidence = Evidence(
                name, f"eval_{name}", "0.1.0", metrics, {"test images": 90}, "e" * 64, sample.now[0], provenance
            )
            append_evidence(tx, model, version, evidence, actor="ada")
