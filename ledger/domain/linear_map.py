"""One two-dimensional weight inside a layer, and where it lies in the state dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class WeightForm(Protocol):
    """How a matrix is held where the state dict does not simply hold its rows.

    For example standardised, with its norms in a parameter of their own, or transposed. The form is a property of
    the layer; values come from the state dict given.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every name in the state dict that an edit may change."""
        ...

    def matrix(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the matrix that multiplies the layer's input rows, float32 (o, i), for all maps of the parameter."""
        ...

    def held(self, matrix: Tensor, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors, by name, that make the layer multiply by ``matrix`` (o, i)."""
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
    """Whether it is one of a layer's groups, which are all read at the same places and so have equally many rows."""
    aliases: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Name of an edited parameter, and another name under which the state dict holds it too."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every name in the state dict that an edit may change, aliases aside."""
        return (self.parameter,) if self.form is None else self.form.parameters
