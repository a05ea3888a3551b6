"""Answering images as a task: here with what is open, or as a unit that an engine runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from ledger.digest import sha256_hex
from ledger.hookspecs import Split
from ledger.service.computation.model_cards import card_of, surroundings_of
from ledger.service.computation.workbench import Workbench
from ledger.units.answering import AnsweredImages, AnsweringUnit, answer
from ledger.units.packing import PackedImages
from ledger.weights import tensor_files


@dataclass(frozen=True, eq=False)
class Prepared:
    """Several sets of weights that answer, prepared once for all images: for this process, or for others."""

    bench: Workbench
    states: Mapping[str, Mapping[str, Tensor]]
    """By what the weights are known as, which may be the digest of a file of another format."""

    _here: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _files: dict[str, str] = field(default_factory=dict)

    def here(self, known: str) -> dict[str, Tensor]:
        """Return what a functional call in this process takes."""
        if known not in self._here:
            self._here[known] = self.bench.network.prepare_weights(self.states[known])
        return self._here[known]

    def file(self, known: str) -> str:
        """Return the digest of the file that is sent in the place of weights; the engine can have it."""
        if known not in self._files:
            give = partial(tensor_files.serialise, self.states[known])
            self._files[known] = sha256_hex(give())
            self.bench.ledger.engine.offer(self._files[known], give)
        return self._files[known]

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Let the engine have the weights while the block runs."""
        try:
            yield
        finally:
            for digest in self._files.values():
                self.bench.ledger.engine.withdraw(digest)


@dataclass(frozen=True, eq=False)
class AnsweringTask:
    """Some images to be answered."""

    weights: Prepared
    asked: Sequence[str]
    """Which of the weights answer."""
    split: Split
    indices: Sequence[int]
    features: bool

    def here(self) -> dict[str, AnsweredImages]:
        """Answer them in this process."""
        bench = self.weights.bench
        weights = {known: self.weights.here(known) for known in self.asked}
        return answer(bench.network, weights, bench.batches(self.split, self.indices), features=self.features)

    def unit(self) -> AnsweringUnit:
        """Return it as a unit, with the pixels of the images.

        Raises:
            DataError: An image cannot be read.
        """
        bench, model = self.weights.bench, self.weights.bench.model
        return AnsweringUnit(
            card_of(bench),
            surroundings_of(bench),
            tuple(dict.fromkeys(map(self.weights.file, self.asked))),
            PackedImages.read(self.split, self.indices, model.preprocessing, model.settings.batch_size),
            self.features,
        )

    def read(self, data: bytes) -> dict[str, AnsweredImages]:
        """Return what a unit answered."""
        files = {known: self.weights.file(known) for known in self.asked}
        found = AnsweringUnit.read(data, files.values(), features=self.features)
        return {known: found[digest] for known, digest in files.items()}
