"""A basis: the spaces of many classes at every map. Where they take too much memory, their sum is kept instead.

Means and predictions are never summed: each class's are kept apart.
"""

from collections.abc import Collection, Sequence

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

from .look_alikes import LookAlikes
from .statistics import ClassStatistics

MAX_SEPARATE_COLUMNS = 1 << 14
"""Columns of one map's factors that are kept separately: 256 classes of rank 64. Beyond it, only their sum is kept."""
MAX_SEPARATE_GROUPED = 16
"""Spaces of one group of maps that are kept separately. Their sum is exact, so few are enough."""

AnySpace = Space | GroupedSpace
"""The space of a single map, or those of a group of maps."""


class Basis:
    """Gathers the statistics of the classes of one role in bounded memory, however many classes there are.

    Of each class, one mean row a map and one prediction are kept; spaces beyond a number are summed up, in the order in
    which they are added: add classes in class order to get the same bytes.

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
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._means: dict[str, list[Tensor]] = {}
        self._predictions: list[Tensor] = []
        self._class_indices: list[int] = []
        self._look_alikes: list[LookAlikes | None] = []
        self._deviations: dict[str, list[Tensor]] = {}

    def add(self, class_index: int, statistics: ClassStatistics) -> None:
        """Add one class.

        Args:
            class_index: The class.
            statistics: The spaces of every key of the basis must be there.
        """
        self._add_means(class_index, statistics)
        for key in self._keys:
            space = statistics.spaces[key]
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

    @property
    def class_indices(self) -> tuple[int, ...]:
        """The classes that :meth:`means` and :meth:`predictions` have a column for, in the order they were added.

        A class whose statistics were stored by an earlier release, without them, has none: where its images are gone,
        they cannot be collected any more.
        """
        return tuple(self._class_indices)

    def means(self, key: str) -> Tensor:
        """Return the mean row of each class at one map, or group of maps.

        Args:
            key: Of a map or group of maps of the basis; at least one class was added.

        Returns:
            float32 (i, classes), or (g, i, classes) of a group, a column for each of :attr:`class_indices`.
        """
        if not self._class_indices:
            return torch.zeros(*self._shapes[key], 0, device=self._device)
        return torch.stack(self._means[key], dim=-1).to(self._device)

    def predictions(self) -> Tensor:
        """Return the mean masked predictions, float32 (classes of the network, classes), columns as in :meth:`means`.

        Without any class it is (0, 0).
        """
        if not self._predictions:
            return torch.zeros(0, 0, device=self._device)
        return torch.stack(self._predictions, dim=1).to(self._device)

    def look_alikes(self) -> Sequence[LookAlikes | None]:
        """Return the look-alike groups of each class of :attr:`class_indices`; None where they are not known."""
        return self._look_alikes

    def deviations(self, key: str) -> Sequence[Tensor]:
        """Return how far the look-alike groups of each class lie from its mean row at a single map.

        Only a basis of forgotten classes keeps them. A group of maps has none.

        Returns:
            float32 (i, j) for each of :attr:`class_indices`.
        """
        return [part.to(self._device) for part in self._deviations.get(key, ())]

    def _add_means(self, class_index: int, statistics: ClassStatistics) -> None:
        means: dict[str, Tensor] = {}
        for key in self._keys:
            space = statistics.spaces[key]
            self._shapes[key] = (space.groups, space.width) if isinstance(space, GroupedSpace) else (space.width,)
            if space.mean is not None:
                means[key] = space.mean
        if statistics.prediction is None or len(means) < len(self._shapes):
            return
        self._class_indices.append(class_index)
        self._predictions.append(statistics.prediction)
        self._look_alikes.append(statistics.look_alikes)
        if self._role is Role.FORGET:
            for key in self._keys:
                if isinstance(space := statistics.spaces[key], Space):
                    self._deviations.setdefault(key, []).append(space.look_alike_deviations())
        for key, mean in means.items():
            self._means.setdefault(key, []).append(mean)

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
