"""Print a preview: what each class would lose on the test images, the retained classes that lose most first."""

from typing import TYPE_CHECKING

from ledger.domain.image_counts import FEW_IMAGES
from ledger.domain.previews import PreviewedClass
from ledger.domain.retained_accuracy import RetainedAccuracy

from .render import emit_table, marked_images, percent, points, say

if TYPE_CHECKING:
    from ledger.service.requests.preview import Preview


def print_preview(result: "Preview") -> None:
    """Print a preview, for a person."""
    labels = result.model.labels
    rows = [(labels[one.class_index], _role(result, one.class_index), *_figures(result, one)) for one in result.classes]
    retained = result.record.retained
    rows.append(("all images", "retain", *_figures(result, retained)))
    names = ", ".join(labels.names(result.forgotten))
    emit_table(
        ["class", "", "#images", "#original", "#masked", "#after", "#lost", "95 %"],
        rows,
        title=f"test images of {result.model.name} if it forgot {names}",
    )
    say("masked: the original, which may not answer a forgotten class. lost: points of that, on the same images")
    if any(one.images < FEW_IMAGES for one in result.classes):
        say(f"*: fewer than {FEW_IMAGES} test images; the figures show little")
    say(f"retained classes: {RetainedAccuracy.of_metrics(result.accuracy).told(percent)}")
    for k in sorted(result.not_known_before):
        say(("warning:", "yellow"), f" {labels[k]} was not known before: there is nothing to forget")
    for reason in result.missed_gates:
        say(("a gate would stop this:", "yellow"), f" {reason}")
    say(f"preview {result.digest}")


def _role(result: "Preview", k: int) -> str:
    return "not known" if k in result.not_known_before else "forget" if k in result.forgotten else "retain"


def _figures(result: "Preview", one: PreviewedClass) -> tuple[str, ...]:
    """Return images, three accuracies, and the loss with its interval, which a class to forget has none of."""
    shares = [count / one.images if one.images else None for count in (one.original, one.masked, one.foretold)]
    if one.class_index in result.forgotten:
        return marked_images(one.images), percent(shares[0]), "-", percent(shares[2]), "", ""
    lost, bounds = one.lost.difference, one.lost.interval()
    told = "" if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"
    return marked_images(one.images), *map(percent, shares), "" if lost is None else points(lost), told
