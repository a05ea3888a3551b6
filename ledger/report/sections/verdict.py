"""The result for the live version in plain sentences, and the usual evidence that is missing."""

from collections.abc import Collection, Iterator

from ledger.domain.chance import DOUBT, most_hidden
from ledger.domain.retained_accuracy import PLAIN_ORIGINAL
from ledger.report.charts.words import count, percent, short_listing
from ledger.report.data.metrics import AccuracyMetrics, read_accuracy, read_confusion
from ledger.report.data.model_report import REGISTERED, ModelReport

WORTH_SAYING = 0.1
"""Share of a class that few test images may hide, from which on the page says so."""


def verdict(report: ModelReport) -> str:
    """Return one or two sentences: what the live version has forgotten, and how well it answers."""
    live, labels = report.live, report.model.labels
    unknown = report.not_known_before(live)
    names = labels.names(live.forgotten - unknown)
    if names:
        opening = f"Version {live.number} is live. It has forgotten {short_listing(names)}"
    elif unknown:
        opening = f"Version {live.number} is live. It has forgotten nothing that the model knew"
    elif live.number == 0:
        opening = "Version 0 is live, the weights as they were registered. Nothing has been forgotten"
    else:
        opening = f"Version {live.number} is live. It forgets nothing"
    if unknown:
        opening += (
            f"; {short_listing(labels.names(unknown))} {'was' if len(unknown) == 1 else 'were'} not known before, so "
            "there was nothing to forget"
        )
    found = report.evidence_on(live)
    evidence = found.evidence.get("accuracy") if found else None
    accuracy = read_accuracy(evidence.metrics, len(labels)) if evidence else None
    if found is None or accuracy is None:
        return f"{opening}. How well it answers has not been measured."
    compared = report.compared(found.source, "accuracy")
    return f"{opening}; {_answers(report, accuracy, compared)}"


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
        text = f"{subject} answer correctly {percent(new)} of the time on test images ({before})."
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


def _none_recognised(report: ModelReport, classes: Collection[int]) -> str:
    """Say that no test image of some classes is recognised, and of how many, as far as evidence tells."""
    found = report.evidence_on(report.live)
    evidence = found.evidence.get("confusion") if found else None
    confusion = read_confusion(evidence.metrics, len(report.model.labels)) if evidence else None
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
    return tuple(_untested(report)) if report.live.forgotten else ()


def _untested(report: ModelReport) -> Iterator[str]:
    found = report.evidence_on(report.live)
    recorded = " ".join(found.evidence) if found else ""
    against = {report.audit_facts.compared.get((found.source, name)) for name in found.evidence} if found else set()
    if not ("accuracy" in recorded and "confusion" in recorded):
        yield "how often each class is answered correctly, and what its images are taken for"
    if "probe" not in recorded:
        yield "whether a linear probe on the features inside the network still tells the forgotten classes apart"
    if "relearn" not in recorded:
        yield "how quickly the forgotten classes come back when the model is trained on a few of their images"
    if "file" in against:
        yield "that the weights it was compared with were really trained without the forgotten classes"
    else:
        yield "how far it is from a model trained anew without the forgotten classes"
    if "membership" in recorded:
        yield "any membership attack stronger than the population attacks above"
    else:
        yield "whether membership attacks take the forgotten images for images it was trained on"
