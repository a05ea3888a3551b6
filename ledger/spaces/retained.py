"""What retained classes amount to at every map: a sum that a class can be added to, and taken away from, exactly.

Where the factors of all classes side by side would take more room than a matrix of whole numbers, the sum of their
second moments is kept (:mod:`~ledger.algebra.exact_sum`), else the factors themselves, in class order. Which of both
depends on the model alone. Mean rows are never summed: each class's are kept apart.

So everything is a function of the set of classes, to the last bit, however it was put together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ledger.algebra.exact_sum import ExactSum, GroupedExactSum, grouped_trace
from ledger.algebra.grouped import GroupedSpace
from ledger.algebra.moment_forms import MomentForm, Spectrum, form_of, moment_form
from ledger.algebra.spaces import Space
from ledger.algebra.summed_moments import SummedMoments
from ledger.errors import WeightsError
from ledger.networks.map_groups import MapGroup

from .statistics import ClassStatistics
from .stored_means import from_half, half_mean

CLASSES, WITH_MEANS = "classes", "with_means"
TRACES, ROWS, BANDS, MEANS, EXPONENTS, RANKS, FACTORS = (
    *("traces", "rows", "bands", "means", "exponents", "ranks", "factors"),
)


@dataclass(frozen=True)
class MapShape:
    """How the classes of a model are kept at one map, or group of maps."""

    key: str
    width: int
    """Number of inputs ``i``."""
    groups: int | None
    """Number of maps in the group ``g``; None for a single map."""
    summed: bool
    """Whether second moments are summed, and not factors kept."""
    window: int | None = None
    """Side of the square of one channel's pixels that the inputs of a group are; None if they are something else."""

    @property
    def form(self) -> MomentForm:
        """What is kept of the second moments."""
        return moment_form(self.width, self.window)

    @classmethod
    def of(cls, group: MapGroup, known_classes: int, max_rank: int) -> "MapShape":
        """Return the shape for a model.

        Args:
            group: The map, or group of maps.
            known_classes: Number of classes that the anchor version knows.
            max_rank: Largest rank of a class space.
        """
        # A column takes two bytes an input, and half a matrix of 64-bit integers four bytes an input and input.
        summed = group.stacked or known_classes * min(max_rank, group.width) > 2 * group.width
        return cls(group.key, group.width, group.size if group.stacked else None, summed, group.window)


