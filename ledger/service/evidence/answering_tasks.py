"""Answering images as a task: here with what is open, or as a unit that an engine runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

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

    @cached_property
    def here(self) -> dict[str, dict[str, Tensor]]:
        """What a functional call in this process takes."""
        return {known: self.bench.network.prepare_weights(state) for known, state in self.states.items()}

    @cached_property
    def files(self) -> dict[str, str]:
        """Digests of the files that are sent in their place, once the engine can have them."""
        found = {}
        for known, state in self.states.items():
            give = partial(tensor_files.serialise, state)
            found[known] = sha256_hex(give())
            self.bench.ledger.engine.offer(found[known], give)
        return found

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Let the engine have the weights while the block runs."""
        try:
            yield
        finally:
            for digest in vars(self).get("files", {}).values():
                self.bench.ledger.engine.withdraw(digest)


@dataclass(frozen=True, eq=False)
class AnsweringTask:
    """Some images to be answered."""

    weights: Prepared
    split: Split
    indices: Sequence[int]
    features: bool

    def here(self) -> dict[str, AnsweredImages]:
        """Answer them in this process."""
        bench = self.weights.bench
        return answer(bench.network, self.weights.here, bench.batches(self.split, self.indices), features=self.features)

    def unit(self) -> AnsweringUnit:
        """Return it as a unit, with the pixels of the images.

        Raises:
            DataError: An image cannot be read.
        """
        bench, model = self.weights.bench, self.weights.bench.model
        return AnsweringUnit(
            card_of(bench),
            surroundings_of(bench),
            tuple(dict.fromkeys(self.weights.files.values())),
            PackedImages.read(self.split, self.indices, model.preprocessing, model.settings.batch_size),
            self.features,
        )

    def read(self, data: bytes) -> dict[str, AnsweredImages]:
        """Return what a unit answered."""
        files = self.weights.files
        found = AnsweringUnit.read(data, files.values(), features=self.features)
        return {known: found[digest] for known, digest in files.items()}
