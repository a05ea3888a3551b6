"""Linear maps that are computed together: the groups of a convolution, which may be thousands in one network."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from ledger.domain.linear_map import LinearMap, WeightForm

LARGEST_GROUPED_WIDTH = 128
"""Most inputs of a map that joins a group: up to here a packed Gram matrix is no larger than a factor of rank 64."""


@dataclass(frozen=True)
class MapGroup:
    """Linear maps of one parameter and one shape, computed together; or a single map.

    Tensors of several maps are stacked, with a leading dimension: (g, ...). Those of a single map have none.
    """

    key: str
    """Unique in the model: the parameter's name, or the key of the only map."""
    maps: tuple[LinearMap, ...]

    @property
    def stacked(self) -> bool:
        """Whether it holds several maps, whose tensors are stacked: (g, ...)."""
        return len(self.maps) > 1

    @property
    def size(self) -> int:
        """Number of maps ``g``."""
        return len(self.maps)

    @property
    def parameter(self) -> str:
        """Name of the weight."""
        return self.maps[0].parameter

    @property
    def width(self) -> int:
        """Number of inputs ``i`` of each map."""
        return self.maps[0].width

    @property
    def window(self) -> int | None:
        """Side of the square of one channel's pixels that the inputs of each map are; None if they are not."""
        return self.maps[0].window if self.stacked else None

    @property
    def form(self) -> WeightForm | None:
        """How the parameter holds them, if not simply row by row."""
        return self.maps[0].form

    @property
    def aliases(self) -> tuple[tuple[str, str], ...]:
        """Names of edited parameters, each with another under which the state dict holds it too."""
        return self.maps[0].aliases

    @property
    def start(self) -> int:
        """First row of the weight."""
        return self.maps[0].start

    @property
    def stop(self) -> int:
        """Row of the weight after the last."""
        return self.maps[-1].stop


def group_maps(maps: Sequence[LinearMap]) -> tuple[MapGroup, ...]:
    """Group a layer's maps, in their order.

    Several maps form one group if their handler marks them as grouped, they are all the maps of their parameter, have
    the same shape with at most :data:`LARGEST_GROUPED_WIDTH` inputs, and follow each other without a gap. Every other
    map is a group of its own.
    """
    found: list[MapGroup] = []
    for parameter, same in groupby(maps, key=lambda m: m.parameter):
        members = tuple(same)
        alone = sum(m.parameter == parameter for m in maps) == len(members)
        if alone and _alike(members):
            found.append(MapGroup(parameter, members))
        else:
            found += [MapGroup(m.key, (m,)) for m in members]
    return tuple(found)


def _alike(maps: Sequence[LinearMap]) -> bool:
    shapes = {(m.width, m.stop - m.start) for m in maps}
    adjacent = all(before.stop == after.start for before, after in pairwise(maps))
    groups = len(maps) > 1 and all(m.grouped for m in maps)
    return groups and len(shapes) == 1 and maps[0].width <= LARGEST_GROUPED_WIDTH and adjacent
