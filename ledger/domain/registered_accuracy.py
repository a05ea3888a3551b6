"""How well a network answered when it was registered, as the recipe of version 0 records it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .numbers import finite_number


class Count(NamedTuple):
    """Images that were looked at, and how many of them were recognised."""

    images: int
    correct: int

    @property
    def share(self) -> float | None:
        """The accuracy, as a share; None without images."""
        return self.correct / self.images if self.images else None


@dataclass(frozen=True)
class RegisteredAccuracy:
    """The answers of the registered weights for a sample of the images."""

    seed: int
    """Seed of the sample."""
    samples: str
    """Digest of the indices of the images."""
    test: Mapping[int, Count]
    """By class index, of the classes with images in the sample."""
    train: Mapping[int, Count]
    outputs: str
    """What the network returns: ``logits``, ``log-probabilities``, ``probabilities``, ``sigmoids`` or ``constant``."""
    accepted: bool
    """Whether a person accepted an accuracy that would have been refused."""
    remarks: tuple[str, ...] = ()
    """What a person should know of it, in sentences."""

    @property
    def of_test(self) -> Count:
        """The whole sample of test images."""
        return total(self.test)

    @property
    def of_train(self) -> Count:
        """The whole sample of training images."""
        return total(self.train)

    def of_class(self, k: int) -> Count:
        """Return the images of one class, of both splits."""
        return total({i: split[k] for i, split in enumerate((self.test, self.train)) if k in split})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "seed": self.seed,
            "samples": self.samples,
            "test": {str(k): list(count) for k, count in sorted(self.test.items())},
            "train": {str(k): list(count) for k, count in sorted(self.train.items())},
            "outputs": self.outputs,
            "accepted": self.accepted,
            "remarks": list(self.remarks),
        }

    @classmethod
    def read(cls, value: object) -> "RegisteredAccuracy | None":
        """Read what was recorded, from JSON values of any kind; None if it holds no accuracy."""
        if not isinstance(value, dict) or not isinstance(value.get("test"), dict):
            return None
        seed, remarks = finite_number(value.get("seed")), value.get("remarks")
        return cls(
            seed=int(seed or 0),
            samples=str(value.get("samples", "")),
            test=read_counts(value["test"]),
            train=read_counts(value.get("train")),
            outputs=str(value.get("outputs", "logits")),
            accepted=value.get("accepted") is True,
            remarks=tuple(map(str, remarks)) if isinstance(remarks, list) else (),
        )


def total(counts: Mapping[int, Count]) -> Count:
    """Return the sum of counts."""
    return Count(sum(c.images for c in counts.values()), sum(c.correct for c in counts.values()))


def read_counts(value: object) -> dict[int, Count]:
    """Read counts by class index from JSON values of any kind; what is malformed is left out."""
    found = {}
    for k, pair in value.items() if isinstance(value, dict) else ():
        numbers = [finite_number(n) for n in pair] if isinstance(pair, list) and len(pair) == 2 else []
        if k.isdecimal() and len(numbers) == 2 and None not in numbers:
            found[int(k)] = Count(*(int(n or 0) for n in numbers))
    return found
