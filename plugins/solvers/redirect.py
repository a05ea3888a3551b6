"""Solver ``redirect``: forgotten classes are answered as a network answers that never saw them."""

from collections.abc import Sequence

from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.redirect import redirect_delta
from ledger.algebra.strength import Strength
from ledger.hookspecs import Solver, hookimpl


class RedirectSolver:
    """``W <- W - W D (Q^T D + N)^-1 Q^T`` with ``Q = (C_R + b I)^-1 D``."""

    name = "redirect"
    batched = True
    needs_means = True
    strengths = ((100.0, 1.0), (100.0, 10.0), (100.0, 100.0), (100.0, 1000.0))

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        """Return the change of one map's weight, or of several of one shape."""
        return redirect_delta(factors, strength)


@hookimpl
def unledger_solvers() -> Sequence[Solver]:
    """Offer the redirection."""
    return (RedirectSolver(),)
