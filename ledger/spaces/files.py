"""Class statistics as stored bytes: one tensor for each map, a few for each group, and two for all maps together.

Under a map's key lies its factor ``F`` (i, r) in half precision. For a group there are ``KEY#moments``, half precision
(g, i * (i + 1) / 2), and ``KEY#trace``, float64 (g,), as :class:`~ledger.algebra.grouped.GroupedSpace` describes them;
of groups of windows, ``KEY#spectrum`` and ``KEY#couplings`` in place of the moments (:mod:`.stored_spectra`).

Mean rows are stored so that they take little beside that (``docs/adr/0006-class-spaces.md``). Those of single maps are
one tensor, ``#means``, half precision, in the order of the record; each is divided by the root mean squared length of
its rows, which the record knows, so that neither large nor small activations leave the range of half precision. Those
of a group are ``KEY#mean``, int8 or int16 (g, i), as a share of the root mean square of each input, or, beside a
spectrum, of the whole row; the moments know both, and no mean exceeds them. ``#prediction``, float32 (classes,), is the
class's mean masked prediction.

Of the class's j look-alike groups there are ``#look-alikes``, int64 (j,), with ``.shares``, float32 (j,), and
``.predictions``, float32 (classes, j), and what places them at every single map: ``#deviations``, half precision, the
matrices (r, j) of :attr:`~ledger.algebra.spaces.Space.deviations` one after the other, in the order of the record.

Earlier releases stored neither means nor predictions, and a factor for each group of a convolution, under ``KEY[0]``,
``KEY[1]`` and so on; these are read too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ledger.algebra.grouped import HALF_PRECISION_ROUNDING, GroupedSpace
from ledger.algebra.moment_forms import Spectrum, moment_form
from ledger.algebra.spaces import Space
from ledger.domain.class_spaces import NO_BOUND, MapSummary, NewClassSpace
from ledger.errors import UnsupportedLayerError
from ledger.networks.map_groups import MapGroup
from ledger.weights import tensor_files

from .look_alikes import LookAlikes
from .statistics import ClassStatistics, MapSpaces
from .stored_means import from_half, from_steps, half_mean, steps_of_mean
from .stored_spectra import codes_of, entries_of

MOMENTS, SPECTRUM, COUPLINGS, TRACE, MEAN = "#moments", "#spectrum", "#couplings", "#trace", "#mean"
MEANS, DEVIATIONS, PREDICTION = "#means", "#deviations", "#prediction"
GROUP_CLASSES, GROUP_SHARES, GROUP_PREDICTIONS = "#look-alikes", "#look-alikes.shares", "#look-alikes.predictions"


def serialise(statistics: ClassStatistics) -> bytes:
    """Return a class's statistics as bytes. Without a prediction they have no means either, as in earlier releases.

    Raises:
        UnsupportedLayerError: A parameter is called as a tensor of another one is stored.
    """
    tensors: list[tuple[str, Tensor]] = []
    means: list[Tensor] = []
    deviations: list[Tensor] = []
    for key, space in statistics.spaces.items():
        if isinstance(space, GroupedSpace):
            if isinstance(space.form, Spectrum):
                spectrum, couplings = codes_of(space.form, space.packed)
                stored = space
                tensors += [(key + SPECTRUM, spectrum), (key + COUPLINGS, couplings)]
            else:
                stored = replace(space, packed=space.packed.half())
                tensors.append((key + MOMENTS, stored.packed))
            tensors.append((key + TRACE, stored.trace))
            if space.mean is not None and statistics.prediction is not None:
                tensors.append((key + MEAN, steps_of_mean(stored, space.mean)))
        else:
            # Half precision: its rounding, 5e-4 of an entry, is far below what the rank cuts off.
            tensors.append((key, space.factor.half()))
            if space.mean is not None:
                means.append(half_mean(space, space.mean))
            if space.deviations is not None:
                deviations.append(space.deviations.half().flatten())
    if statistics.prediction is not None:
        tensors += [(MEANS, _joined(means)), (PREDICTION, statistics.prediction)]
    if (groups := statistics.look_alikes) is not None:
        tensors += [
            (DEVIATIONS, _joined(deviations)),
            (GROUP_CLASSES, groups.classes),
            (GROUP_SHARES, groups.shares),
            (GROUP_PREDICTIONS, groups.predictions),
        ]
    named = dict(tensors)
    if len(named) < len(tensors):
        raise UnsupportedLayerError(
            "two tensors of the class space would have one name", "rename the parameters whose names hold #"
        )
    return tensor_files.serialise(named)


def summaries(spaces: MapSpaces) -> tuple[MapSummary, ...]:
    """Return what the record of a class space says about each map."""
    return tuple(_summary(key, space) for key, space in spaces.items())


def covers(record: NewClassSpace, groups: Iterable[MapGroup]) -> bool:
    """Return whether a class space, stored by this release or an earlier one, holds all of these maps."""
    known = {m.key for m in record.maps}
    return all(group.key in known or known.issuperset(m.key for m in group.maps) for group in groups)


def parse(data: bytes, record: NewClassSpace, groups: Iterable[MapGroup]) -> ClassStatistics:
    """Return a class's statistics from their bytes and record, stored by this release or an earlier one.

    Raises:
        WeightsError: Not a well-formed safetensors file.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    tensors = tensor_files.parse(data, f"the class space of class {record.class_index}")
    known = {m.key: m for m in record.maps}
    means = _means_of_single_maps(tensors, record)
    spaces = {group.key: _space(group, tensors, known, means) for group in groups}
    if GROUP_CLASSES not in tensors:
        return ClassStatistics(spaces, tensors.get(PREDICTION))
    found = LookAlikes(tensors[GROUP_CLASSES], tensors[GROUP_SHARES], tensors[GROUP_PREDICTIONS])
    for key, part in _deviations_of_single_maps(tensors, record, len(found.classes)).items():
        if isinstance(space := spaces.get(key), Space):
            spaces[key] = replace(space, deviations=part)
    return ClassStatistics(spaces, tensors.get(PREDICTION), found)


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(0)