class RetainedMap:
    """What classes amount to at one map, or group of maps.

    Args:
        shape: How they are kept.
    """

    def __init__(self, shape: MapShape) -> None:
        self.shape = shape
        self._traces: dict[int, float] = {}
        self._rows: dict[int, int] = {}
        self._means: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._factors: dict[int, Tensor] = {}
        self._sum = self._empty_sum({})

    def _empty_sum(self, bands: Mapping[int, Tensor]) -> ExactSum | GroupedExactSum:
        if self.shape.groups is None:
            return ExactSum(self.shape.width, bands)
        return GroupedExactSum(self.shape.groups, self.shape.width, bands)

    def add(self, class_index: int, space: Space | GroupedSpace, *, with_mean: bool) -> None:
        """Add a class; its mean row only where the basis has a column for it."""
        trace = grouped_trace(space) if isinstance(space, GroupedSpace) else space.trace
        self._traces[class_index], self._rows[class_index] = trace, space.rows
        self._fold(class_index, space, 1)
        if with_mean and space.mean is not None:
            self._means[class_index] = _stored_mean(space)

    def remove(self, class_index: int, space: Space | GroupedSpace) -> None:
        """Take away a class that was added with just this space."""
        del self._traces[class_index], self._rows[class_index]
        self._means.pop(class_index, None)
        self._factors.pop(class_index, None)
        self._fold(class_index, space, -1)

    def _fold(self, class_index: int, space: Space | GroupedSpace, sign: int) -> None:
        if isinstance(space, GroupedSpace):
            if isinstance(self._sum, GroupedExactSum):
                self._sum.add(space, sign)
        elif not self.shape.summed:
            if sign > 0:
                self._factors[class_index] = space.factor.half()
        elif isinstance(self._sum, ExactSum):
            self._sum.add(space, sign)

    @property
    def tensor_bytes(self) -> int:
        """About how many bytes :meth:`tensors` has."""
        shape = self.shape
        whole = (shape.groups or 1) * shape.form.entries * 8 * self._sum.bands_in(self._traces)
        factors = sum(2 * factor.numel() for factor in self._factors.values())
        means = sum(2 * stored.numel() for stored, _ in self._means.values())
        return whole + factors + means

    def spaces(self, device: torch.device) -> Sequence[Space] | SummedMoments:
        """Return the sum, or spaces in class order whose weighted sum it is."""
        if self.shape.summed:
            return self._sum.moments(self._traces, device)
        return [Space(self._factors[k].to(device), self._rows[k], self._traces[k], 0.0) for k in sorted(self._factors)]

    def means(self, device: torch.device) -> Tensor:
        """Return the mean row of each class that has one, in class order.

        Returns:
            float32 (i, classes), or (g, i, classes) of a group.
        """
        found = []
        for k in sorted(self._means):
            stored, exponents = self._means[k]
            if exponents is None:
                found.append(from_half(Space(torch.zeros(0, 0), self._rows[k], self._traces[k], 0.0), stored))
            else:
                found.append(torch.ldexp(stored.float(), exponents[:, None].int()))
        shape = (self.shape.width,) if self.shape.groups is None else (self.shape.groups, self.shape.width)
        return torch.stack(found, dim=-1).to(device) if found else torch.zeros(*shape, 0, device=device)

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as tensors by name; equal sets of classes give equal bytes."""
        classes = sorted(self._traces)
        found = {
            TRACES: torch.tensor([self._traces[k] for k in classes], dtype=torch.float64),
            ROWS: torch.tensor([self._rows[k] for k in classes], dtype=torch.int64),
        }
        if self.shape.summed:
            bands = self._sum.bands(self._traces)
            found[BANDS] = torch.tensor(list(bands), dtype=torch.int64)
            found |= {f"{BANDS}.{band}": whole for band, whole in bands.items()}
        else:
            found[RANKS] = torch.tensor([self._factors[k].shape[1] for k in classes], dtype=torch.int64)
            found[FACTORS] = torch.cat([self._factors[k] for k in classes], dim=1)
        means = [self._means[k] for k in sorted(self._means)]
        if means:
            found[MEANS] = torch.stack([stored for stored, _ in means])
            exponents = [one for _, one in means if one is not None]
            if exponents:
                found[EXPONENTS] = torch.stack(exponents)
        return found

    @classmethod
    def of(cls, shape: MapShape, tensors: Mapping[str, Tensor], part: "PartHead") -> "RetainedMap":
        """Return what :meth:`tensors` made the tensors of.

        Raises:
            LookupError, ValueError, RuntimeError: It is something else.
        """
        found = cls(shape)
        found._traces = dict(zip(part.classes, tensors[TRACES].tolist(), strict=True))
        found._rows = dict(zip(part.classes, tensors[ROWS].tolist(), strict=True))
        if shape.summed:
            found._sum = found._empty_sum({band: tensors[f"{BANDS}.{band}"] for band in tensors[BANDS].tolist()})
        else:
            factors = torch.split(tensors[FACTORS], tensors[RANKS].tolist(), dim=1)
            found._factors = dict(zip(part.classes, factors, strict=True))
        if part.with_means:
            exponents = tensors[EXPONENTS].unbind() if shape.groups is not None else [None] * len(part.with_means)
            means = zip(tensors[MEANS].unbind(), exponents, strict=True)
            found._means = dict(zip(part.with_means, means, strict=True))
        return found


@dataclass(frozen=True)
class PartHead:
    """Which classes a stored part holds."""

    classes: tuple[int, ...]
    with_means: tuple[int, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Return it as tensors by name."""
        return {
            CLASSES: torch.tensor(self.classes, dtype=torch.int64),
            WITH_MEANS: torch.tensor(self.with_means, dtype=torch.int64),
        }

    def changed(self, removed: Iterable[int], added: Mapping[int, bool]) -> "PartHead":
        """Return the head without some classes and with others; of each of these, whether it has means."""
        gone = set(removed)
        with_means = {*self.with_means} - gone | {k for k, known in added.items() if known}
        return PartHead(tuple(sorted({*self.classes} - gone | {*added})), tuple(sorted(with_means)))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "PartHead":
        """Return what :meth:`tensors` made the tensors of."""
        return cls(tuple(tensors[CLASSES].tolist()), tuple(tensors[WITH_MEANS].tolist()))


class MeanRows(Protocol):
    """Mean rows of classes, at every map."""

    @property
    def class_indices(self) -> Sequence[int]:
        """The classes that :meth:`means` has a column for, ascending."""
        ...

    def means(self, key: str) -> Tensor:
        """Return the mean row of each class at one map, or group of maps, a column for each."""
        ...


class RetainedClasses(MeanRows, Protocol):
    """What a computation needs of the retained classes."""

    def spaces(self, key: str) -> Sequence[Space] | SummedMoments:
        """Return what the classes amount to at one map, or group of maps."""
        ...


class RetainBasis:
    """Gathers retained classes at all maps, in bounded memory, in any order.

    Args:
        shapes: The maps, and groups of maps, to gather; others are dropped.
        device: Where sums are returned.
    """

    def __init__(self, shapes: Iterable[MapShape], device: torch.device) -> None:
        self.maps = {shape.key: RetainedMap(shape) for shape in shapes}
        self._device = device
        self._classes: set[int] = set()
        self._with_means: set[int] = set()

    def add(self, class_index: int, statistics: ClassStatistics) -> None:
        """Add one class; the spaces of every key of the basis must be there."""
        with_mean = has_means(statistics, self.maps)
        self._classes.add(class_index)
        if with_mean:
            self._with_means.add(class_index)
        for key, one in self.maps.items():
            one.add(class_index, statistics.spaces[key], with_mean=with_mean)

    @property
    def head(self) -> PartHead:
        """Which classes were added."""
        return PartHead(tuple(sorted(self._classes)), tuple(sorted(self._with_means)))

    @property
    def class_indices(self) -> Sequence[int]:
        """The classes that :meth:`means` has a column for.

        A class whose statistics were stored by an earlier release, without them, has none: where its images are gone,
        they cannot be collected any more.
        """
        return self.head.with_means

    def spaces(self, key: str) -> Sequence[Space] | SummedMoments:
        """Return what the classes amount to at one map, or group of maps."""
        return self.maps[key].spaces(self._device)

    def means(self, key: str) -> Tensor:
        """Return the mean row of each class of :attr:`class_indices`: float32 (i, classes), or (g, i, classes)."""
        return self.maps[key].means(self._device)


