"""A basis: the spaces of many classes at every map. Where they take too much memory, their sum is kept instead."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from ledger.algebra.grouped import (
    GroupedSpace,
    grouped_forget_weights,
    grouped_mean,
    grouped_retain_weights,
    grouped_stack,
)
from ledger.algebra.moment_sum import MomentSum
from ledger.algebra.spaces import LARGEST_FORGET, Space, forget_weights, retain_weights, stack
from ledger.domain.class_spaces import Role

MAX_SEPARATE_COLUMNS = 1 << 14
"""Columns of one map's factors that are kept separately: 256 classes of rank 64. Beyond it, only their sum is kept."""
MAX_SEPARATE_GROUPED = 16
"""Spaces of one group of maps that are kept separately. Their sum is exact, so few are enough."""

AnySpace = Space | GroupedSpace
"""The space of a single map, or those of a group of maps."""


class Basis:
    """Gathers the class spaces of one role in bounded memory, however many classes there are.

    Spaces are summed up in the order in which they are added: add classes in class order to get the same bytes.

    Args:
        role: Retained classes are weighted by their energy, forgotten ones equally.
        keys: Keys of the maps, and groups of maps, to gather; others are dropped.
        device: Where sums are formed and spaces are returned.
    """

    def __init__(self, role: Role, keys: Collection[str], device: torch.device) -> None:
        self._role = role
        self._device = device
        self._keys = keys
        self._apart: dict[str, list[Space]] = {}
        self._summed: dict[str, MomentSum] = {}
        self._grouped: dict[str, list[GroupedSpace]] = {}

    def add(self, spaces: Mapping[str, AnySpace]) -> None:
        """Add the spaces of one class.

        Args:
            spaces: By key of a map or group of maps; every key of the basis must be there.
        """
        for key in self._keys:
            space = spaces[key]
            if isinstance(space, GroupedSpace):
                self._add_grouped(self._grouped.setdefault(key, []), space)
            elif key in self._summed:
                self._sum(key, space)
            else:
                apart = self._apart.setdefault(key, [])
                apart.append(space)
                if sum(s.rank for s in apart) > MAX_SEPARATE_COLUMNS:
                    self._summed[key] = MomentSum(space.width, self._device)
                    for one in self._apart.pop(key):
                        self._sum(key, one)

    def spaces(self, key: str) -> Sequence[AnySpace]:
        """Return spaces of one map, or group of maps, whose weighted sum is that of all classes."""
        if key in self._summed:
            return [self._summed[key].space()]
        held: list[AnySpace] = [*self._apart.get(key, ()), *self._grouped.get(key, ())]
        return [space.to(self._device) for space in held]

    def _sum(self, key: str, space: Space) -> None:
        self._summed[key].add(space, space.trace if self._role is Role.RETAIN else space.classes)

    def _add_grouped(self, held: list[GroupedSpace], space: GroupedSpace) -> None:
        held.append(space)
        if len(held) > MAX_SEPARATE_GROUPED:
            held[:] = [grouped_mean(held, _grouped_weights(held, self._role))]


def basis_factor(spaces: Sequence[AnySpace], role: Role) -> Tensor:
    """Return the factor of the weighted sum of spaces of one group, float32 (i, r), or (g, i, r) of several maps."""
    grouped = [space for space in spaces if isinstance(space, GroupedSpace)]
    if grouped:
        return grouped_stack(grouped, _grouped_weights(grouped, role))
    single = [space for space in spaces if isinstance(space, Space)]
    return stack(single, _weights(single, role), LARGEST_FORGET if role is Role.FORGET else None)


def _weights(spaces: Sequence[Space], role: Role) -> list[float]:
    return retain_weights(spaces) if role is Role.RETAIN else forget_weights(spaces)


def _grouped_weights(spaces: Sequence[GroupedSpace], role: Role) -> list[Tensor]:
    return grouped_retain_weights(spaces) if role is Role.RETAIN else grouped_forget_weights(spaces)
