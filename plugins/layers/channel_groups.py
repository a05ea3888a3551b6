"""The groups of a convolution as linear maps and their input rows: what every handler of grouped layers shares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap, WeightForm
from ledger.hookspecs import GroupedRows


def group_maps(
    key: str, groups: int, rows: int, width: int, form: WeightForm | None = None, window: int | None = None
) -> Sequence[LinearMap]:
    """Return a map called ``key``, or with several groups one for each, called ``key[0]``, ``key[1]`` and so on.

    Args:
        key: Name of the weight.
        groups: Number of groups.
        rows: Rows of the matrix that each has.
        width: Number of inputs of each.
        form: How the weight is held, if not row by row.
        window: Side of the square of one channel's pixels that the inputs are, if they are.
    """
    if groups == 1:
        return (LinearMap(key, key, start=0, stop=rows, width=width, form=form),)
    one = LinearMap(key, key, start=0, stop=rows, width=width, form=form, grouped=True, window=window)
    return tuple(replace(one, key=f"{key}[{g}]", start=g * rows, stop=(g + 1) * rows) for g in range(groups))


def kernel_maps(name: str, conv: nn.Module) -> Sequence[LinearMap]:
    """Return the maps of the convolution ``name``; its kernel (out, in / groups, ...) holds a row for each output."""
    assert isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    inputs, *sides = conv.weight[0].shape
    window = sides[0] if inputs == 1 and len(sides) == 2 and sides[0] == sides[1] else None
    rows, width = conv.out_channels // conv.groups, conv.weight[0].numel()
    return group_maps(f"{name}.weight", conv.groups, rows, width, window=window)


def group_rows(maps: Sequence[LinearMap], stacked: Tensor) -> Mapping[str, Tensor]:
    """Return the input rows (g, n, i) of a layer's groups by the keys of their maps."""
    return GroupedRows(maps, stacked) if len(maps) > 1 else {maps[0].key: stacked[0]}
