"""One two-dimensional weight inside a layer, and where it lies in the state dict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearMap:
    """Rows ``start:stop`` of a parameter, flattened to (out, in).

    ``W = state_dict[parameter].flatten(1)[start:stop]`` has shape (o, i). A plain layer is one map;
    a grouped convolution is one map for each group. Maps of one
    parameter are computed and stored together where they are alike (``ledger/bundles.py``).
    """

    key: str
    """Unique in the model and stable over its life, e.g. ``conv1.weight`` or ``conv1.weight[2]``."""
    parameter: str
    start: int
    stop: int
    width: int
    """Number of inputs ``i``."""
