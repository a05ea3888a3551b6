"""Sums of the second moments of many classes at one map, in whole numbers: in any order they are the same to the bit.

Each class contributes ``G_c = t F F^T``, with its factor ``F`` (i, r) of trace 1 and its energy ``t``, its trace. Let
``sqrt(t) = m 2^e`` with ``1/2 <= m < 1``. Classes whose ``e`` falls into the same *band*, ``BAND`` values wide, share
one matrix of 64-bit integers; usually there are one or two bands. Within a band, which begins at ``e_0``, the entries
of ``sqrt(t) F`` are rounded to multiples of ``2^(e_0 - GRID)``, so their products are whole numbers of a unit that the
band alone decides, and exact in double precision as long as their sums stay below ``2^53``.

Whole numbers add up without rounding: classes can be added in any order, on any number of threads or machines, and one
that was added can be taken away again as if it had never been there. A sum is a function of the set of its classes.

Entries of ``F`` are rounded by at most ``2^-19`` (a class at the lower end of its band), on average by a tenth of that.
The half precision in which they are stored rounds by ``2^-12`` of an entry.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .grouped import GroupedSpace
from .moment_forms import form_of
from .spaces import Space
from .summed_moments import SummedMoments

GRID = 19
"""Fractional bits of a factor's entries, of a class with the energy 1."""
BAND = 5
"""Octaves of root energy that share a matrix. A class adds less than ``4^(GRID + BAND - 1)``, or ``2^46``, to an entry:
sixty thousand classes fit into 63 bits."""
COLUMNS_AT_ONCE = 1024
"""Columns that are gathered before they are multiplied: enough for full speed."""
CLASSES_AT_ONCE = 64
"""Classes that are multiplied together: no entry of their product reaches ``2^53``."""
BLOCKS = 8
"""Blocks of rows: of each, only the part up to the diagonal is computed."""
GROUPED_GRID = 38
"""The same for groups, whose classes are added entry by entry: bits of an entry of a class whose groups together have
the energy 1."""
GROUPED_BAND = 11
"""Octaves of energy that share the matrices of groups; four thousand classes fit into 63 bits."""


class ExactSum:
    """The sum of the spaces of classes at one map.

    Of each matrix, ``BLOCKS`` blocks of rows are kept, each up to its last diagonal entry: the part below the diagonal,
    and a little more, without an index for every entry.

    Args:
        width: Number of inputs ``i``.
        bands: A sum as :meth:`bands` returned it.
    """

    def __init__(self, width: int, bands: Mapping[int, Tensor] | None = None) -> None:
        self.width = width
        self._bands = {band: whole.clone() for band, whole in (bands or {}).items()}
        self._waiting: dict[tuple[int, int], list[Tensor]] = {}

    def add(self, space: Space, sign: int = 1) -> None:
        """Add a class, or take away one that was added (``sign`` -1)."""
        if space.trace == 0.0:
            return
        band, scale = _place(space.trace)
        columns = (space.factor.double() * scale).round_()
        waiting = self._waiting.setdefault((band, sign), [])
        waiting.append(columns)
        if len(waiting) == CLASSES_AT_ONCE or sum(one.shape[1] for one in waiting) >= COLUMNS_AT_ONCE:
            self._flush(band, sign)

    def bands(self, traces: Mapping[int, float]) -> dict[int, Tensor]:
        """Return the blocks of each band, int64, one after the other, each row by row.

        Args:
            traces: Energy of each class that is in the sum.
        """
        for band, sign in list(self._waiting):
            self._flush(band, sign)
        wanted = {_place(trace)[0] for trace in traces.values() if trace > 0.0}
        return {band: self._bands[band].cpu() for band in sorted(wanted)}

    @staticmethod
    def bands_in(traces: Mapping[int, float]) -> int:
        """Return how many bands classes of these energies have."""
        return len({_place(trace)[0] for trace in traces.values() if trace > 0.0})

    def moments(self, traces: Mapping[int, float], device: torch.device) -> SummedMoments:
        """Return the retain space: the sum over the energy of all classes.

        Args:
            traces: Energy of each class that is in the sum.
            device: Where to compute with it.
        """
        total = math.fsum(traces.values())
        bands = self.bands(traces)

        def lower() -> Tensor:
            matrix = torch.zeros(self.width, self.width, dtype=torch.float64, device=device)
            for band, whole in bands.items():
                unit = 4.0 ** (BAND * band - GRID) / total
                for start, stop, block in _blocks(whole.to(device), self.width):
                    matrix[start:stop, :stop] += block.double() * unit
            return matrix

        return SummedMoments(self.width, lower)

    def _flush(self, band: int, sign: int) -> None:
        columns = torch.cat(self._waiting.pop((band, sign)), dim=1)
        if band not in self._bands:
            size = sum((stop - start) * stop for start, stop in _rows_of_blocks(self.width))
            self._bands[band] = torch.zeros(size, dtype=torch.int64, device=columns.device)
        for start, stop, block in _blocks(self._bands[band], self.width):
            block.add_((columns[start:stop] @ columns[:stop].T).long(), alpha=sign)


