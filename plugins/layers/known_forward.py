"""Check that a layer computes its output as the class that a handler was written for."""

from torch import nn

from ledger.errors import UnsupportedLayerError

STEPS = "forward", "_conv_forward"
"""Methods in which a layer computes its output; in the second, torch's convolutions pad."""


def require_known_forward(module: nn.Module, *kinds: type[nn.Module]) -> None:
    """Refuse a subclass with a forward of its own, since the inputs of its products are not known.

    Args:
        module: A layer.
        kinds: Classes whose forward a handler knows.

    Raises:
        UnsupportedLayerError: The layer's is none of theirs.
    """
    if not any(all(getattr(type(module), step, None) is getattr(kind, step, None) for step in STEPS) for kind in kinds):
        raise UnsupportedLayerError(f"{type(module).__name__} computes its output in its own way")
