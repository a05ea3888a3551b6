"""What a computation hands to a commit, and who computes: known without torch.

The queue, the commit and the rollback deal in digests. Whatever computes weights can stand behind :data:`OpenModel`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.domain.records import BasisTerm
from ledger.errors import GateError

from .ledger import Ledger
from .progress import Progress


@dataclass(frozen=True)
class Proposal:
    """New weights for a forgotten set, stored but not yet anybody's version."""

    forgotten: frozenset[int]
    weights: str
    """Digest of the stored weights."""
    size: int
    """Their bytes."""
    recipe: dict[str, Any]
    terms: tuple[BasisTerm, ...]
    missed_gates: tuple[str, ...]
    """Why a person has to decide, one sentence each; empty if all gates passed."""
    anchor: int = 0
    """The version that it was computed from."""

    def require_gates(self) -> None:
        """Raise :class:`GateError` if a gate was missed."""
        if self.missed_gates:
            raise GateError("; ".join(self.missed_gates), "accept it with: unledger request retry ID --waive-gates")


Compute = Callable[[frozenset[int], Progress], Proposal]
"""Computes and stores the weights that have forgotten a set of classes."""
OpenModel = Callable[[Ledger, str], Compute]
"""Lays a model out for computation, by name."""


def open_unlearning(ledger: Ledger, model_name: str) -> Compute:
    """Compute by projection, as this package exists to do."""
    # Imported here: torch takes seconds, and a worker without work does without.
    from .unlearning import propose
    from .workbench import open_workbench

    workbench = open_workbench(ledger, model_name)
    return lambda forgotten, progress: propose(workbench, forgotten, progress)
