"""The environment of a computation, recorded beside its result."""

from importlib.metadata import version

import torch

from ledger.units.engine import LOCAL, Engine
from ledger.units.surroundings import device_kind


def computation_environment(device: torch.device, engine: Engine | None = None) -> dict[str, object]:
    """Return what decides the last bits of a result besides its inputs: versions, device and number of threads.

    Args:
        device: Where it was computed.
        engine: Who ran its units. Nothing depends on that; where it was not this process, it is recorded.
    """
    found: dict[str, object] = {
        "unledger": version("unledger"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }
    if engine is not None and engine.spec != LOCAL:
        found |= {"executor": engine.recorded, "device_kind": device_kind(device)}
    return found
