"""What a computation hands to a commit."""

from dataclasses import dataclass

from ledger.domain.class_spaces import BasisTerm
from ledger.domain.recipe import VersionRecipe
from ledger.errors import GateError


@dataclass(frozen=True)
class Proposal:
    """New weights for a forgotten set, stored but not yet anybody's version."""

    forgotten: frozenset[int]
    weights: str
    """Digest of the stored weights."""
    size: int
    """Their bytes."""
    recipe: VersionRecipe
    terms: tuple[BasisTerm, ...]
    missed_gates: tuple[str, ...]
    """Why a person has to decide, one sentence each; empty if all gates passed."""
    anchor: int = 0
    """The version that it was computed from."""

    def require_gates(self) -> None:
        """Raise :class:`GateError` if a gate was missed."""
        if self.missed_gates:
            raise GateError("; ".join(self.missed_gates), "accept it with: unledger request retry ID --waive-gates")
