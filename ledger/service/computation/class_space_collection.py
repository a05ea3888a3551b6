"""Collect the space of one class from a model's images. Nothing is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ledger.digest import json_digest, sha256_hex
from ledger.domain.class_spaces import NewClassSpace
from ledger.units.collecting import CollectedClass, CollectionPlan, collect_class

from .workbench import Workbench

STATISTICS = "means and predictions"
"""What class spaces hold besides second moments. Those of earlier releases, whose specification does not say it, hold
nothing else."""


@dataclass(frozen=True)
class Specs:
    """Digests of everything that decides a class space's bytes, besides the machine."""

    full: str
    """Of one that holds means and a prediction."""
    bare: str
    """Of one that an earlier release stored without them."""


def class_space_specs(workbench: Workbench, class_index: int, images: Sequence[int]) -> Specs:
    """Return what the space of a class is found by.

    Where the content of each class is known, images of other classes play no part.

    Args:
        workbench: The model.
        class_index: The class.
        images: Indices into the training split, in collection order.
    """
    known = workbench.model.data.classes
    if not known:
        return combined_specs(workbench, workbench.model.data_digest, images)
    own = np.flatnonzero(workbench.train_labels == class_index)
    return content_specs(workbench, known[class_index].train, [int(place) for place in np.searchsorted(own, images)])


def content_specs(workbench: Workbench, content: str, places: Sequence[int]) -> Specs:
    """Return the digests for a class whose training images have a digest.

    Args:
        workbench: The model.
        content: The digest.
        places: Which of the class's training images, in collection order.
    """
    return _specs(workbench, {"class_data": content, "samples": list(places)}, len(places))


def combined_specs(workbench: Workbench, data: str, images: Sequence[int]) -> Specs:
    """Return the digests where the images of all classes have one digest together.

    Args:
        workbench: The model.
        data: The digest.
        images: Indices into the training split, in collection order.
    """
    return _specs(workbench, {"data": data, "samples": list(images)}, len(images))


def _specs(workbench: Workbench, images: Mapping[str, object], count: int) -> Specs:
    settings, anchor, code = workbench.model.settings, workbench.anchor, workbench.model.code_digest
    # Earlier releases read every position of a few images; where that is what happens, they are found by the same.
    limited = settings.positions(count) < settings.positions_wanted(count)
    facts = (
        {
            "weights": anchor.weights,
            "seed": settings.seed,
            "rows_per_class": settings.rows_per_class,
            "max_rank": settings.max_rank,
            "space_tolerance": settings.space_tolerance,
            "batch_size": settings.batch_size,
        }
        | dict(images)
        | ({"rows_per_image": settings.rows_per_image} if limited else {})
        | ({"anchor": anchor.number} if anchor.number else {})
        | ({"code": code} if code else {})
    )
    return Specs(json_digest(facts | {"statistics": STATISTICS}), json_digest(facts))


def collect_class_space(
    workbench: Workbench, class_index: int, images: Sequence[int], spec_digest: str, *, bare: bool = False
) -> tuple[NewClassSpace, bytes]:
    """Run images of one class through the network; return the record of their space, not yet stored, and its bytes.

    Args:
        workbench: The model.
        class_index: The class.
        images: Indices into the training split, in collection order.
        spec_digest: What the record shall be found by.
        bare: Make the bytes without means and prediction, as an earlier release stored them.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A layer's input holds NaN or infinity.
        UnsupportedLayerError: A layer was never called.
    """
    plan = collection_plan(workbench, class_index, images, bare=bare)
    found = collect_class(workbench.network, plan, workbench.batches(workbench.source.train, images))
    return class_space_of(workbench, class_index, images, spec_digest, found), found.data


def collection_plan(workbench: Workbench, class_index: int, images: Sequence[int], *, bare: bool) -> CollectionPlan:
    """Return what decides the bytes of a class space besides network and images."""
    settings = workbench.model.settings
    return CollectionPlan(
        class_index=class_index,
        seed=settings.seed,
        per_image=settings.positions(len(images)),
        max_rank=settings.max_rank,
        tolerance=settings.space_tolerance,
        bare=bare,
    )


def class_space_of(
    workbench: Workbench, class_index: int, images: Sequence[int], spec_digest: str, found: CollectedClass
) -> NewClassSpace:
    """Return the record of a class space that was collected, not yet stored."""
    return NewClassSpace(
        model_id=workbench.model.id,
        class_index=class_index,
        spec_digest=spec_digest,
        samples=tuple(images),
        samples_digest=found.samples_digest,
        object_digest=sha256_hex(found.data),
        size=len(found.data),
        maps=found.maps,
        created_at=workbench.ledger.clock(),
        anchor=workbench.anchor.number,
    )
