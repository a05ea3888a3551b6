"""Candidates: the anchor weights, edited by a recipe so that a set of classes is forgotten."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ledger.algebra.displacement import Displacement
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.algebra.summed_moments import SummedMoments
from ledger.domain.class_spaces import Role
from ledger.domain.linear_map import LinearMap
from ledger.hookspecs import Solver
from ledger.networks.map_groups import MapGroup, group_maps
from ledger.networks.map_weights import Edit, MapWeights
from ledger.plugin_manager import guarded
from ledger.spaces.bases import AnySpace, basis_factor

SpacesOfMap = Callable[[str], Sequence[AnySpace]]
"""From the key of a map, or group of maps, to its spaces of some classes, in class order."""
RetainedOfMap = Callable[[str], Sequence[AnySpace] | SummedMoments]
"""The same of retained classes; of very many of them, what they amount to."""


@dataclass(frozen=True, order=True)
class Recipe:
    """How a candidate is made: by which solver, in how many layers, how strongly."""

    solver: str
    depth: int
    """Number of layers edited, counted from the output."""
    strength: Strength


@dataclass(frozen=True)
class MapChange:
    """How much one linear map changed, or all maps of a group together."""

    key: str
    relative: float
    """Frobenius norm of the change over that of the weight."""
    retain_rank: int
    forget_rank: int
    groups: int = 1
    """Number of maps in the group; 1 for a single map."""
    most: float | None = None
    """The largest relative change of a map in the group; None for a single map."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A new state dict for a forgotten set, not yet judged. Compared by identity."""

    recipe: Recipe
    state: dict[str, Tensor]
    """Every tensor of the network, by name."""
    changes: tuple[MapChange, ...]
    """One for each edited map or group of maps."""

    @property
    def size(self) -> float:
        """Root mean square of the relative changes: how large the whole edit is."""
        return math.sqrt(sum(c.relative**2 for c in self.changes) / max(1, len(self.changes)))

    def has_weights_of(self, other: "Candidate") -> bool:
        """Whether another candidate has the same weights, so that it answers everything the same."""
        # What neither edits is one tensor.
        return all(own is other.state[name] or torch.equal(own, other.state[name]) for name, own in self.state.items())


class CandidateBuilder:
    """Builds candidates. What all recipes share is computed once, so one more candidate costs little.

    Args:
        anchor: The anchor weights, by name, in the precision of their file; never changed.
        layers: The linear maps of each editable layer, in the order in which images pass through them.
        retain: Gives a map's spaces of the retained classes.
        forget: Gives a map's spaces of the forgotten classes.
        solvers: By name.
        forgotten: Indices of the forgotten classes among the outputs.
        classes: Number of outputs of the network. The last layer is the classifier if it has as many.
        held: The anchor weights as the network holds them. Candidates take over their memory layout, and share the
            tensors that they do not edit. None if they are the same as ``anchor``.
        displacement: Gives a map's displacement, if it is known.
    """

    def __init__(
        self,
        anchor: Mapping[str, Tensor],
        layers: Sequence[Sequence[LinearMap]],
        retain: RetainedOfMap,
        forget: SpacesOfMap,
        solvers: Mapping[str, Solver],
        *,
        forgotten: Sequence[int] = (),
        classes: int = 0,
        held: Mapping[str, Tensor] | None = None,
        displacement: Callable[[str], Displacement | None] = lambda _: None,
    ) -> None:
        self._weights = MapWeights(anchor, held or anchor)
        self._forgotten = forgotten
        self._classes = classes
        self._layers = [group_maps(maps) for maps in layers]
        self._retain = retain
        self._forget = forget
        self._solvers = solvers
        self._displacement = displacement
        self._factors: dict[str, MapFactors] = {}
        self._norms: dict[str, Tensor] = {}

    def depths(self, wanted: Sequence[int] = ()) -> tuple[int, ...]:
        """Return the numbers of layers to edit: those wanted, or all, half of them, and so on down to one."""
        layers = len(self._layers)
        if wanted:
            return tuple(dict.fromkeys(min(depth, layers) for depth in wanted))
        depths = [layers]
        while depths[-1] > 1:
            depths.append(math.ceil(depths[-1] / 2))
        return tuple(depths)

    def build(self, recipe: Recipe) -> Candidate:
        """Return the weights edited by one recipe; tensors that are not edited are shared.

        Raises:
            PluginError: The solver failed.
        """
        edit = Edit(self._weights)
        changes = []
        solver = self._solvers[recipe.solver]
        for group in (group for layer in self._layers[-recipe.depth :] for group in layer):
            factors = self._factors_of(group)
            delta = guarded(partial(_delta, solver, factors, recipe.strength), f"solver {recipe.solver} on {group.key}")
            edit.put(group, (factors.weight + delta).flatten(0, -2))
            changes.append(_change(group, factors, delta, self._norms[group.key]))
        return Candidate(recipe, edit.state(), tuple(changes))

    def _factors_of(self, group: MapGroup) -> MapFactors:
        if group.key not in self._factors:
            spaces = self._retain(group.key)
            retained = spaces if isinstance(spaces, SummedMoments) else basis_factor(spaces, Role.RETAIN)
            forgotten = basis_factor(self._forget(group.key), Role.FORGET)
            weight = self._weights.of(group)
            classifier = group in self._layers[-1] and weight.shape[0] == self._classes and not group.stacked
            if group.stacked:
                weight = weight.reshape(group.size, -1, group.width)
            own = self._forgotten if classifier else None
            self._factors[group.key] = MapFactors(weight, retained, forgotten, own, self._displacement(group.key))
            self._norms[group.key] = _norms(weight)
        return self._factors[group.key]


def _delta(solver: Solver, factors: MapFactors, strength: Strength) -> Tensor:
    """Return the change of a map (o, i), or of a group (g, o, i); map by map if the solver takes only single maps."""
    if factors.weight.ndim == 2 or getattr(solver, "batched", False):
        return solver.delta(factors, strength)
    single = range(len(factors.weight))
    return torch.stack([solver.delta(factors.one(index), strength) for index in single])


def _change(group: MapGroup, factors: MapFactors, delta: Tensor, norms: Tensor) -> MapChange:
    changes = _norms(delta)
    ranks = factors.retain_rank, factors.forget.shape[-1]
    if not group.stacked:
        return MapChange(group.key, _share(changes, norms), *ranks)
    most = torch.where(norms > 0, changes / norms, 0.0).max()
    whole = _share(torch.linalg.norm(changes), torch.linalg.norm(norms))
    return MapChange(group.key, whole, *ranks, group.size, float(most))


def _norms(matrices: Tensor) -> Tensor:
    """Return the Frobenius norm () of one matrix (o, i), or the norms (g,) of several (g, o, i)."""
    norms: Tensor = torch.linalg.matrix_norm(matrices) if matrices.ndim == 3 else torch.linalg.norm(matrices)
    return norms


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part) / float(whole) if float(whole) else 0.0
