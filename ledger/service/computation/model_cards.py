"""What units need to know of a model that is laid out for computation."""

import json
from functools import partial

from ledger.images.loading import pixels_of
from ledger.units.model_card import ModelCard, in_use
from ledger.units.packing import PackedImages
from ledger.units.surroundings import Surroundings

from .workbench import Workbench


def card_of(workbench: Workbench) -> ModelCard:
    """Return what opens a model's network anywhere; its weights are offered to the engine."""
    if workbench.card is None:
        model, ledger = workbench.model, workbench.ledger
        workbench.card = ModelCard(
            spec=model.architecture.spec,
            options=json.dumps(model.architecture.options, sort_keys=True),
            classes=len(model.labels),
            preprocessing=model.preprocessing,
            weights=workbench.anchor.weights,
            # The image that the network was opened with here: what flows where must be seen alike.
            example=PackedImages.of([pixels_of(workbench.source.train, [0], model.preprocessing)]),
            code=workbench.network.code_digest,
            policy=ledger.config.plugins,
            plugins=in_use(ledger.plugins),
        )
    # Nothing of the workbench is held on to.
    digest = workbench.anchor.weights
    workbench.ledger.engine.offer(digest, partial(workbench.ledger.objects.get, digest))
    return workbench.card


def surroundings_of(workbench: Workbench) -> Surroundings:
    """Return where a model's units have to run: on devices like the one here, with as many threads."""
    return Surroundings.here(workbench.device)
