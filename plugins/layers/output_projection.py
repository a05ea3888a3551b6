"""The input rows of an output projection whose weight an attention module uses without calling the layer."""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def without_projection(attention: M, name: str) -> M:
    """Return a copy of an attention module whose output projection is the identity, without a bias.

    It shares everything else with the module, which is not touched. What its ``forward`` answers is what flows into the
    projection, in the layout of the module's answer. Calling the double would run the module's hooks once more.

    Args:
        attention: Multiplies by the weight of its child ``name``, square, and adds that child's bias.
        name: Of the child that holds the output projection.
    """
    held = cast(Tensor, attention.get_submodule(name).weight)
    size = held.shape[0]
    identity = nn.Linear(size, size, device="meta", dtype=held.dtype)
    for parameter, tensor in (("weight", torch.eye), ("bias", torch.zeros)):
        made = tensor(size, dtype=held.dtype, device=held.device)
        setattr(identity, parameter, nn.Parameter(made, requires_grad=False))
    double: Any = object.__new__(type(attention))
    vars(double).update(vars(attention))
    vars(double)["_modules"] = {**vars(attention)["_modules"], name: identity}
    return cast(M, double)
