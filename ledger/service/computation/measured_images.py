"""Which images versions are measured on: so many of each class, and of all classes together."""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.domain.gate_policy import GatePolicy
from ledger.evaluator_input import SplitName
from ledger.hookspecs import DataSource, Split
from ledger.images.sampling import bounded_evaluation_samples


@dataclass(frozen=True)
class ImageBounds:
    """Most images that are looked at: of a class, and of all classes together; None for all."""

    train: int | None = 200
    test: int | None = None
    all_train: int | None = None
    """At least one of each class."""
    all_test: int | None = None
    whole: frozenset[int] = frozenset()
    """Classes that the limits of all together do not hold for."""

    @classmethod
    def of_gates(cls, policy: GatePolicy, forgotten: frozenset[int] = frozenset()) -> "ImageBounds":
        """Return what gates measure of a version that has forgotten some classes."""
        return cls(
            policy.train_per_class, policy.test_per_class, policy.train_images, policy.test_images, whole=forgotten
        )

    def samples(self, source: DataSource, seed: int) -> dict[SplitName, tuple[list[int], list[int]]]:
        """Return the images of each split: those that do not depend on ``whole``, and the other ones."""
        most = {SplitName.TRAIN: (self.train, self.all_train), SplitName.TEST: (self.test, self.all_test)}
        return {
            name: bounded_evaluation_samples(split.labels, *most[name], self.whole, seed)
            for name, split in splits_of(source).items()
        }


def splits_of(source: DataSource) -> Mapping[SplitName, Split]:
    """Return both splits, by name."""
    return {SplitName.TRAIN: source.train, SplitName.TEST: source.test}
