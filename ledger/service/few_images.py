"""Say where a class has so few images that figures on it show little.

A gate of one per cent on seven images only says that none of them was recognised, and then a third of the class may be.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ledger.domain.chance import DOUBT, most_hidden
from ledger.domain.labels import LabelMap

FEW = 30
"""Images below which a person is told. That many, none of them recognised, leave a tenth of a class possible."""
MOST_NAMED = 3
"""Classes that one sentence names."""


def registration_notes(labels: LabelMap, train: Sequence[int], test: Sequence[int]) -> Iterator[str]:
    """Yield a sentence for each thing that cannot be judged well with so few images.

    Args:
        labels: The model's labels.
        train: Class index of each training image. Candidates are chosen, and gates checked, on these.
        test: Class index of each test image.
    """
    counts = {"training": Counter(train), "test": Counter(test)}
    for kind, found in counts.items():
        fewest = min(found[k] for k in range(len(labels)))
        few = sum(found[k] < FEW for k in range(len(labels)))
        if few:
            yield (
                f"{few:,} of {len(labels):,} classes have fewer than {FEW} {kind} images, the fewest {fewest}: "
                f"{_hidden(fewest)}"
            )
    single = [k for k in range(len(labels)) if counts["training"][k] == 1]
    if single:
        yield (
            f"{len(single):,} of {len(labels):,} classes have a single training image: edits are computed from the "
            "very image on which they are judged, so calibration figures flatter them"
        )


def measurement_note(labels: LabelMap, test: Iterable[int], forgotten: Iterable[int]) -> str | None:
    """Return a sentence about forgotten classes that were measured on few test images; None if there are none.

    Args:
        labels: The model's labels.
        test: Class index of each test image.
        forgotten: The classes.
    """
    found = Counter(test)
    few = sorted((k for k in forgotten if 0 < found[k] < FEW), key=lambda k: (found[k], k))
    if not few:
        return None
    named = ", ".join(f"{labels[k]} {found[k]}" for k in few[:MOST_NAMED])
    more = f" and {len(few) - MOST_NAMED:,} more classes have few" if len(few) > MOST_NAMED else ""
    return f"test images: {named}{more}; {_hidden(found[few[0]])}"


def _hidden(images: int) -> str:
    return (
        f"even if none of {images} is recognised, up to {most_hidden(images):.0%} of a class may be "
        f"({1 - DOUBT:.0%} confidence)"
    )
