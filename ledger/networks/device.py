"""Which device computes, and what makes it compute the same bytes every time."""

import torch

from ledger.errors import UsageError

AUTO = "auto"


def choose_device(name: str) -> torch.device:
    """Return the device of a name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    On CUDA, float32 stays float32 (no TF32) and convolutions use deterministic algorithms.

    Raises:
        UsageError: There is no such device here.
    """
    available = torch.cuda.is_available()
    wanted = ("cuda" if available else "cpu") if name == AUTO else name
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise UsageError(f"{name!r} is no device to compute on", "use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not available or (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"this machine has no device {name!r}", "use --device auto or --device cpu")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return device
