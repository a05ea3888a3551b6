"""Print a preview: what each class would lose on the test images, the retained classes that lose most first."""

from collections.abc import Sequence

from ledger.documents.document import Document
from ledger.domain.image_counts import FEW_IMAGES
from ledger.domain.previews import PreviewedClass
from ledger.domain.retained_accuracy import RetainedAccuracy

from .render import emit_table, marked_images, percent, points, say


def print_preview(result: Document) -> None:
    """Print the document of a preview, for a person."""
    classes = result["classes"]
    unknown = result["not_known_before"]
    rows = []
    for one in classes:
        counts = [one[name] for name in ("images", "original", "masked", "foretold")]
        told = ("", "") if one["forget"] else _loss(one["lost"], one["interval"])
        role = "not known" if one["class"] in unknown else "forget" if one["forget"] else "retain"
        rows.append((one["class"], role, *_figures(counts, forget=one["forget"]), *told))
    retained = PreviewedClass(*result["record"]["retained"])
    lost = _loss(retained.lost.difference, retained.lost.interval())
    rows.append(("all images", "retain", *_figures(retained[1:5], forget=False), *lost))
    emit_table(
        ["class", "", "#images", "#original", "#masked", "#after", "#lost", "95 %"],
        rows,
        title=f"test images of {result['model']} if it forgot {', '.join(result['forgotten'])}",
    )
    say("masked: the original, which may not answer a forgotten class. lost: points of that, on the same images")
    if any(one["images"] < FEW_IMAGES for one in classes):
        say(f"*: fewer than {FEW_IMAGES} test images; the figures show little")
    say(f"retained classes: {RetainedAccuracy.of_metrics(result['accuracy']).told(percent)}")
    for label in unknown:
        say(("warning:", "yellow"), f" {label} was not known before: there is nothing to forget")
    for reason in result["missed_gates"]:
        say(("a gate would stop this:", "yellow"), f" {reason}")
    say(f"preview {result['digest']}")


def _figures(counts: Sequence[int], *, forget: bool) -> tuple[str, ...]:
    """Return images and three accuracies; a class to forget has no masked one."""
    images, *recognised = counts
    original, masked, after = (percent(count / images if images else None) for count in recognised)
    return marked_images(images), original, "-" if forget else masked, after


def _loss(lost: float | None, bounds: Sequence[float] | None) -> tuple[str, str]:
    """Return a loss in points, with its interval."""
    interval = "" if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"
    return "" if lost is None else points(lost), interval
