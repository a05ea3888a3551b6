"""Threads and device: what decides the last bits of a result, besides its inputs, and what one can choose.

Sums that are split over another number of threads, or computed by another kind of device, end in other bits. So that
one ledger gives one set of classes one result, both are pinned: the number of threads by ``threads`` in
``unledger.toml``, and where a ledger of an earlier release lacks it, by what the model's versions were computed with;
the kind of device by what they were computed on, unless a person names one.
"""

from collections.abc import Mapping
from typing import Any

import torch

from ledger.domain.models import Model
from ledger.errors import RetryLaterError
from ledger.networks.device import AUTO, choose_device
from ledger.service.ledger import Ledger


def pin_threads(ledger: Ledger, model: Model | None) -> None:
    """Let torch compute on the pinned number of threads, and say so if that is another than before.

    Args:
        ledger: The ledger.
        model: The model that is worked on; None for one that is being registered.
    """
    wanted, origin = ledger.config.threads, "unledger.toml"
    if wanted is None and model is not None:
        recorded = _environment(ledger, model).get("threads")
        if isinstance(recorded, int) and not isinstance(recorded, bool) and recorded >= 1:
            wanted, origin = recorded, f"the history of {model.name}"
    before = torch.get_num_threads()
    if wanted is not None and wanted != before:
        torch.set_num_threads(wanted)
        ledger.tell(f"computing on {wanted} threads, as {origin} says; this machine would use {before}")


def pinned_device(ledger: Ledger, model: Model) -> torch.device:
    """Return the device to compute on: the one that a person named, else of the kind that the model was computed on.

    Raises:
        UsageError: A person named a device that is not here.
        RetryLaterError: The model was computed on CUDA, and this machine has none. Another worker may have it.
    """
    kind = _kind(_environment(ledger, model).get("device"))
    if ledger.device != AUTO:
        device = choose_device(ledger.device)
        if kind is not None and device.type != kind:
            ledger.tell(
                f"computing on {device.type}, as --device says; {model.name} was computed on {kind} so far, and the "
                "last bits will differ"
            )
        return device
    if kind == "cuda" and not torch.cuda.is_available():
        raise RetryLaterError(
            f"{model.name} was computed on CUDA so far, and this machine has none",
            "work where there is one; or compute here, with other last bits: --device cpu",
        )
    if kind == "cpu" and torch.cuda.is_available():
        ledger.tell(
            f"computing on the processor, as {model.name} was so far; --device cuda computes on the GPU, with other "
            "last bits"
        )
    return choose_device(AUTO if kind is None else kind)


def _environment(ledger: Ledger, model: Model) -> Mapping[str, Any]:
    """Return the environment of the model's first computed version; where there is none yet, of its registration.

    Earlier releases registered on the processor wherever they computed later, so a computation tells more.
    """
    with ledger.database.read() as tx:
        versions = tx.versions.all(model)
        if not versions:
            return {}
        computed = (version for version in versions if version.recipe.computed and version.recipe.environment)
        first = next(computed, versions[0])
        # With those before it: one of them may have been made to look as if it had no environment.
        tx.trusted.versions(model.name, frozenset(range(first.number + 1)))
    return first.recipe.environment


def _kind(recorded: object) -> str | None:
    """Return the kind of a device as recipes name it: ``cpu``, or the name of a GPU."""
    if not isinstance(recorded, str) or not recorded:
        return None
    return "cpu" if recorded == "cpu" else "cuda"
