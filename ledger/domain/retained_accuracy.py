"""The accuracy on retained classes, beside two originals: with the forgotten classes masked, and as it was.

Fewer answers compete after forgetting. So a version may answer retained classes better than the original did, although
it lost something of them: the masked original would do better still. The loss is measured against that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .numbers import finite_number

PLAIN_ORIGINAL = "plain original"


@dataclass(frozen=True)
class RetainedAccuracy:
    """Mean accuracies on the retained classes, as shares; None where nothing was measured."""

    after: float | None
    """Of the version."""
    masked: float | None
    """Of the masked original; earlier releases did not measure it."""
    plain: float | None
    """Of the original as it was, or of what else the version is compared with."""

    @classmethod
    def of_metrics(cls, metrics: Mapping[str, Any]) -> "RetainedAccuracy":
        """Read the accuracies on test images from the metrics of the evaluator ``accuracy``."""
        return cls(*(_retained(metrics.get(name)) for name in ("test", "mask_test", "base_test")))

    @property
    def lost(self) -> float | None:
        """Loss against the masked original, as a difference of shares; negative for a gain."""
        return _difference(self.masked, self.after)

    @property
    def dropped(self) -> float | None:
        """Fall against the plain original, as a difference of shares; flatters, since fewer answers compete."""
        return _difference(self.plain, self.after)

    def told(self, percent: Callable[[float | None], str], plain: str = PLAIN_ORIGINAL) -> str:
        """Return all figures in one line, for people.

        Args:
            percent: Writes a share.
            plain: What the version is compared with, if that is not the original.
        """
        return f"{percent(self.after)} ({self.comparison(percent, plain)})"

    def comparison(self, percent: Callable[[float | None], str], plain: str = PLAIN_ORIGINAL) -> str:
        """Return what :meth:`told` says in brackets."""
        pairs = (("masked original", self.masked, self.lost), (plain, self.plain, self.dropped))
        known = [f"{name} {percent(share)}: {_points(lost)}" for name, share, lost in pairs if lost is not None]
        return "; ".join(known) or "compared with nothing"


def _retained(split: object) -> float | None:
    return finite_number(split.get("retained")) if isinstance(split, Mapping) else None


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _points(lost: float) -> str:
    rounded = round(100 * abs(lost), 1)
    if rounded == 0:
        return "the same"
    return f"{'lost' if lost > 0 else 'gained'} {rounded:.1f} {'point' if rounded == 1 else 'points'}"
