"""Previews: what somebody was shown before they asked for it, and what became of it.

A preview that a request is bound to stands whole in the audit entry of that request. It has counts, not shares, so that
the digest of its canonical JSON is the same everywhere.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from .paired_difference import PairedCounts

MOST_RETAINED = 100
"""Retained classes, those that lose most, whose counts a preview keeps. Of thousands of classes nobody reads all."""


class PreviewedClass(NamedTuple):
    """Test images of one class, and how many of them three networks recognise."""

    class_index: int
    images: int
    original: int
    """By what computations start from."""
    masked: int
    """By the same, which may not answer a forgotten class."""
    foretold: int
    """By the weights that the request would make live."""
    both: int
    """By the masked original and by those weights."""

    @property
    def lost(self) -> PairedCounts:
        """The masked original beside the foretold weights."""
        return PairedCounts(self.images, self.masked, self.foretold, self.both)

    @property
    def possible(self) -> bool:
        """Whether images can have been counted so: none is recognised that is not there."""
        overlap = max(0, self.masked + self.foretold - self.images)
        most = max(self.original, self.masked, self.foretold)
        return self.original >= 0 and most <= self.images and overlap <= self.both <= min(self.masked, self.foretold)


@dataclass(frozen=True)
class PreviewRecord:
    """What was shown."""

    model: str
    forgotten: tuple[int, ...]
    """All classes that would be forgotten, ascending."""
    data: str
    """Digest of the images."""
    anchor: str
    """SHA-256 of the weights that the computation starts from."""
    weights: str
    """SHA-256 of the computed weights."""
    solver: str
    depth: int
    classes: tuple[PreviewedClass, ...]
    """The forgotten ones in order, then the retained ones that lose most, at most :data:`MOST_RETAINED`."""
    retained: PreviewedClass
    """All images of all retained classes together; the class index is -1."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **vars(self),
            "forgotten": list(self.forgotten),
            "classes": [list(one) for one in self.classes],
            "retained": list(self.retained),
        }

    def describes(self, classes: int) -> bool:
        """Whether it can be of a model with so many classes: a file may have been written by hand.

        Every forgotten class is told of, no class twice, and all counts are possible.
        """
        told = [one.class_index for one in self.classes]
        return (
            len(set(told)) == len(told)
            and set(self.forgotten) <= set(told) <= set(range(classes))
            and all(one.possible for one in (*self.classes, self.retained))
        )


def most_affected(found: Collection[PreviewedClass], forgotten: Collection[int]) -> list[PreviewedClass]:
    """Return the forgotten classes in order, then the retained ones, those that lose most of their images first."""

    def rank(one: PreviewedClass) -> tuple[bool, float, int]:
        is_retained = one.class_index not in forgotten
        return is_retained, -(one.lost.difference or 0.0) if is_retained else 0.0, one.class_index

    return sorted(found, key=rank)


def together(found: Collection[PreviewedClass]) -> PreviewedClass:
    """Return the images of several classes as one."""
    return PreviewedClass(-1, *(sum(one[place] for one in found) for place in range(1, len(PreviewedClass._fields))))


class PreviewOutcome(StrEnum):
    """How a preview compares with what was made."""

    EXACT = "exact"
    """The same weights, and the same images: every figure is the one that was shown."""
    WITHIN = "within"
    """Other weights, whose figures all lie within the intervals that were shown."""
    CONTRADICTED = "contradicted"
    """Another set of classes, other images, or figures beyond what was shown."""
