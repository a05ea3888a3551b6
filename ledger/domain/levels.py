"""Levels of evidence: how much was tested on a version, from nothing to a comparison with a retrained network.

A level is reached when every test that it and the levels below it name was run on these very weights. A level says what
was looked at, not what was found.
"""

from collections.abc import Collection
from enum import IntEnum


class EvidenceLevel(IntEnum):
    """How much of a version was tested."""

    APPLIED = 0
    """The edit was made, and nothing was measured on test images."""
    OUTPUTS = 1
    """What the network answers."""
    MEMBERSHIP = 2
    """Whether training images of the forgotten classes can be told from images that were never trained on."""
    REPRESENTATION = 3
    """What features still hold of the forgotten classes, and how quickly they come back."""
    RETRAINED = 4
    """All of it beside a network that was trained without the forgotten classes."""

    @property
    def title(self) -> str:
        """The level with its name, e.g. ``L1 outputs``."""
        return f"L{self.value} {_TITLES[self]}"

    @property
    def required(self) -> frozenset[str]:
        """Names of the evaluators that this level and those below it need."""
        return frozenset().union(*(names for level, names in REQUIRED.items() if level <= self))

    @property
    def looks_at(self) -> str:
        """What the level adds to the one below it, in a few words."""
        return _LOOKS_AT[self]


_TITLES = {
    EvidenceLevel.APPLIED: "applied",
    EvidenceLevel.OUTPUTS: "outputs",
    EvidenceLevel.MEMBERSHIP: "membership",
    EvidenceLevel.REPRESENTATION: "representation and relearning",
    EvidenceLevel.RETRAINED: "against retrained",
}
_LOOKS_AT = {
    EvidenceLevel.APPLIED: "nothing was measured on test images",
    EvidenceLevel.OUTPUTS: "what the network answers to test images",
    EvidenceLevel.MEMBERSHIP: "attacks that try to tell training images of the forgotten classes from unseen ones",
    EvidenceLevel.REPRESENTATION: "what features still hold of the classes, and how quickly the classes come back",
    EvidenceLevel.RETRAINED: "the same tests beside a network trained without the classes",
}

REQUIRED: dict[EvidenceLevel, frozenset[str]] = {
    EvidenceLevel.OUTPUTS: frozenset({"accuracy", "confusion"}),
    EvidenceLevel.MEMBERSHIP: frozenset({"membership", "rmia"}),
    EvidenceLevel.REPRESENTATION: frozenset({"probe", "nearest_mean", "similarity", "relearning", "statistics"}),
}
"""Evaluators that each level adds. The highest level adds none: it needs a retrained network beside all of them."""


def level_of(measured: Collection[str], beside_retrained: Collection[str] = ()) -> EvidenceLevel:
    """Return the level that measurements reach.

    Args:
        measured: Names of the evaluators that measured the weights.
        beside_retrained: Names of those that measured them beside a retrained network.
    """
    reached = EvidenceLevel.APPLIED
    for level in (EvidenceLevel.OUTPUTS, EvidenceLevel.MEMBERSHIP, EvidenceLevel.REPRESENTATION):
        if not level.required <= set(measured):
            return reached
        reached = level
    if EvidenceLevel.REPRESENTATION.required <= set(beside_retrained):
        return EvidenceLevel.RETRAINED
    return reached


def missing_for(level: EvidenceLevel, measured: Collection[str], beside_retrained: Collection[str] = ()) -> list[str]:
    """Return what a level still needs: names of evaluators, sorted, the comparison with a retrained network last."""
    missing = sorted(level.required - set(measured))
    if level is EvidenceLevel.RETRAINED and not level.required <= set(beside_retrained):
        missing.append("a network retrained without the classes")
    return missing
