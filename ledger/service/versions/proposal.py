"""What a computation hands to a commit."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.domain.class_spaces import BasisTerm
from ledger.domain.command_lines import command
from ledger.domain.evidence import Evidence, WeightsEvidence
from ledger.domain.missed_gates import MissedGate
from ledger.domain.recipe import VersionRecipe
from ledger.domain.settings import Settings
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
    missed_gates: tuple[MissedGate, ...]
    """Why a person has to decide; empty if all gates passed."""
    anchor: int = 0
    """The version that it was computed from."""
    gates: str | None = None
    """Digest of the gates that it had to pass; None where none were asked but those of the computation."""
    measured: tuple[Evidence, ...] = ()
    """What was measured of it and is to be recorded with the version."""
    evidence: WeightsEvidence | None = None
    """All evidence on the weights, that of earlier versions with the same bytes included; None where nobody measured.
    """

    def require_gates(self, action: Action, request_id: int, solvers: Sequence[str] = ()) -> None:
        """Raise :class:`GateError` if a gate was missed. Its hint has commands that can be pasted.

        Args:
            action: What a person can do again, another way or without the gates.
            request_id: The request that it is done to.
            solvers: Names of solvers that the model knows; those of the default settings are named too.
        """
        if not self.missed_gates:
            return
        again = ["request", action.value, request_id]
        tried = {self.recipe.solver, *(self.recipe.named_solvers or ())}
        other = next((solver for solver in (*solvers, *Settings().solvers) if solver not in tried), None)
        ways = [] if other is None else [f"compute it by another solver: {command(*again, '--solver', other)}"]
        ways.append(f"accept it as it is, and say why: {command(*again, '--waive', 'REASON')}")
        raise GateError(
            "; ".join(missed.told for missed in self.missed_gates),
            "; or ".join(ways),
            missed=tuple(missed.gate for missed in self.missed_gates),
            gates=self.gates,
        )
