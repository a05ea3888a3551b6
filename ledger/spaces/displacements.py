"""Displacements at every map, from the statistics of retained and forgotten classes."""

import math
from collections.abc import Sequence
from functools import cached_property

from torch import Tensor

from ledger.algebra.displacement import MOST_COLUMNS, Displacement, Mixture, displacement, restricted

from .bases import Basis
from .look_alikes import LookAlikes
from .retained import MeanRows


class Displacements:
    """Compares the mean rows of forgotten classes with the mixtures of retained ones that they resemble.

    Everything is a function of the two sets of classes: the masks, the mixtures, and which groups still count.

    Args:
        retain: Statistics of the retained classes.
        forget: Statistics of the forgotten classes.
    """

    def __init__(self, retain: MeanRows, forget: Basis) -> None:
        self._retain = retain
        self._forget = forget

    @property
    def known(self) -> bool:
        """Whether classes of both roles have mean rows."""
        return bool(self._retain.class_indices and self._forget.class_indices)

    def of(self, key: str) -> Displacement | None:
        """Return the displacement at a map, or group of maps; None if no class of a role has mean rows."""
        if not self.known:
            return None
        found = self._forget.deviations(key)
        deviations = [part[:, kept] for part, kept in zip(found, self._groups, strict=True)] if found else []
        return displacement(self._forget.means(key), deviations, self._mixtures, self._retain.means(key))

    @cached_property
    def mixtures(self) -> dict[int, Tensor]:
        """Of each forgotten class, by index: what it resembles, float32 (classes,) over the retained classes."""
        own = (mixture[0].weights for mixture in self._mixtures)
        return dict(zip(self._forget.class_indices, own, strict=True))

    @property
    def retained(self) -> Sequence[int]:
        """The retained classes, in the order of :attr:`mixtures`."""
        return self._retain.class_indices

    @cached_property
    def _groups(self) -> list[list[int]]:
        """Places of each class's groups that count: those that resemble a retained class, as far as there is room."""
        room = max(0, MOST_COLUMNS // len(self._forget.class_indices) - 1)
        retained = set(self._retain.class_indices)
        return [
            [] if groups is None else [j for j, k in enumerate(groups.classes.tolist()) if k in retained][:room]
            for groups in self._forget.look_alikes()
        ]

    @cached_property
    def _mixtures(self) -> list[list[Mixture]]:
        retained = self._retain.class_indices
        found = []
        predictions = self._forget.predictions().unbind(1)
        for prediction, look_alikes, kept in zip(predictions, self._forget.look_alikes(), self._groups, strict=True):
            own = Mixture(restricted(prediction, retained), math.inf)
            found.append([own, *(_of_groups(look_alikes, kept, retained) if look_alikes is not None else ())])
        return found


def _of_groups(groups: LookAlikes, kept: Sequence[int], retained: Sequence[int]) -> list[Mixture]:
    total = float(groups.shares[list(kept)].double().sum()) or 1.0
    return [
        Mixture(restricted(groups.predictions[:, j], retained), float(groups.shares[j].double()) / total) for j in kept
    ]
