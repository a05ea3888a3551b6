"""What the documents of a model and of its versions say, as tables."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ledger.documents.document import Document
from ledger.domain.levels import EvidenceLevel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.registered_accuracy import Count
from ledger.domain.retained_accuracy import RetainedAccuracy

from .render import counts_text, day, emit_table, minute, percent


def print_model(found: Document) -> None:
    """Print a model, and the version of it that is shown."""
    version = found["version"]
    rows: list[tuple[str, Any]] = [
        ("architecture", found["architecture"]),
        ("data", found["data"]),
        *((f"  {subject}", said) for subject, said in found["images"].items()),
        ("classes", ", ".join(found["labels"])),
        ("registered", minute(found["created_at"])),
        *_registered_accuracy(found["accuracy"]),
        ("live version", found["live"]),
        ("shown version", version["version"]),
        ("made by", version["kind"] + (f" of request {version['request']}" if version["request"] else "")),
        ("forgotten", ", ".join(version["forgotten"]) or "-"),
        ("weights", version["weights"]),
    ]
    recipe = VersionRecipe(version["recipe"])
    if recipe.computed:
        rows.append(("solver", recipe.solver))
        rows.append(("edited", f"the last {recipe.depth} of {recipe.layers} layers"))
        rows.append(("alphas (r, f)", f"{recipe.alpha_r:g}, {recipe.alpha_f:g}"))
        rows += recipe.likeness.told(recipe.base_likeness, percent).items()
    measured = {one["evaluator"]: one["metrics"] for one in found["evidence"]}
    if "accuracy" in measured:
        metrics = measured["accuracy"]
        # The evidence does not tell what the version was compared with; the report does.
        retained = RetainedAccuracy.of_metrics(metrics).told(percent, "compared with")
        rows.append(("test accuracy", f"retained {retained}, forgotten {percent(metrics['test']['forgotten'])}"))
    rows += _gates(found["gates"])
    emit_table(["", "~"], rows, title=found["name"])


def print_versions(shown: Sequence[Document]) -> None:
    """Print versions of a model."""
    alone = Counter(day(v["created_at"]) for v in shown)
    rows = []
    for v in shown:
        test = v["test_accuracy"] or {}
        made = day(v["created_at"])
        rows.append(
            (
                f"{v['version']}{' (live)' if v['live'] else ''}",
                v["kind"] if v["restores"] is None else f"rollback to {v['restores']}",
                v["request"],
                ", ".join(v["forgotten"]) or "-",
                percent(test.get("retained")),
                percent(test.get("forgotten")),
                f"L{v['level']}",
                v["weights"][:8] if v["purged_at"] is None else "purged",
                made if alone[made] == 1 else minute(v["created_at"]),
            )
        )
    emit_table(
        ["#version", "kind", "#req", "~forgotten", "#acc kept", "#acc gone", "level", "weights", "created"], rows
    )


def _registered_accuracy(accuracy: Document | None) -> Iterator[tuple[str, str]]:
    if accuracy is None:
        return
    yield "accuracy then", counts_text(Count(**accuracy["test"]), Count(**accuracy["train"]))
    yield from (("", remark) for remark in accuracy["remarks"])


def _gates(gates: Document) -> Iterator[tuple[str, str]]:
    """Yield what new versions have to pass."""
    yield "gates", f"{EvidenceLevel(gates['level']).title}; digest {gates['digest']}"
    for condition in gates["conditions"]:
        yield "  on test images", condition
    yield "  on calibration images", f"accuracy on each forgotten class <= {percent(gates['max_forgotten_accuracy'])}"
    yield "  on calibration images", f"retained classes lose <= {100 * gates['max_retained_drop']:.1f} points"
    for one in gates["retrained"]:
        yield "  retrained weights", f"{one['weights']}, without {', '.join(one['without'])}, says {one['by']}"
