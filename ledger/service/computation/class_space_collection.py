"""Collect the space of one class from a model's images. Nothing is stored."""

import hashlib
import math
from collections.abc import Sequence

from ledger.digest import json_digest, sha256_hex
from ledger.domain.class_spaces import NewClassSpace
from ledger.images import loading
from ledger.spaces import files
from ledger.spaces.activations import collect_spaces
from ledger.spaces.positions import PositionSampler

from .workbench import Workbench


def class_space_spec(workbench: Workbench, images: Sequence[int]) -> str:
    """Return the digest of everything that decides a class space's bytes, besides the machine.

    Args:
        workbench: The model.
        images: Indices into the training split, in collection order.
    """
    settings, anchor = workbench.model.settings, workbench.anchor
    return json_digest(
        {
            "weights": anchor.weights,
            "data": workbench.model.data_digest,
            "samples": list(images),
            "seed": settings.seed,
            "rows_per_class": settings.rows_per_class,
            "max_rank": settings.max_rank,
            "space_tolerance": settings.space_tolerance,
            "batch_size": settings.batch_size,
        }
        | ({"anchor": anchor.number} if anchor.number else {})
    )


def collect_class_space(
    workbench: Workbench, class_index: int, images: Sequence[int], spec_digest: str
) -> tuple[NewClassSpace, bytes]:
    """Run images of one class through the network; return the record of their space, not yet stored, and its bytes.

    Args:
        workbench: The model.
        class_index: The class.
        images: Indices into the training split, in collection order.
        spec_digest: What the record shall be found by.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A layer's input holds NaN or infinity.
        UnsupportedLayerError: A layer was never called.
    """
    settings = workbench.model.settings
    sampler = PositionSampler(settings.seed, class_index, math.ceil(settings.rows_per_class / len(images)))
    samples_digest = hashlib.sha256()
    batches = loading.digest_while(workbench.batches(workbench.source.train, images), samples_digest)
    spaces = collect_spaces(
        workbench.network, batches, sampler, max_rank=settings.max_rank, tolerance=settings.space_tolerance
    )
    data = files.serialise(spaces)
    record = NewClassSpace(
        model_id=workbench.model.id,
        class_index=class_index,
        spec_digest=spec_digest,
        samples=tuple(images),
        samples_digest=samples_digest.hexdigest(),
        object_digest=sha256_hex(data),
        size=len(data),
        maps=files.summaries(spaces),
        created_at=workbench.ledger.clock(),
        anchor=workbench.anchor.number,
    )
    return record, data