def _means_of_single_maps(tensors: Mapping[str, Tensor], record: NewClassSpace) -> Mapping[str, Tensor]:
    """Return each single map's mean as it is stored; nothing if an earlier release stored the class space."""
    if PREDICTION not in tensors:
        return {}
    single = [m for m in record.maps if m.groups == 1]
    parts = torch.split(tensors[MEANS], [m.width for m in single])
    return {m.key: part for m, part in zip(single, parts, strict=True)}


def _deviations_of_single_maps(tensors: Mapping[str, Tensor], record: NewClassSpace, groups: int) -> dict[str, Tensor]:
    single = [m for m in record.maps if m.groups == 1]
    parts = torch.split(tensors[DEVIATIONS], [m.rank * groups for m in single])
    return {m.key: part.view(m.rank, groups).float() for m, part in zip(single, parts, strict=True)}


def _space(
    group: MapGroup, tensors: Mapping[str, Tensor], known: Mapping[str, MapSummary], means: Mapping[str, Tensor]
) -> Space | GroupedSpace:
    if not group.stacked:
        m = known[group.key]
        space = Space(tensors[m.key], m.rows, m.trace, m.error_bound)
        return replace(space, mean=from_half(space, means[m.key])) if m.key in means else space
    if group.key in known:
        grouped = GroupedSpace(
            _stored_entries(group, tensors), group.width, known[group.key].rows, tensors[group.key + TRACE]
        )
        steps = tensors.get(group.key + MEAN) if PREDICTION in tensors else None
        whole = grouped if steps is None else replace(grouped, mean=from_steps(grouped, steps))
        return whole.kept_in(moment_form(group.width, group.window))
    members = [known[m.key] for m in group.maps]
    factors = [tensors[m.key].double() for m in group.maps]
    moments = torch.stack([m.trace * factor @ factor.T for m, factor in zip(members, factors, strict=True)])
    # The recorded trace, not that of the product: it includes what the rank cut off.
    trace = torch.tensor([m.trace for m in members], dtype=torch.float64)
    return GroupedSpace.of(moments, members[0].rows, trace).kept_in(moment_form(group.width, group.window))


def _stored_entries(group: MapGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return what is kept of a group's moments (g, m); an earlier release kept whole triangles of windows too."""
    if group.key + SPECTRUM not in tensors:
        return tensors[group.key + MOMENTS]
    return entries_of(tensors[group.key + SPECTRUM], tensors[group.key + COUPLINGS])


def _summary(key: str, space: Space | GroupedSpace) -> MapSummary:
    if isinstance(space, GroupedSpace):
        trace = float(space.trace.sum())
        error = NO_BOUND if isinstance(space.form, Spectrum) else HALF_PRECISION_ROUNDING
        return MapSummary(key, space.width, space.width, space.rows, trace, error, space.groups)
    return MapSummary(key, space.width, space.rank, space.rows, space.trace, space.error_bound)
