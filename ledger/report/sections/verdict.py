"""The result for the live version in plain sentences, and the usual evidence that is missing."""

from collections.abc import Collection, Sequence

from ledger.domain.chance import DOUBT, most_hidden
from ledger.domain.retained_accuracy import PLAIN_ORIGINAL
from ledger.report.charts.measured_words import span
from ledger.report.charts.words import count, percent, short_listing
from ledger.report.data.metrics import AccuracyMetrics, read_accuracy
from ledger.report.data.model_report import REGISTERED, ModelReport

from .evidence_level import level_summary
from .shown_version import ShownVersion
from .side_by_side import split_of

WORTH_SAYING = 0.1
"""Share of a class that few test images may hide, from which on the page says so."""


def verdict(report: ModelReport) -> str:
    """Return one or two sentences: what the live version has forgotten, and how well it answers."""
    live, labels = report.live, report.model.labels
    unknown = report.not_known_before(live)
    names = labels.names(live.forgotten - unknown)
    if names:
        opening = f"Version {live.number} is live. It was edited to forget {short_listing(names)}"
    elif unknown:
        opening = f"Version {live.number} is live. Nothing was forgotten"
    elif live.number == 0:
        opening = "Version 0 is live, the weights as they were registered. Nothing has been forgotten"
    else:
        opening = f"Version {live.number} is live. It forgets nothing"
    if unknown:
        opening += (
            f"; {short_listing(labels.names(unknown))} {'was' if len(unknown) == 1 else 'were'} not known before, so "
            "there was nothing to forget"
        )
    evidence = report.shown(live).get("accuracy")
    accuracy = read_accuracy(evidence.metrics, len(labels)) if evidence else None
    if evidence is None or accuracy is None:
        return f"{opening}. How well it answers has not been measured."
    return f"{opening}; {_answers(report, accuracy, report.compared(evidence))}"


def _answers(report: ModelReport, accuracy: AccuracyMetrics, compared: str) -> str:
    forgotten = report.live.forgotten
    outside = [k for k in range(len(report.model.labels)) if k not in forgotten]
    retained = accuracy.retained(outside)
    new = retained.after
    if forgotten and retained.masked is not None:
        before = retained.comparison(percent, PLAIN_ORIGINAL if compared == REGISTERED else compared)
    else:
        before = f"{percent(retained.plain)} {'before' if compared == REGISTERED else f'for {compared}'}"
    subject = "retained classes" if forgotten else "its classes"
    if new is None:
        text = f"{subject} were not measured on test images."
    else:
        text = f"{subject} answer correctly {percent(new)} of the time on {_images(report, outside)} ({before})."
    known = forgotten - report.not_known_before(report.live)
    left = {k: share for k in sorted(known) if (share := accuracy.test.after[k]) is not None}
    if not left:
        return text
    gate = report.model.settings.max_forgotten_accuracy
    still = [f"{report.model.labels[k]} ({percent(share)})" for k, share in left.items() if share > gate]
    if still:
        return f"{text} Still recognised more often than the gate of {percent(gate)} allows: {short_listing(still)}."
    if not any(left.values()):
        return f"{text} {_none_recognised(report, left)}"
    return f"{text} No forgotten class is recognised in more than {percent(max(left.values()))} of its test images."


def _images(report: ModelReport, classes: Sequence[int]) -> str:
    """Say on how many test images figures rest, and how much that leaves open, as far as evidence tells."""
    version = split_of(ShownVersion(report, report.live), "version", "test")
    mean = version.mean(classes) if version else None
    if mean is None or mean.images is None:
        return "test images"
    return count(mean.images, "test image") + (f", 95 % interval {span(mean.interval)}" if mean.interval else "")


def _none_recognised(report: ModelReport, classes: Collection[int]) -> str:
    """Say that no test image of some classes is recognised, and of how many, as far as evidence tells."""
    confusion = report.confusion(report.live)
    images = [int(confusion.after.images[k]) for k in classes] if confusion else []
    if not images or not min(images):
        return "Not one test image of a forgotten class is recognised."
    text = f"Not one of {count(sum(images), 'test image')} of forgotten classes is recognised"
    fewest = min(images)
    if most_hidden(fewest) <= WORTH_SAYING:
        return f"{text}."
    return (
        f"{text}. With {count(fewest, 'image')} of a class, up to {percent(most_hidden(fewest))} of it may still be "
        f"({1 - DOUBT:.0%} confidence)."
    )


def untested(report: ModelReport) -> tuple[str, ...]:
    """Return the usual kinds of evidence that the live version lacks; none if it has forgotten nothing."""
    return level_summary(report, report.live).untested if report.live.forgotten else ()
