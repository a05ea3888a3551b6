"""The environment of a computation, recorded beside its result."""

from importlib.metadata import version

import torch


def computation_environment(device: torch.device) -> dict[str, object]:
    """Return what decides the last bits of a result besides its inputs: versions, device and number of threads."""
    return {
        "unledger": version("unledger"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }
