"""Spaces of many narrow maps at once: the groups of a convolution, ``g`` of them, in batched tensors.

A depthwise convolution of a thousand channels is a thousand maps of 9 or 49 inputs. One by one, each would need an
accumulator, an eigenproblem and a stored tensor. Instead, a class space keeps the second moment ``G / tr(G)`` of every
group, in one of the :mod:`~ledger.algebra.moment_forms`, and the mean row. No class needs an eigenproblem, and spaces
of several classes are added entry by entry. Only the sum over all classes of a role is decomposed, once for a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .eigen import symmetric_eigen
from .moment_forms import MomentForm, Triangle, form_of

CHUNK_ROWS = 1024
"""Rows of each group that are multiplied in single precision before the products are added in double precision."""
HALF_PRECISION_ROUNDING = 2.0**-11
"""Relative rounding error of half precision. It bounds the error of a stored ``G / tr(G)``: its Frobenius norm is at
most 1."""


@dataclass(frozen=True)
class GroupedSpace:
    """Second moments of a class's (or several classes') input rows at every group of a layer, each of trace 1."""

    packed: Tensor
    """(g, m): what its form keeps of ``width * G / tr(G)``, whose mean diagonal is 1."""
    width: int
    """Number of inputs ``i`` of each group."""
    rows: int
    """Number of input rows seen by each group."""
    trace: Tensor
    """float64 (g,): ``tr(G)`` before normalisation; 0 where all rows were zero."""
    classes: int = 1
    """Number of classes it is the mean of."""
    mean: Tensor | None = None
    """float32 (g, i): each group's mean row; None where it is not known, as in ``spaces.Space``."""

    @property
    def groups(self) -> int:
        """Number of groups ``g``."""
        return self.packed.shape[0]

    def to(self, device: torch.device) -> "GroupedSpace":
        """Return the same space on a device."""
        mean = None if self.mean is None else self.mean.to(device)
        return replace(self, packed=self.packed.to(device), trace=self.trace.to(device), mean=mean)

    def moments(self) -> Tensor:
        """Return ``G / tr(G)``, float64 (g, i, i), as far as its form keeps it."""
        return self.form.moments(self.packed.double() / self.width)

    @property
    def form(self) -> MomentForm:
        """What is kept of the moments."""
        return form_of(self.width, self.packed.shape[1])

    def kept_in(self, form: MomentForm) -> "GroupedSpace":
        """Return the same space in another form, which may keep less."""
        if form == self.form:
            return self
        return replace(self, packed=form.of_moments(self.form.moments(self.packed.double())).float())

    @classmethod
    def of(cls, moments: Tensor, rows: int, trace: Tensor | None = None, mean: Tensor | None = None) -> "GroupedSpace":
        """Return the space of second moments ``G`` (g, i, i), not yet normalised, as whole triangles.

        Args:
            moments: Symmetric; only the lower triangles are read.
            rows: Number of rows they are made of.
            trace: float64 (g,), what they are normalised by; if not given, their own traces.
            mean: (g, i), the mean rows.
        """
        form = Triangle(moments.shape[-1])
        return cls.of_entries(form, form.of_moments(moments), rows, trace, mean)

    @classmethod
    def of_entries(
        cls, form: MomentForm, entries: Tensor, rows: int, trace: Tensor | None = None, mean: Tensor | None = None
    ) -> "GroupedSpace":
        """Return the space of second moments of which a form keeps ``entries`` (g, m); else as :meth:`of`."""
        if trace is None:
            trace = form.trace(entries).double()
        scale = torch.where(trace > 0, form.width / trace.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
        return cls((entries * scale[:, None]).float(), form.width, rows, trace, mean=mean)


class GroupedAccumulator:
    """Accumulate ``G = sum x x^T`` (uncentred) and ``sum x`` of every group over rows that arrive in batches.

    Products and sums of up to ``CHUNK_ROWS`` rows are formed in single precision, and added up in double: what that
    rounds off, some 1e-7 of the energy, is far below the half precision in which spaces are stored.

    Args:
        groups: Number of groups ``g``.
        width: Number of inputs ``i`` of each.
        form: What is kept of the moments; if not given, all.
    """

    def __init__(self, groups: int, width: int, form: MomentForm | None = None) -> None:
        self.groups = groups
        self.width = width
        self.rows = 0
        self._form = form or Triangle(width)
        self._entries: Tensor | None = None
        self._sum: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Fold in finite input rows, float32 (g, n, i)."""
        self.rows += rows.shape[1]
        for chunk in torch.split(rows, CHUNK_ROWS, dim=1):
            entries = self._form.of_rows(chunk).double()
            self._entries = entries if self._entries is None else self._entries.add_(entries)
            total = _sum_of_rows(chunk).double()
            self._sum = total if self._sum is None else self._sum.add_(total)

    def space(self) -> GroupedSpace:
        """Return the accumulated rows' space."""
        if self._entries is None or self._sum is None:
            mean = torch.zeros(self.groups, self.width)
            nothing = torch.zeros(self.groups, self._form.entries, dtype=torch.float64)
            return GroupedSpace.of_entries(self._form, nothing, 0, mean=mean)
        mean = (self._sum / max(1, self.rows)).float()
        return GroupedSpace.of_entries(self._form, self._entries, self.rows, mean=mean)


def _sum_of_rows(rows: Tensor) -> Tensor:
    """Return the sum of rows (g, n, i) of each group, (g, i)."""
    # Rows of a depthwise convolution lie in memory with the groups last. Read in another order, they take fifty times
    # as long.
    return rows.permute(1, 2, 0).sum(0).T if rows.stride(0) == 1 else rows.sum(1)


def grouped_retain_weights(spaces: Sequence[GroupedSpace]) -> list[Tensor]:
    """Weight retained classes by their energy in each group, float64 (g,) each, as ``spaces.retain_weights`` does."""
    total = torch.stack([space.trace for space in spaces]).sum(0)
    safe = total.clamp_min(torch.finfo(torch.float64).tiny)
    return [torch.where(total > 0, space.trace / safe, 0.0) for space in spaces]


def grouped_forget_weights(spaces: Sequence[GroupedSpace]) -> list[Tensor]:
    """Weight forgotten classes equally, float64 (g,) each, as ``spaces.forget_weights`` does."""
    classes = sum(space.classes for space in spaces)
    return [torch.full_like(space.trace, space.classes / classes) for space in spaces]


def grouped_mean(spaces: Sequence[GroupedSpace], weights: Sequence[Tensor]) -> GroupedSpace:
    """Return the weighted sum of spaces as one, in the order given.

    Args:
        spaces: At least one, all of the same groups and width.
        weights: float64 (g,) for each space; they sum to 1, or to 0 where no space has energy.
    """
    packed = torch.zeros_like(spaces[0].packed, dtype=torch.float64)
    for space, weight in zip(spaces, weights, strict=True):
        packed.addcmul_(space.packed.double(), weight[:, None])
    return GroupedSpace(
        packed,
        spaces[0].width,
        sum(space.rows for space in spaces),
        torch.stack([space.trace for space in spaces]).sum(0),
        sum(space.classes for space in spaces),
    )


def grouped_stack(spaces: Sequence[GroupedSpace], weights: Sequence[Tensor]) -> Tensor:
    """Return factors ``F`` (g, i, i), float32, with ``F F^T`` the weighted sum of spaces, by one batched eigenproblem.

    Columns stand in falling order of energy. Rounding may leave an eigenvalue a little below zero; it counts as zero.
    """
    values, vectors = symmetric_eigen(grouped_mean(spaces, weights).moments())
    factor: Tensor = vectors.flip(2) * values.flip(1).clamp_min(0.0).sqrt()[:, None]
    return factor.float()
