"""What a computation hands to a commit."""

from dataclasses import dataclass

from ledger.domain.class_spaces import BasisTerm
from ledger.domain.command_lines import command
from ledger.domain.recipe import VersionRecipe
from ledger.domain.states import Action
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

    def require_gates(self, action: Action, request_id: int) -> None:
        """Raise :class:`GateError` if a gate was missed.

        Args:
            action: What a person can do again without the gates.
            request_id: The request that it is done to.
        """
        if self.missed_gates:
            again = command("request", action.value, request_id, "--waive-gates")
            raise GateError("; ".join(self.missed_gates), f"accept it with: {again}")
