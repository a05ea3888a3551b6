"""What the anchor weights compute before the places where candidates start: recorded once, for all of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ledger.networks.network import Network
from ledger.networks.partial_forward import recording

from .answer_blocks import AnswerBlock
from .calibration import Batch, Calibration
from .calibration_sampling import SampledCalibration
from .start_places import StartPlaces, recorded_units

Recorded = Mapping[str, Tensor]
"""By name of a module, what it returned for some images: for each of them in turn, one row or several."""


class Activations:
    """The activations from which candidates start, each recorded when it is first asked for.

    Args:
        network: With the anchor weights.
        calibration: The images.
        places: Where candidates start.
    """

    def __init__(self, network: Network, calibration: Calibration, places: StartPlaces) -> None:
        self._network = network
        self.places = places
        """Where candidates start."""
        self._load = calibration.load if isinstance(calibration, SampledCalibration) else None
        first = calibration.retained[0]
        self._any = replace(first, images=first.images[:1], labels=first.labels[:1])
        self._names = {module: name for name, module in network.module.named_modules()}
        units = list(recorded_units(calibration))
        self._modules = {
            (unit if isinstance(unit, AnswerBlock) else id(unit)): places.modules(frequent=frequent)
            for unit, frequent in units
        }
        blocks = [unit for unit, _ in units if isinstance(unit, AnswerBlock)]
        self._rows = {index: (block, row) for block in blocks for row, index in enumerate(block.indices)}
        self._batches: dict[int, Recorded] = {}
        self.known: dict[AnswerBlock, Recorded] = {}
        """What is recorded of blocks so far, here or before."""

    def wanted(self, block: AnswerBlock) -> frozenset[str]:
        """Return the names of the modules that are recorded of a block."""
        return frozenset(self._names[module] for module in self._modules.get(block, ()))

    def put(self, block: AnswerBlock, recorded: Recorded) -> None:
        """Take what was recorded of a block before, of all modules that are wanted."""
        device = self._network.device
        self.known[block] = {name: recorded[name].to(device) for name in sorted(self.wanted(block))}

    @contextmanager
    def recording(self, block: AnswerBlock) -> Iterator[None]:
        """Record a block while the network answers it as one batch; nothing of one that is not among these."""
        modules = self._modules.get(block, ())
        with recording(modules) as kept:
            yield
        if modules:
            self.known[block] = {self._names[module]: kept[module] for module in modules}

    def of(self, batch: Batch, modules: Sequence[nn.Module]) -> list[Tensor]:
        """Return what modules put out for a batch of candidates."""
        if self._load is None:
            own = self._of_batch(batch)
            return [own[self._names[module]] for module in modules]
        rows = [self._rows[index] for index in batch.indices or ()]
        for block in dict.fromkeys(block for block, _ in rows):
            if block not in self.known:
                with self.recording(block):
                    self._run(self._load(block))
        return [
            self._constants[module]
            if module in self.places.constant
            else self.places.laid_out(module, self._joined(self._names[module], rows))
            for module in modules
        ]

    @cached_property
    def _constants(self) -> Mapping[nn.Module, Tensor]:
        """What modules return whatever the images are."""
        with recording(self.places.constant) as kept:
            self._run(self._any)
        return kept

    def answered(self, batch: Batch) -> Tensor:
        """Let the network answer a batch that has no blocks, and record it; return the logits (n, classes)."""
        modules = self._modules[id(batch)]
        with recording(modules) as kept:
            logits = self._run(batch)
        self._batches[id(batch)] = {self._names[module]: kept[module] for module in modules}
        return logits

    def _of_batch(self, batch: Batch) -> Recorded:
        if id(batch) not in self._batches:
            self.answered(batch)
        return self._batches[id(batch)]

    def _run(self, batch: Batch) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._network.module(self._network.prepare_images(batch.images))
        return logits

    def _joined(self, name: str, rows: Sequence[tuple[AnswerBlock, int]]) -> Tensor:
        parts = []
        for block, row in rows:
            recorded = self.known[block][name]
            each = len(recorded) // len(block.indices)
            parts.append(recorded[row * each : (row + 1) * each])
        return torch.cat(parts)
