"""Candidates: the registered weights edited for a set of forgotten classes, by a recipe."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.spaces import LARGEST_FORGET, Space, forget_weights, retain_weights, stack
from ledger.algebra.strength import Strength
from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import Solver
from ledger.map_weights import Edit, MapWeights
from ledger.plugin_manager import guarded

Spaces = Callable[[str], Sequence[Space]]
"""A map's key to the spaces of some classes, in class order."""


@dataclass(frozen=True, order=True)
class Recipe:
    """How a candidate is made: with which solver, from which layer on, how strongly."""

    solver: str
    depth: int
    """Number of layers edited, counted from the output."""
    strength: Strength


@dataclass(frozen=True)
class MapChange:
    """How much one linear map changed."""

    key: str
    relative: float
    """Frobenius norm of the change over that of the weight."""
    retain_rank: int
    forget_rank: int


@dataclass(frozen=True, eq=False)
class Candidate:
    """A new state dict for a forgotten set, not yet judged. Two are the same only if they are one."""

    recipe: Recipe
    state: dict[str, Tensor]
    changes: tuple[MapChange, ...]

    @property
    def size(self) -> float:
        """Root mean square of the relative changes: how large the whole edit is."""
        return math.sqrt(sum(c.relative**2 for c in self.changes) / max(1, len(self.changes)))


class CandidateBuilder:
    """Holds the factors that every recipe shares, so that one more candidate costs little.

    Args:
        base: The registered weights, by name; never changed.
        layers: The linear maps of each editable layer, in the order in which images pass through them.
        retain: Gives a map's spaces of the retained classes.
        forget: Gives a map's spaces of the forgotten classes.
        solvers: By name.
        forgotten: Class indices, which are outputs of the classifier.
        classes: How many the network knows. The last layer is the classifier if it has as many outputs.
        held: The same weights as a network holds them: candidates take over their memory layout, and share what they
            do not edit.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        layers: Sequence[Sequence[LinearMap]],
        retain: Spaces,
        forget: Spaces,
        solvers: Mapping[str, Solver],
        *,
        forgotten: Sequence[int] = (),
        classes: int = 0,
        held: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._weights = MapWeights(base, held or base)
        self._forgotten = forgotten
        self._classes = classes
        self._layers = layers
        self._retain = retain
        self._forget = forget
        self._solvers = solvers
        self._factors: dict[str, MapFactors] = {}
        self._norms: dict[str, float] = {}

    def depths(self, wanted: Sequence[int] = ()) -> tuple[int, ...]:
        """Return numbers of layers to edit: those wanted, or all, half of them and so on down to one."""
        layers = len(self._layers)
        if wanted:
            return tuple(dict.fromkeys(min(depth, layers) for depth in wanted))
        depths = [layers]
        while depths[-1] > 1:
            depths.append(math.ceil(depths[-1] / 2))
        return tuple(depths)

    def build(self, recipe: Recipe) -> Candidate:
        """Return the weights edited by one recipe; untouched tensors are shared."""
        edit = Edit(self._weights)
        changes = []
        solver = self._solvers[recipe.solver]
        for m in (m for layer in self._layers[-recipe.depth :] for m in layer):
            factors = self._factors_of(m)
            delta = guarded(partial(solver.delta, factors, recipe.strength), f"solver {recipe.solver} on {m.key}")
            edit.put(m, factors.weight + delta)
            norm = self._norms[m.key]
            relative = float(torch.linalg.norm(delta)) / norm if norm else 0.0
            changes.append(MapChange(m.key, relative, factors.retain.shape[1], factors.forget.shape[1]))
        return Candidate(recipe, edit.state(), tuple(changes))

    def _factors_of(self, m: LinearMap) -> MapFactors:
        if m.key not in self._factors:
            retain, forget = self._retain(m.key), self._forget(m.key)
            retained = stack(retain, retain_weights(retain))
            forgotten = stack(forget, forget_weights(forget), LARGEST_FORGET)
            weight = self._weights.of(m)
            own = self._forgotten if m in self._layers[-1] and weight.shape[0] == self._classes else None
            self._factors[m.key] = MapFactors(weight, retained, forgotten, own)
            self._norms[m.key] = float(torch.linalg.norm(weight))
        return self._factors[m.key]
