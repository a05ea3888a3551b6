"""The contract of a layer handler, checked against the same layer written out.

The author of a handler writes the layer as one plain function. It computes the layer's output from explicit input rows,
and passes the rows of each linear map ``through`` a given function before they are multiplied. Then

- with the identity for ``through`` the function must return the layer's own output, so the function is right;
- the rows it shows must be the rows that the handler reads;
- with a part of each map's rows taken away, it must return what the edited layer returns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's customary name
from torch import Tensor, nn

from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.moment_forms import moment_form
from ledger.algebra.spaces import Space
from ledger.hookspecs import LayerHandler
from ledger.networks.map_weights import Edit, MapWeights
from ledger.networks.network import Network
from ledger.spaces.activations import collect_spaces

Through = Callable[[str, Any], Any]
"""Takes the name of a map within its layer, e.g. ``weight``, and its input rows (n, i); returns rows (n, i)."""
Explicit = Callable[[Any, tuple[Any, ...], Through], Any]
"""A layer written out: takes the layer, what it is called with, and ``through``; returns the layer's output."""

IMAGES = torch.zeros(1, 1, 1, 1)
"""What :class:`OneLayer` is called with, and does not look at."""
LAYER = "layer"
"""Name of the layer within :class:`OneLayer`: its maps are called ``layer.weight`` and so on."""
MOMENT_TOLERANCE = 2e-6
"""Largest absolute difference of an entry of two second moments of trace 1: rounding of float32 sums."""
EDIT_SHARE = 0.8
"""Share of some directions that the edit takes away from the rows of each map."""


class OneLayer(nn.Module):
    """A network of one layer, which it calls with fixed arguments whatever its images are.

    Args:
        layer: The layer, in evaluation mode.
        args: What it is called with.
        kwargs: What it is called with by keyword.
    """

    def __init__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.layer = layer
        self._call = args, dict(kwargs or {})

    def forward(self, _images: Tensor) -> Any:
        """Return the layer's output, the first one if it returns several."""
        args, kwargs = self._call
        output = self.layer(*args, **kwargs)
        return output[0] if isinstance(output, tuple) else output


class EveryPosition:
    """A :class:`~ledger.hookspecs.RowSampler` that reads a layer at all its positions."""

    def positions(self, key: str, images: int, available: int) -> Tensor | None:  # noqa: ARG002 - part of the contract
        """Return None: all positions."""
        return None


def check_layer(
    explicit: Explicit,
    layer: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    handlers: Mapping[type[nn.Module], LayerHandler],
    rtol: float = 1e-3,
    atol: float = 2e-5,
) -> None:
    """Check what a handler reads of a layer, and what an edit does to it, against the layer written out.

    Args:
        explicit: The layer written out.
        layer: The layer; its weights are edited.
        args: What the layer is called with.
        kwargs: What the layer is called with by keyword; ``explicit`` gets these after ``args``.
        handlers: Layer class to handler, as :meth:`~ledger.plugin_manager.Plugins.layer_handlers` returns them.
        rtol: Relative tolerance of outputs. The two ways add up float32 products in another order, which softmax, gates
            or standardisation enlarge.
        atol: Absolute tolerance of outputs.

    Raises:
        AssertionError: They differ, or the edit changes nothing.
    """
    network = Network.of(OneLayer(layer.eval(), args, kwargs), handlers).observed(IMAGES)
    given = (*args, *(kwargs or {}).values())
    with torch.no_grad():
        plain = explicit(layer, given, lambda _key, rows: rows)
        torch.testing.assert_close(plain, network.module(IMAGES), rtol=rtol, atol=atol)
    rows_of = explicit_rows(explicit, layer, given)
    read = read_moments(network)
    if rows_of.keys() != read.keys():
        raise AssertionError(f"the handler reads {sorted(read)}, the layer written out has {sorted(rows_of)}")
    for key, rows in rows_of.items():
        moment, count = read[key]
        if count != len(rows):
            raise AssertionError(f"{key}: the handler reads {count} rows, the layer written out has {len(rows)}")
        torch.testing.assert_close(moment, kept_moment(network, key, rows), rtol=0, atol=MOMENT_TOLERANCE)
    removed = {key: _some_directions(rows).float() for key, rows in rows_of.items()}
    with torch.no_grad():
        expected = explicit(layer, given, lambda key, rows: rows - rows @ removed[f"{LAYER}.{key}"].T)
        before = network.module(IMAGES)
        network.load(_edited(network, removed), "the edit")
        after = network.module(IMAGES)
    torch.testing.assert_close(after, expected, rtol=rtol, atol=atol)
    # Few outputs may all be zero, for example behind a gate.
    if before.numel() > 8 and torch.equal(before, after):
        raise AssertionError("the edit changed nothing")


def explicit_rows(explicit: Explicit, layer: nn.Module, args: tuple[Any, ...]) -> dict[str, Tensor]:
    """Return the input rows, float64 (n, i), that a layer written out shows, by the keys of its maps."""
    seen: dict[str, list[Tensor]] = {}

    def record(key: str, rows: Tensor) -> Tensor:
        seen.setdefault(f"{LAYER}.{key}", []).append(rows)
        return rows

    with torch.no_grad():
        explicit(layer, args, record)
    return {key: torch.cat(parts).double() for key, parts in seen.items()}


def read_moments(network: Network) -> dict[str, tuple[Tensor, int]]:
    """Run a network of one layer, and return what its handler reads.

    Args:
        network: Of a :class:`OneLayer`.

    Returns:
        For each map its second moment of trace 1, float64 (i, i), and its number of rows.
    """
    each: dict[str, tuple[Tensor, int]] = {}
    spaces = collect_spaces(network, [IMAGES], EveryPosition(), max_rank=512).spaces
    for group in network.map_groups:
        space: Space | GroupedSpace = spaces[group.key]
        if isinstance(space, GroupedSpace):
            each |= {m.key: (moment, space.rows) for m, moment in zip(group.maps, space.moments(), strict=True)}
        else:
            each[group.key] = (space.factor @ space.factor.T).double(), space.rows
    return each


def kept_moment(network: Network, key: str, rows: Tensor) -> Tensor:
    """Return as much of the second moment of rows (n, i) as is kept of a map: of windows, the spectrum."""
    [group] = [group for group in network.map_groups if any(m.key == key for m in group.maps)]
    form = moment_form(group.width, group.window)
    return form.moments(form.of_moments(second_moment(rows)[None]))[0]


def second_moment(rows: Tensor) -> Tensor:
    """Return ``X^T X / tr(X^T X)`` (i, i) of rows ``X`` (n, i); zeros if all rows are zero."""
    gram = rows.T @ rows
    trace = gram.diagonal().sum()
    return gram / trace if trace else gram


def _edited(network: Network, removed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's weights with ``W - W R`` for each map's ``W`` (o, i) and ``R`` (i, i)."""
    weights = MapWeights(network.state(), network.state())
    edit = Edit(weights)
    for m in network.maps:
        edit.put(m, weights.of(m) - weights.of(m) @ removed[m.key])
    return edit.state()


def _some_directions(rows: Tensor) -> Tensor:
    """Return a matrix (i, i) as edits subtract: of low rank, not symmetric, and within what the rows (n, i) span."""
    generator = torch.Generator().manual_seed(len(rows))
    count = min(2, *rows.shape)
    left, right = (rows.T @ torch.randn(len(rows), count, generator=generator).double() for _ in range(2))
    return EDIT_SHARE * F.normalize(left, dim=0) @ F.normalize(right, dim=0).T
