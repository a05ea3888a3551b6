"""Class spaces as stored bytes: one tensor for each map, two for each group (``docs/adr/0011-grouped-maps.md``).

Under a map's key lies its factor ``F`` (i, r) in half precision. For a group there are ``KEY#moments``, half precision
(g, i * (i + 1) / 2), and ``KEY#trace``, float64 (g,), as :class:`~ledger.algebra.grouped.GroupedSpace` describes them.
Earlier releases stored a factor for each group of a convolution, under ``KEY[0]``, ``KEY[1]`` and so on; these are read
too.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ledger.algebra.grouped import HALF_PRECISION_ROUNDING, GroupedSpace
from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import MapSummary, NewClassSpace
from ledger.networks.map_groups import MapGroup
from ledger.weights import tensor_files

MOMENTS, TRACE = "#moments", "#trace"

MapSpaces = dict[str, Space | GroupedSpace]
"""The spaces of one class at each map or group of maps, by key."""


def serialise(spaces: Mapping[str, Space | GroupedSpace]) -> bytes:
    """Return a class space's bytes."""
    tensors: dict[str, Tensor] = {}
    for key, space in spaces.items():
        if isinstance(space, GroupedSpace):
            tensors |= {key + MOMENTS: space.packed.half(), key + TRACE: space.trace}
        else:
            # Half precision: its rounding, 5e-4 of an entry, is far below what the rank cuts off.
            tensors[key] = space.factor.half()
    return tensor_files.serialise(tensors)


def summaries(spaces: Mapping[str, Space | GroupedSpace]) -> tuple[MapSummary, ...]:
    """Return what the record of a class space says about each map."""
    return tuple(_summary(key, space) for key, space in spaces.items())


def covers(record: NewClassSpace, groups: Iterable[MapGroup]) -> bool:
    """Return whether a class space, stored by this release or an earlier one, holds all of these maps."""
    known = {m.key for m in record.maps}
    return all(group.key in known or known.issuperset(m.key for m in group.maps) for group in groups)


def parse(data: bytes, record: NewClassSpace, groups: Iterable[MapGroup]) -> MapSpaces:
    """Return the spaces from their bytes and record, stored by this release or an earlier one.

    Raises:
        WeightsError: Not a well-formed safetensors file.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    tensors = tensor_files.parse(data, f"the class space of class {record.class_index}")
    known = {m.key: m for m in record.maps}
    return {group.key: _space(group, tensors, known) for group in groups}


def _space(group: MapGroup, tensors: Mapping[str, Tensor], known: Mapping[str, MapSummary]) -> Space | GroupedSpace:
    if not group.stacked:
        m = known[group.key]
        return Space(tensors[m.key], m.rows, m.trace, m.error_bound)
    if group.key in known:
        moments, trace = tensors[group.key + MOMENTS], tensors[group.key + TRACE]
        return GroupedSpace(moments, group.width, known[group.key].rows, trace)
    members = [known[m.key] for m in group.maps]
    factors = [tensors[m.key].double() for m in group.maps]
    moments = torch.stack([m.trace * factor @ factor.T for m, factor in zip(members, factors, strict=True)])
    # The recorded trace, not that of the product: it includes what the rank cut off.
    trace = torch.tensor([m.trace for m in members], dtype=torch.float64)
    return GroupedSpace.of(moments, members[0].rows, trace)


def _summary(key: str, space: Space | GroupedSpace) -> MapSummary:
    if isinstance(space, GroupedSpace):
        trace = float(space.trace.sum())
        return MapSummary(key, space.width, space.width, space.rows, trace, HALF_PRECISION_ROUNDING, space.groups)
    return MapSummary(key, space.width, space.rank, space.rows, space.trace, space.error_bound)
