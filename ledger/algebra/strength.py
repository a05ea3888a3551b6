"""How strong an edit is: the two alphas of a solver, and how joint requests share them."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Strength:
    """How strongly the retain space is protected and the forget space removed."""

    alpha_r: float
    alpha_f: float
    classes: int = 1
    """Number of forgotten classes. The forget space is their mean, so each direction's share
    shrinks with their number; multiplying ``alpha_f`` by it gives the share back."""

    @property
    def effective_alpha_f(self) -> float:
        """The forget alpha that is applied to the mean of the forgotten classes' spaces."""
        return self.alpha_f * self.classes
