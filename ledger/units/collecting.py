"""Units that collect the space of one class: images of it flow through the network once."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

from torch import Tensor

from ledger.digest import json_digest
from ledger.domain.class_spaces import MapSummary
from ledger.images import loading
from ledger.networks.network import Network
from ledger.spaces import files
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler

from .model_card import ModelCard
from .packing import PackedImages
from .parcels import parcel, unparcel
from .place import UnitPlace
from .surroundings import Surroundings


@dataclass(frozen=True)
class CollectionPlan:
    """What decides the bytes of a class space besides network and images."""

    class_index: int
    seed: int
    per_image: int
    """Positions per image and map."""
    max_rank: int
    tolerance: float
    bare: bool = False
    """Whether they are made without means and prediction, as an earlier release stored them."""


@dataclass(frozen=True)
class CollectedClass:
    """A class space as bytes, and what a record says of it."""

    data: bytes
    maps: tuple[MapSummary, ...]
    samples_digest: str
    """SHA-256 over the preprocessed images."""


def collect_class(network: Network, plan: CollectionPlan, batches: Iterable[Tensor]) -> CollectedClass:
    """Run images of one class through a network.

    Args:
        network: With the anchor weights.
        plan: How.
        batches: Preprocessed images (n, channels, height, width).

    Raises:
        NonFiniteError: A layer's input holds NaN or infinity.
        UnsupportedLayerError: A layer was never called.
    """
    samples = hashlib.sha256()
    statistics = collect_spaces(
        network,
        loading.digest_while(batches, samples),
        PositionSampler(plan.seed, plan.class_index, plan.per_image),
        max_rank=plan.max_rank,
        tolerance=plan.tolerance,
        class_index=None if plan.bare else plan.class_index,
    )
    return CollectedClass(files.serialise(statistics), files.summaries(statistics.spaces), samples.hexdigest())


@dataclass(frozen=True)
class _Facts:
    maps: tuple[MapSummary, ...]
    samples_digest: str


@dataclass(frozen=True)
class CollectionUnit:
    """Collects one class space. A class is not divided further: its rows are compressed one after the other."""

    card: ModelCard
    surroundings: Surroundings
    plan: CollectionPlan
    images: PackedImages

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides its result."""
        plan = asdict(self.plan) | {"tolerance": repr(self.plan.tolerance)}
        return json_digest(
            ["collect", self.card.digest, asdict(self.surroundings), plan, self.images.digest],
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the shared bytes that it needs."""
        return (self.card.weights,)

    def run(self, place: UnitPlace) -> bytes:
        """Collect it."""
        found = collect_class(place.network, self.plan, self.images.batches(self.card.preprocessing))
        return parcel(_Facts(found.maps, found.samples_digest), [found.data])

    @staticmethod
    def read(data: bytes) -> CollectedClass:
        """Return what a result says.

        Raises:
            ValueError: It is no result of such a unit.
        """
        facts, [space] = unparcel(_Facts, data)
        return CollectedClass(space, facts.maps, facts.samples_digest)
