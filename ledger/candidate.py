"""Candidates: the registered weights edited for a set of forgotten classes, at a given strength."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.algebra.projection import ProjectionFactors, Strength
from ledger.algebra.spaces import Space, forget_weights, retain_weights, stack
from ledger.domain.linear_map import LinearMap


@dataclass(frozen=True)
class MapChange:
    """How much one linear map changed."""

    key: str
    relative: float
    """Frobenius norm of the change over that of the weight."""
    retain_rank: int
    forget_rank: int


@dataclass(frozen=True)
class Candidate:
    """A new state dict for a forgotten set, not yet judged."""

    strength: Strength
    state: dict[str, Tensor]
    changes: tuple[MapChange, ...]

    @property
    def size(self) -> float:
        """Root mean square of the relative changes: how large the whole edit is."""
        return math.sqrt(sum(c.relative**2 for c in self.changes) / max(1, len(self.changes)))


class CandidateBuilder:
    """Holds the factors that every strength shares, so that one more candidate costs little.

    Args:
        base: The registered weights, by name; never changed.
        maps: The linear maps to edit.
        retain: Spaces of the retained classes, in class order, for each map key.
        forget: Spaces of the forgotten classes, in class order, for each map key.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        maps: Sequence[LinearMap],
        retain: Mapping[str, Sequence[Space]],
        forget: Mapping[str, Sequence[Space]],
    ) -> None:
        self._base = base
        self._maps = maps
        self._ranks: dict[str, tuple[int, int]] = {}
        self._factors: dict[str, ProjectionFactors] = {}
        for m in maps:
            retained = stack(retain[m.key], retain_weights(retain[m.key]))
            forgotten = stack(forget[m.key], forget_weights(forget[m.key]))
            weight = base[m.parameter].flatten(1)[m.start : m.stop].float()
            self._factors[m.key] = ProjectionFactors(weight, retained, forgotten)
            self._ranks[m.key] = (retained.shape[1], forgotten.shape[1])

    def build(self, strength: Strength) -> Candidate:
        """Return the weights edited at one strength; untouched tensors are shared with the base."""
        state = dict(self._base)
        changes = []
        for m in self._maps:
            original = self._base[m.parameter]
            if state[m.parameter] is original:
                state[m.parameter] = original.clone()
            rows = state[m.parameter].flatten(1)[m.start : m.stop]
            delta = self._factors[m.key].delta(strength)
            # Before the rows are overwritten: of float32 weights, .float() is the same memory.
            norm = float(torch.linalg.norm(rows.float()))
            rows.copy_((rows.float() + delta).to(original.dtype))
            relative = float(torch.linalg.norm(delta)) / norm if norm else 0.0
            changes.append(MapChange(m.key, relative, *self._ranks[m.key]))
        return Candidate(strength, state, tuple(changes))
