"""Collecting a class space as a task: here with what is open, or as a unit that an engine runs."""

from collections.abc import Callable
from dataclasses import dataclass

from ledger.domain.class_spaces import NewClassSpace
from ledger.units.collecting import CollectionUnit
from ledger.units.packing import PackedImages

from .class_space_collection import class_space_of, collection_plan
from .model_cards import card_of, surroundings_of
from .workbench import Workbench

Collected = tuple[NewClassSpace, bytes]
"""The record of a class space, not yet stored, and its bytes."""


@dataclass(frozen=True)
class CollectionTask:
    """One class space to collect."""

    workbench: Workbench
    class_index: int
    images: tuple[int, ...]
    """Indices into the training split, in collection order."""
    spec_digest: str
    bare: bool
    collect: Callable[[], Collected]
    """Collects it in this process."""

    def here(self) -> Collected:
        """Collect it in this process."""
        return self.collect()

    def unit(self) -> CollectionUnit:
        """Return it as a unit, with the pixels of its images.

        Raises:
            DataError: An image cannot be read.
        """
        bench, model = self.workbench, self.workbench.model
        return CollectionUnit(
            card_of(bench),
            surroundings_of(bench),
            collection_plan(bench, self.class_index, self.images, bare=self.bare),
            PackedImages.read(bench.source.train, self.images, model.preprocessing, model.settings.batch_size),
        )

    def read(self, data: bytes) -> Collected:
        """Return what a unit collected."""
        found = CollectionUnit.read(data)
        return class_space_of(self.workbench, self.class_index, self.images, self.spec_digest, found), found.data
