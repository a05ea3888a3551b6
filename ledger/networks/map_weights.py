"""Linear maps' matrices read from a state dict, and edited ones written back in the form the layers hold them in."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ledger.domain.linear_map import LinearMap

from .map_groups import MapGroup


class MapWeights:
    """The matrices of a network's linear maps.

    Args:
        stored: The weights, by name, in the precision in which they are stored; never changed.
        held: The same weights as the network holds them. Edited weights get the same memory layout and precision.
    """

    def __init__(self, stored: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> None:
        self.stored = stored
        self.held = held
        self._matrices: dict[str, Tensor] = {}

    def of(self, linear_map: LinearMap | MapGroup) -> Tensor:
        """Return the matrix of a map, float32 (o, i), or the matrices of a group below each other (g * o, i).

        It may share memory with the weights.
        """
        if linear_map.form is None:
            matrix = self.stored[linear_map.parameter].flatten(1)
        else:
            if linear_map.parameter not in self._matrices:
                with torch.no_grad():
                    self._matrices[linear_map.parameter] = linear_map.form.matrix(self.stored)
            matrix = self._matrices[linear_map.parameter]
        return matrix[linear_map.start : linear_map.stop].float()


class Edit:
    """Collects edited matrices and makes a state dict of them.

    Args:
        weights: The matrices before the edit.
    """

    def __init__(self, weights: MapWeights) -> None:
        self._weights = weights
        self._state = dict(weights.held)
        self._formed: dict[str, tuple[LinearMap | MapGroup, Tensor]] = {}
        self._shared: dict[str, str] = {}

    def put(self, linear_map: LinearMap | MapGroup, matrix: Tensor) -> None:
        """Set the matrix of a map (o, i), or the matrices of a group below each other (g * o, i).

        The edit owns the tensor from now on.
        """
        name, held = linear_map.parameter, self._weights.held
        self._shared |= {other: own for own, other in linear_map.aliases}
        if linear_map.form is not None:
            if name not in self._formed:
                with torch.no_grad():
                    self._formed[name] = linear_map, linear_map.form.matrix(self._weights.stored).clone()
            self._formed[name][1][linear_map.start : linear_map.stop] = matrix
            return
        if (linear_map.start, linear_map.stop) == (0, len(held[name])):
            self._state[name] = _as_held(held[name], matrix)
            return
        if self._state[name] is held[name]:
            self._state[name] = held[name].clone()
        rows = self._state[name][linear_map.start : linear_map.stop]
        rows.copy_(matrix.view(rows.shape))

    def state(self) -> dict[str, Tensor]:
        """Return the state dict; untouched tensors are shared with the weights held."""
        held = self._weights.held
        for linear_map, matrix in self._formed.values():
            assert linear_map.form is not None
            with torch.no_grad():
                new = linear_map.form.held(matrix, self._weights.stored)
            for name, tensor in new.items():
                self._state[name] = _as_held(held[name], tensor)
        for other, own in self._shared.items():
            self._state[other] = self._state[own]
        return self._state


def _as_held(held: Tensor, matrix: Tensor) -> Tensor:
    """Return a matrix (o, i) in the shape, layout and precision of a parameter, without a copy if possible."""
    shaped = matrix.view(held.shape)
    if held.is_contiguous():
        return shaped.to(held)
    return torch.empty_like(held).copy_(shaped)
