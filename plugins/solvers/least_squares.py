"""Solver ``least-squares``: the closest weights with the old outputs on retained and none on forgotten inputs."""

from collections.abc import Sequence

from torch import Tensor

from ledger.algebra.least_squares import least_squares_delta
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.hookspecs import Solver, hookimpl


class LeastSquaresSolver:
    """``W <- W (alpha_r C_R + I) (alpha_r C_R + alpha_f C_F + I)^-1``."""

    name = "least-squares"
    batched = True

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        """Return the change of one map's weight, or of several of one shape."""
        return least_squares_delta(factors, strength)


@hookimpl
def unledger_solvers() -> Sequence[Solver]:
    """Offer least squares."""
    return (LeastSquaresSolver(),)