class GroupedExactSum:
    """The sum of the spaces of classes at all groups of a layer.

    Args:
        groups: Number of groups ``g``.
        width: Number of inputs ``i`` of each.
        bands: int64 (g, m + 1): the entries of the classes' form and, last, the energy, as :meth:`bands` returned them.
    """

    def __init__(self, groups: int, width: int, bands: Mapping[int, Tensor] | None = None) -> None:
        self.groups = groups
        self.width = width
        self._bands = {band: whole.clone() for band, whole in (bands or {}).items()}

    def add(self, space: GroupedSpace, sign: int = 1) -> None:
        """Add a class, or take away one that was added (``sign`` -1)."""
        trace = grouped_trace(space)
        if trace == 0.0:
            return
        band, scale = _grouped_place(trace)
        energy = space.trace.double() * scale
        whole = torch.cat([space.packed.double() * (energy / self.width)[:, None], energy[:, None]], dim=1).round_()
        if band not in self._bands:
            self._bands[band] = torch.zeros(whole.shape, dtype=torch.int64, device=whole.device)
        self._bands[band] += whole.long() if sign > 0 else -whole.long()

    def bands(self, traces: Mapping[int, float]) -> dict[int, Tensor]:
        """Return the matrix of each band, int64 (g, m + 1).

        Args:
            traces: Energy of each class that is in the sum, all groups together.
        """
        wanted = {_grouped_place(trace)[0] for trace in traces.values() if trace > 0.0}
        return {band: self._bands[band].cpu() for band in sorted(wanted)}

    @staticmethod
    def bands_in(traces: Mapping[int, float]) -> int:
        """Return how many bands classes of these energies have."""
        return len({_grouped_place(trace)[0] for trace in traces.values() if trace > 0.0})

    def moments(self, traces: Mapping[int, float], device: torch.device) -> SummedMoments:
        """Return the retain space of each group, of trace 1 where there is energy; see :meth:`ExactSum.moments`."""
        bands = self.bands(traces)

        def matrix() -> Tensor:
            if not bands:
                return torch.zeros(self.groups, self.width, self.width, dtype=torch.float64, device=device)
            packed = torch.zeros(next(iter(bands.values())).shape, dtype=torch.float64, device=device)
            for band, whole in bands.items():
                packed += whole.to(device).double() * 2.0 ** (GROUPED_BAND * band - GROUPED_GRID)
            energy = packed[:, -1:]
            tiny = torch.finfo(torch.float64).tiny
            shares = torch.where(energy > 0, packed[:, :-1] / energy.clamp_min(tiny), 0.0)
            return form_of(self.width, shares.shape[1]).moments(shares)

        return SummedMoments(self.width, matrix, self.groups)


def _rows_of_blocks(width: int) -> list[tuple[int, int]]:
    """Return the first row of each block, and the one after its last."""
    step = -(-width // BLOCKS)
    return [(start, min(start + step, width)) for start in range(0, width, step)]


def _blocks(whole: Tensor, width: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each block of a matrix with its rows: a view (stop - start, stop) of what is kept of it."""
    at = 0
    for start, stop in _rows_of_blocks(width):
        size = (stop - start) * stop
        yield start, stop, whole[at : at + size].view(stop - start, stop)
        at += size


def grouped_trace(space: GroupedSpace) -> float:
    """Return the energy of all groups together: rounded once, so that it does not depend on the order of the groups."""
    return math.fsum(space.trace.tolist())


def _place(trace: float) -> tuple[int, float]:
    """Return the band of a class with this energy, and what its factor is multiplied by there."""
    _, exponent = math.frexp(math.sqrt(trace))
    band = exponent // BAND
    return band, math.ldexp(math.sqrt(trace), GRID - BAND * band)


def _grouped_place(trace: float) -> tuple[int, float]:
    """Return the band of a class with this energy in all groups, and what energies are multiplied by there."""
    _, exponent = math.frexp(trace)
    band = exponent // GROUPED_BAND
    return band, math.ldexp(1.0, GROUPED_GRID - GROUPED_BAND * band)
