"""A basis: the spaces of many classes at every map, summed up as they arrive where they would take too much memory."""

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

MOST_COLUMNS = 1 << 14
"""Columns of one map's factors that are kept apart, those of 256 classes of rank 64; more are summed up."""
MOST_GROUPED = 16
"""Spaces of one group that are kept apart; their sum loses nothing."""

AnySpace = Space | GroupedSpace


class Basis:
    """Gathers class spaces of one role; what it holds is bounded, however many classes there are.

    Sums are formed in the order of arrival, so classes must arrive in class order for the same bytes to come out.

    Args:
        role: Retained classes count by their energy, forgotten ones equally.
        keys: Groups of maps that anybody will ask for; others are not held.
        device: Where sums are formed and asked for.
    """

    def __init__(self, role: Role, keys: Collection[str], device: torch.device) -> None:
        self._role = role
        self._device = device
        self._keys = keys
        self._apart: dict[str, list[Space]] = {}
        self._summed: dict[str, MomentSum] = {}
        self._grouped: dict[str, list[GroupedSpace]] = {}

    def add(self, spaces: Mapping[str, AnySpace]) -> None:
        """Take up one class."""
        for key in self._keys:
            space = spaces[key]
            if isinstance(space, GroupedSpace):
                self._add_grouped(self._grouped.setdefault(key, []), space)
            elif key in self._summed:
                self._sum(key, space)
            else:
                apart = self._apart.setdefault(key, [])
                apart.append(space)
                if sum(s.rank for s in apart) > MOST_COLUMNS:
                    self._summed[key] = MomentSum(space.width, self._device)
                    for one in self._apart.pop(key):
                        self._sum(key, one)

    def spaces(self, key: str) -> Sequence[AnySpace]:
        """Return spaces of one group whose weighted sum is that of all classes."""
        if key in self._summed:
            return [self._summed[key].space()]
        held: list[AnySpace] = [*self._apart.get(key, ()), *self._grouped.get(key, ())]
        return [space.to(self._device) for space in held]

    def _sum(self, key: str, space: Space) -> None:
        self._summed[key].add(space, space.trace if self._role is Role.RETAIN else space.classes)

    def _add_grouped(self, held: list[GroupedSpace], space: GroupedSpace) -> None:
        held.append(space)
        if len(held) > MOST_GROUPED:
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
