"""Linear maps: two-dimensional weights inside layers, and their places in the state dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class WeightForm(Protocol):
    """How to read and write a layer's matrix that the state dict does not hold as plain rows.

    For example a transposed matrix, or a normalised one with its norms in a separate parameter. The form describes the
    layer; the values come from the state dict that is passed.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the state dict that an edit may change."""
        ...

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the matrix that multiplies the layer's input rows, for all maps of the parameter; float32 (o, i)."""
        ...

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return tensors by name that make the layer multiply by ``matrix`` (o, i)."""
        ...


@dataclass(frozen=True)
class LinearMap:
    """Rows ``start:stop`` of a layer's matrix.

    ``W = state_dict[parameter].flatten(1)[start:stop]`` has shape (o, i); where there is a ``form``,
    ``W = form.matrix(state_dict)[start:stop]``. A plain layer is one map; a grouped convolution is one map for each
    group. Maps of one parameter are computed and stored together where they are alike
    (``ledger/networks/map_groups.py``).
    """

    key: str
    """Unique in the model and stable over its life, e.g. ``conv1.weight`` or ``conv1.weight[2]``."""
    parameter: str
    start: int
    stop: int
    width: int
    """Number of inputs ``i``."""
    form: WeightForm | None = field(default=None, compare=False)
    grouped: bool = field(default=False, compare=False)
    """Whether it is one group of a layer. All groups read the same positions, so they have equally many rows."""
    window: int | None = field(default=None, compare=False)
    """Side of the square of one channel's pixels that its inputs are, row by row; None if they are something else."""
    aliases: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Pairs of an edited parameter's name and another name of the same tensor in the state dict."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names in the state dict that an edit may change, without aliases."""
        return (self.parameter,) if self.form is None else self.form.parameters
