"""The groups of a convolution as linear maps and their input rows: what every handler of grouped layers shares."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ledger.domain.linear_map import LinearMap, WeightForm
from ledger.hookspecs import GroupedRows


def group_maps(key: str, groups: int, rows: int, width: int, form: WeightForm | None = None) -> Sequence[LinearMap]:
    """Return a map called ``key``, or with several groups one for each, called ``key[0]``, ``key[1]`` and so on.

    Args:
        key: Name of the weight.
        groups: Number of groups.
        rows: Rows of the matrix that each has.
        width: Number of inputs of each.
        form: How the weight is held, if not row by row.
    """
    if groups == 1:
        return (LinearMap(key, key, start=0, stop=rows, width=width, form=form),)
    return tuple(
        LinearMap(f"{key}[{g}]", key, start=g * rows, stop=(g + 1) * rows, width=width, form=form, grouped=True)
        for g in range(groups)
    )


def kernel_maps(name: str, conv: nn.Module) -> Sequence[LinearMap]:
    """Return the maps of the convolution ``name``; its kernel (out, in / groups, ...) holds a row for each output."""
    assert isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return group_maps(f"{name}.weight", conv.groups, conv.out_channels // conv.groups, conv.weight[0].numel())


def group_rows(maps: Sequence[LinearMap], stacked: Tensor) -> Mapping[str, Tensor]:
    """Return the input rows (g, n, i) of a layer's groups by the keys of their maps."""
    return GroupedRows(maps, stacked) if len(maps) > 1 else {maps[0].key: stacked[0]}
