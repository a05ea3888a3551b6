"""Print what was measured on a version: figures, what they compare with, and what was not tested."""

from typing import TYPE_CHECKING

from ledger.domain.certificate_caveats import declared_only
from ledger.domain.command_lines import command
from ledger.domain.evidence import BASE, Evidence
from ledger.domain.image_counts import FEW_IMAGES, counted, tested_images
from ledger.domain.intervals import Interval, mean_interval, wilson
from ledger.domain.levels import EvidenceLevel
from ledger.domain.retained_accuracy import PLAIN_ORIGINAL, RetainedAccuracy

from .feature_tables import print_features
from .render import advise, day, emit_table, marked_images, percent, say

if TYPE_CHECKING:
    from ledger.service.evidence.evaluation import Evaluation

TOLD_BY_TABLES = frozenset({"accuracy", "confusion", "membership"})


def print_evaluation(result: "Evaluation", name: str) -> None:
    """Print an evaluation, for a person.

    Args:
        result: What was measured.
        name: The model.
    """
    if result.measured_before:
        when = max(one.created_at for one in result.evidence.values())
        say(
            ("note:", "yellow"),
            f" what version {result.version.number} would be compared with was purged; shown is what was measured "
            f"before, until {day(when)}",
        )
    for evidence in (*result.evidence.values(), *result.compared):
        _print(result, evidence, name)
    for k in sorted(result.not_known_before):
        say(("warning:", "yellow"), f" {result.model.labels[k]} was not known before: nothing was forgotten of it")
    _print_level(result)
    recorded = f"recorded: {', '.join(sorted(result.evidence))}; " if not result.measured_before else ""
    advise(f"{recorded}next:", command("report", name, "-o", "report.html"))


def _print(result: "Evaluation", evidence: Evidence, name: str) -> None:
    match evidence.evaluator:
        case "accuracy":
            _print_accuracy(result, evidence, name)
        case "membership":
            _print_membership(result, evidence)
        case other if other not in TOLD_BY_TABLES and not print_features(
            other, evidence.metrics, _forgotten_images(result)
        ):
            known = {key: value for key, value in evidence.metrics.items() if value is not None}
            emit_table([other, ""], ((key, _told(value)) for key, value in known.items()))
            if other == "divergence":
                say(
                    "how far answers to test images of forgotten classes are from those of the masked original or of a "
                    "retrained network (0: the same). kl, js: Kullback-Leibler and Jensen-Shannon divergence in "
                    "nats; tv: total variation, at most 1"
                )
        case _:
            pass


def _print_accuracy(result: "Evaluation", evidence: Evidence, name: str) -> None:
    metrics, labels, forgotten = evidence.metrics, result.model.labels, result.version.forgotten
    splits, test = ("base_train", "train", "base_test", "test"), metrics["test"]
    counts = counted(test)
    rows = [
        (
            labels[k],
            "not known" if k in result.not_known_before else "forgotten" if k in forgotten else "retained",
            *(percent(metrics[split]["per_class"][k]) for split in splits),
            marked_images(counts[k].images) if k in counts else "",
            _interval(wilson(counts[k].correct, counts[k].images) if k in counts else None),
        )
        for k in sorted(range(len(labels)), key=lambda k: (k not in forgotten, k))
    ]
    for group in ("retained", "forgotten"):
        chosen = [counts[k] for k in sorted(counts) if (k in forgotten) == (group == "forgotten")]
        bounds = mean_interval([(count.correct, count.images) for count in chosen])
        images = f"{sum(count.images for count in chosen):,}" if chosen else ""
        rows.append(("mean", group, *(percent(metrics[split][group]) for split in splits), images, _interval(bounds)))
    emit_table(
        ["class", "", "#train was", "#train is", "#test was", "#test is", "#images", "95 %"],
        rows,
        title=f"{name} version {result.version.number} against {_counterpart(evidence)}",
    )
    say("95 %: interval of the last accuracy, for so many test images")
    if any(count.images < FEW_IMAGES for count in counts.values()):
        say(f"*: fewer than {FEW_IMAGES} test images; the figures show little")
    against = evidence.provenance.against
    plain = PLAIN_ORIGINAL if against in ("", BASE) else _counterpart(evidence)
    say(f"retained classes, test: {RetainedAccuracy.of_metrics(metrics).told(percent, plain)}")


def _forgotten_images(result: "Evaluation") -> int | None:
    """Return how many test images of forgotten classes were looked at, as far as that is known."""
    counts = tested_images(result.standing.standing, result.version.forgotten)
    return None if counts is None else sum(counts)


def _print_membership(result: "Evaluation", evidence: Evidence) -> None:
    if not result.version.forgotten:
        return
    m, accuracy = evidence.metrics, result.evidence.get("accuracy")
    rows = []
    for key, attack, split in (("paper", "paper", "test"), ("salun", "SalUn", "train")):
        counts = counted(accuracy.metrics.get(split)) if accuracy else {}
        images = sum(counts[k].images for k in result.version.forgotten if k in counts)
        found = wilson(round(m[key] * images), images) if m[key] is not None and images else None
        shares = (percent(m[f"base_{key}"]), percent(m[key]))
        rows.append((attack, *shares, f"{images:,}" if images else "", _interval(found)))
    emit_table(
        ["membership inference", "#before", "#after", "#images", "95 %"],
        rows,
        title="forgotten images taken for never seen (population attacks: weak evidence)",
    )
    say(
        "paper: of test images of the forgotten classes, told from retained training images (arXiv 2312.00761). SalUn: "
        "of their training images (arXiv 2310.12508). 100 %: all look unseen, which masking one output reaches as well"
    )


def _interval(bounds: Interval | None) -> str:
    return "" if bounds is None else f"{100 * bounds.low:.1f} to {100 * bounds.high:.1f}"


def _print_level(result: "Evaluation") -> None:
    level, standing = result.standing.level, result.standing
    say(f"evidence on these weights: {level.title} ({level.looks_at})")
    for weights, by in standing.declarations:
        say(("note:", "yellow"), f" {declared_only(weights, by)}")
    higher = [one for one in EvidenceLevel if one > level]
    if higher:
        upper = higher[0]
        untested = [f"{one.title}: {', '.join(standing.missing(one))}" for one in higher]
        say(f"not tested: {'; '.join(untested)}")
        if upper is not EvidenceLevel.RETRAINED:
            reference = f"{result.model.name}:{result.version.number}"
            advise("for more:", command("evaluate", reference, "--level", upper.value))


def _counterpart(evidence: Evidence) -> str:
    against = evidence.provenance.against
    if against in ("", BASE):
        return "the original"
    return f"version {against}" if against.isdecimal() else "other weights"


def _told(value: object) -> object:
    """Return a figure for a table; what is nested is left to ``--json`` and the report."""
    if isinstance(value, dict | list):
        return f"{len(value)} {'figure' if len(value) == 1 else 'figures'}"
    return f"{value:.4g}" if isinstance(value, float) else value