@dataclass(frozen=True)
class Changes:
    """What is to be taken away from a kept sum, and added to it, by class index."""

    removed: Mapping[int, ClassStatistics]
    added: Mapping[int, ClassStatistics]
    with_means: Sequence[int]
    """The classes that have means once it is changed, ascending."""

    def apply(self, one: RetainedMap) -> RetainedMap:
        """Change one map, and return it."""
        for k, statistics in self.removed.items():
            one.remove(k, statistics.spaces[one.shape.key])
        for k, statistics in self.added.items():
            one.add(k, statistics.spaces[one.shape.key], with_mean=k in self.with_means)
        return one


class ChangedBasis:
    """The retained classes of a kept sum, and what changed since. Maps are read when they are asked for.

    Args:
        load: Reads one map of the kept sum, anew each time.
        changes: The difference.
        device: Where sums are returned.
    """

    def __init__(self, load: Callable[[str], RetainedMap], changes: Changes, device: torch.device) -> None:
        self._load = load
        self._changes = changes
        self._device = device
        self._last: RetainedMap | None = None

    @property
    def class_indices(self) -> Sequence[int]:
        """The classes that :meth:`means` has a column for, ascending."""
        return self._changes.with_means

    def spaces(self, key: str) -> Sequence[Space] | SummedMoments:
        """Return what the classes amount to at one map, or group of maps."""
        return self.changed(key).spaces(self._device)

    def means(self, key: str) -> Tensor:
        """Return the mean row of each class at one map, or group of maps, a column for each."""
        return self.changed(key).means(self._device)

    def changed(self, key: str) -> RetainedMap:
        """Return one map, changed."""
        if self._last is None or self._last.shape.key != key:
            self._last = self._changes.apply(self._load(key))
        return self._last


def has_means(statistics: ClassStatistics, keys: Iterable[str]) -> bool:
    """Whether a class has a mean row at all of these maps, and a prediction."""
    return statistics.prediction is not None and all(statistics.spaces[key].mean is not None for key in keys)


def part_tensors(head: PartHead, maps: Iterable[RetainedMap]) -> dict[str, Tensor]:
    """Return some maps, as tensors by name."""
    found = head.tensors()
    for place, one in enumerate(maps):
        found |= {f"{place}.{name}": tensor for name, tensor in one.tensors().items()}
    return found


def shapes_of_part(tensors: Mapping[str, Tensor], groups: Sequence[MapGroup]) -> list[MapShape]:
    """Return how classes are kept at the maps of a stored part, as it says itself.

    Args:
        tensors: The part's, by name.
        groups: Its maps, and groups of maps, in order.
    """
    return [
        MapShape(
            group.key,
            group.width,
            group.size if group.stacked else None,
            f"{place}.{BANDS}" in tensors,
            _window(tensors, place, group),
        )
        for place, group in enumerate(groups)
    ]


def _window(tensors: Mapping[str, Tensor], place: int, group: MapGroup) -> int | None:
    """Return the side of the windows of a group whose sum is one of spectra."""
    for band in tensors.get(f"{place}.{BANDS}", torch.zeros(0)).tolist() if group.stacked else ():
        # The last column is the energy.
        form = form_of(group.width, tensors[f"{place}.{BANDS}.{band}"].shape[1] - 1)
        if isinstance(form, Spectrum):
            return form.side
    return None


def read_part(tensors: Mapping[str, Tensor], shapes: Sequence[MapShape], place: int) -> RetainedMap:
    """Return the map at a place of a stored part.

    Args:
        tensors: The part's, by name.
        shapes: Of its maps, in order.
        place: Which of them.

    Raises:
        WeightsError: The part does not hold what it should.
    """
    own = {name.removeprefix(f"{place}."): tensor for name, tensor in tensors.items() if name.startswith(f"{place}.")}
    try:
        return RetainedMap.of(shapes[place], own, PartHead.of(tensors))
    except (LookupError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the kept sum of {shapes[place].key} cannot be read: {error}") from error


def _stored_mean(space: Space | GroupedSpace) -> tuple[Tensor, Tensor | None]:
    """Return a mean row in half precision: as class spaces store it, or by powers of two for each group (g,)."""
    assert space.mean is not None
    if isinstance(space, Space):
        return half_mean(space, space.mean), None
    _, exponents = torch.frexp(space.mean.abs().amax(1))
    return torch.ldexp(space.mean, -exponents[:, None]).half(), exponents.to(torch.int16)
