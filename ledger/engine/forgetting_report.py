"""What forgetting did to a network, and what it measured of it on the images that it was given."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ledger.shown_tables import ShownAsTable, ShownTable


@dataclass(frozen=True)
class ForgottenClass:
    """A class that was forgotten, on its calibration images."""

    index: int
    images: int
    before: float
    """Share of them that the network recognised."""
    after: float
    """Share of them that it still recognises."""


@dataclass(frozen=True)
class TriedEdit:
    """An edit that the search measured."""

    solver: str
    depth: int
    alpha_r: float
    alpha_f: float
    forgotten: float
    """Highest accuracy of a forgotten class, over the images seen before it was judged."""
    passed: bool
    """Whether every forgotten class met the target on them."""
    retained: float | None
    """Mean probability of the true class on retained images; None if it was not needed."""


@dataclass(frozen=True)
class ForgettingReport(ShownAsTable):
    """How some classes were forgotten. Figures are shares of calibration images: training images, and few.

    Only a part of the images of forgotten classes is held out from what computed the edit. Measure on test images
    before you claim anything.
    """

    classes: tuple[ForgottenClass, ...]
    retained_before: float
    """Accuracy on the retained classes before."""
    retained_masked: float
    """The same of the network before, when it may not answer a forgotten class. Compare with this one."""
    retained_after: float
    """Accuracy on the retained classes after."""
    passed: bool
    """Whether both gates of the settings are met: each class forgotten, and little lost on the others."""
    solver: str
    depth: int
    """Number of layers edited, counted from the output."""
    layers: int
    """Number of layers that could be edited."""
    alpha_r: float
    alpha_f: float
    edit: float
    """Root mean square of the relative changes of the edited maps."""
    images: int
    """Images that were read from the loader and kept."""
    trials: tuple[TriedEdit, ...]
    """Every edit that was measured, in order."""

    @property
    def lost(self) -> float:
        """Loss of accuracy on the retained classes against the masked original, as a difference of shares."""
        return self.retained_masked - self.retained_after

    def table(self) -> ShownTable:
        """Return the accuracy of each forgotten class and of the others together, before and after."""
        rows: list[tuple[object, ...]] = [
            (f"class {one.index}", "forgotten", one.before, None, one.after) for one in self.classes
        ]
        rows.append(("all others", "retained", self.retained_before, self.retained_masked, self.retained_after))
        where = f"{self.solver}, the last {self.depth} of {self.layers} layers"
        return ShownTable(("class", "role", "before", "before, masked", "after"), rows, where)


class ForgottenWeights(NamedTuple):
    """Edited weights, and how they came about."""

    state: dict[str, Tensor]
    """Every tensor of the network, by name: for ``network.load_state_dict``."""
    report: ForgettingReport
