"""From where on candidates of each depth run, so that what comes before is recorded once for all of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, combinations

from torch import Tensor, nn

from ledger.networks.layouts import laid_out, memory_order
from ledger.networks.network import Network
from ledger.networks.partial_forward import ForwardTrace, PartialForward

from .answer_blocks import AnswerBlock
from .calibration import Batch, Calibration
from .calibration_sampling import SampledCalibration

MAX_RECORDED_BYTES = 1 << 30
"""Memory for recorded activations; candidates of depths that would need more run more of the network, or all of it."""

MOST_COMPARED = 8
"""Places of which every choice is compared: depths halve, so a network of 128 layers has as many."""

RecordedUnit = AnswerBlock | Batch
"""Images whose activations are recorded in one pass."""


def recorded_units(calibration: Calibration) -> Iterator[tuple[RecordedUnit, bool]]:
    """Yield in what calibration images are recorded, and whether so many candidates are shown them that it pays.

    The last bits of an activation depend on the batch. So that they are the same in every request, these are the blocks
    in which the anchor weights answer; where images have none, the batches in which candidates are shown them.
    """
    if isinstance(calibration, SampledCalibration):
        frequent = {i for batch in calibration.batches if batch.frequent for i in batch.indices or ()}
        for block in calibration.blocks:
            yield block, not frequent.isdisjoint(block.indices)
    else:
        for batch in calibration.batches:
            yield batch, batch.frequent


class StartPlaces:
    """The places of a network where candidates start.

    A candidate may start before its first edited layer. So of the places that memory is enough for, those are chosen
    that leave least to run to candidates of all depths together.

    Args:
        network: With the anchor weights.
        calibration: The images; two of them tell what the network computes where.
        depths: The numbers of layers, counted from the output, that candidates will edit.
    """

    def __init__(self, network: Network, calibration: Calibration, depths: Sequence[int]) -> None:
        layers = network.layers
        trace = ForwardTrace(network.module, network.prepare_images(calibration.retained[0].images[:2]))
        ordered = sorted(set(depths))
        places = {depth: PartialForward(trace, layers[-depth].module) for depth in ordered}
        units = [(len(_images(unit)), frequent) for unit, frequent in recorded_units(calibration)]
        in_blocks = isinstance(calibration, SampledCalibration)
        usable = {d: place for d, place in places.items() if place.boundary and (place.by_image or not in_blocks)}
        often, seldom = (sum(count for count, own in units if own == frequent) for frequent in (True, False))
        room = {depth: trace.bytes_per_image(place.boundary) for depth, place in usable.items()}
        chosen = cheapest_starts(ordered, room, len(layers), MAX_RECORDED_BYTES, (often, seldom))
        self._starts = {
            frequent: {depth: places[start] for depth, start in starts.items()}
            for frequent, starts in zip((True, False), chosen, strict=True)
        }
        used = [start for starts in self._starts.values() for start in starts.values()]
        self.constant = frozenset(m for start in used for m in start.constant) if in_blocks else frozenset[nn.Module]()
        """Modules that return the same for all images."""
        recorded = {m for frequent in (True, False) for m in self.modules(frequent=frequent)}
        self._orders = {m: memory_order(trace.outputs[m]) for m in recorded}

    def of(self, depth: int, *, frequent: bool) -> PartialForward | None:
        """Return from where on candidates of a depth run; None for the whole network."""
        return self._starts[frequent].get(depth)

    def modules(self, *, frequent: bool) -> tuple[nn.Module, ...]:
        """Return the modules whose outputs are recorded of images; constant ones are none of these."""
        read = (m for start in self._starts[frequent].values() for m in start.boundary)
        return tuple(dict.fromkeys(m for m in read if m not in self.constant))

    def laid_out(self, module: nn.Module, output: Tensor) -> Tensor:
        """Return an output of a module as it lies in memory when the module returns it, which decides kernels."""
        return laid_out(output, self._orders[module])


def _images(unit: RecordedUnit) -> Sequence[int] | Tensor:
    return unit.indices if isinstance(unit, AnswerBlock) else unit.labels


def cheapest_starts(
    depths: Sequence[int], room: Mapping[int, int], layers: int, memory: int, images: tuple[int, int]
) -> tuple[dict[int, int], dict[int, int]]:
    """Choose where to record activations; return for each depth at which depth its candidates start.

    Of all choices that fit, the one is taken that leaves least to run if a candidate of each depth is shown all
    frequent images, and one of any depth the others. Of these it is the one that takes least room. Depths that are left
    out run the whole network.

    Args:
        depths: The numbers of layers, counted from the output, that candidates edit.
        room: Bytes that recording takes for an image, for each depth where it is possible. Of more than
            ``MOST_COMPARED`` only those are looked at that save most by themselves.
        layers: Number of layers of the network: what a candidate runs counts by its layers.
        memory: Bytes that there are.
        images: Number of frequent images, and of others. The places of the latter are among those of the former: images
            of both kinds may be recorded together.

    Returns:
        For frequent images, and for others.
    """
    often, seldom = images

    def starts(recorded: Collection[int]) -> dict[int, int]:
        most = max(recorded, default=0)
        return {depth: min(one for one in recorded if one >= depth) for depth in depths if depth <= most}

    def run(recorded: Collection[int]) -> int:
        own = starts(recorded)
        return sum(own.get(depth, layers) for depth in depths)

    fitting = sorted((d for d in room if room[d] * often <= memory), key=lambda depth: (run([depth]), depth))
    choices = [
        (choice, run(choice), sum(room[depth] for depth in choice)) for choice in _choices(fitting[:MOST_COMPARED])
    ]
    known = {choice: (left, size) for choice, left, size in choices}
    best = min(
        (often * left + seldom * known[other][0] / len(depths), taken, choice, other)
        for choice, left, size in choices
        if size * often <= memory
        for other in _choices(choice)
        if (taken := size * often + known[other][1] * seldom) <= memory
    )
    return starts(best[2]), starts(best[3])


def _choices(places: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every choice of some places, in their order."""
    return chain.from_iterable(combinations(places, count) for count in range(len(places) + 1))
