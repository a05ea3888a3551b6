"""Solver ``projection``: the paper's method. It removes what the forget space holds and the retain space does not."""

from collections.abc import Sequence

from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.projection import projection_delta
from ledger.algebra.strength import Strength
from ledger.hookspecs import Solver, hookimpl


class ProjectionSolver:
    """``W <- W - W (I - P_retain) P_forget``."""

    name = "projection"
    batched = True

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        """Return the change of one map's weight, or of several of one shape."""
        return projection_delta(factors, strength)


@hookimpl
def unledger_solvers() -> Sequence[Solver]:
    """Offer the activation projection."""
    return (ProjectionSolver(),)
