"""What a version records of how much forgotten classes still stand out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .numbers import finite_number


@dataclass(frozen=True)
class RecordedLikeness:
    """What still tells calibration images of forgotten classes apart; None where it was not measured."""

    separability: float | None = None
    """How well linear classifiers on features tell them from the classes that they resemble: 0 for not at all, 1 for
    always, below 0 if they are misled."""
    divergence: float | None = None
    """Total variation between the mean answer and what they resemble, 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"separability": self.separability, "divergence": self.divergence}

    @classmethod
    def read(cls, value: object) -> "RecordedLikeness":
        """Read from JSON values of any kind."""
        found = value if isinstance(value, Mapping) else {}
        return cls(finite_number(found.get("separability")), finite_number(found.get("divergence")))

    def told(self, before: "RecordedLikeness", percent: Callable[[float | None], str]) -> dict[str, str]:
        """Return the figures that are known, each with its name, for people.

        Args:
            before: The same of the weights that the computation started from.
            percent: Writes a share.
        """
        named = {
            "told from look-alikes": (self.separability, before.separability),
            "answers away from look-alikes": (self.divergence, before.divergence),
        }
        return {
            name: percent(now) + ("" if was is None else f" (masked original {percent(was)})")
            for name, (now, was) in named.items()
            if now is not None
        }
