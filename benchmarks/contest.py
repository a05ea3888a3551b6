"""Who forgets what in the comparison of methods: the tasks of one kind of network, and this project's own entry."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from cifar import describe
from forgetting import read
from methods.catalogue import Outcome
from methods.passes import PassCounter
from methods.task import ImageSet, State, Task
from references import Shelf, training_images
from registered import Registered

from ledger.domain.settings import Settings
from ledger.service.models.registration import Registration

MODEL = "contest"
EACH_CLASS = 900


@dataclass(frozen=True)
class Contest:
    """The tasks of one kind of network: each class alone, with networks of several training seeds."""

    shelf: Shelf
    classes: Sequence[frozenset[int]]
    seeds: Sequence[int]
    """Training seeds; each also decides what methods draw."""
    registered: Path | None = None
    """Weights that forget, instead of those of the shelf; then for one seed only."""
    never_saw: Sequence[Path] = ()
    """Weights that never saw the first of the classes, instead of those of the shelf."""
    limit: int | None = None
    """Most training images of a class that methods with gradients see; None: as many as the others."""

    @cached_property
    def data(self) -> ImageSet:
        """The training images of all classes, at most 900 of each: as many as the published procedure and ours take."""
        shelf = self.shelf
        return ImageSet(*training_images(shelf.source, frozenset(), replace(shelf.reference, limit=EACH_CLASS)))

    @cached_property
    def few(self) -> ImageSet:
        """Those that methods with gradients see."""
        return self.data if self.limit is None else self.data.first_of_each(self.limit)

    def original(self, seed: int) -> Path:
        """Return the file of the weights that forget."""
        return self.registered or self.shelf.get(frozenset(), seed).weights

    def retrained(self, forgotten: frozenset[int]) -> Mapping[int, State]:
        """Return weights that never saw some classes, by training seed; none where nobody trained them."""
        if self.registered is not None:
            known = self.never_saw if forgotten == self.classes[0] else ()
            return dict(enumerate(map(read, known)))
        folder = self.shelf.folder
        names = [
            f"{self.shelf.reference.name}-without-{'+'.join(map(str, sorted(forgotten)))}-seed-{s}" for s in range(9)
        ]
        there = [seed for seed, name in enumerate(names) if (folder / f"{name}.json").exists()]
        return {seed: self.shelf.get(forgotten, seed).state() for seed in there}

    def task(self, forgotten: frozenset[int], seed: int, *, gradients: bool = False) -> Task:
        """Return the task of forgetting some classes, for a method with or without gradients."""
        network = self.shelf.network()
        path = self.original(seed)
        network.load(read(path), str(path))
        return Task(network.module.eval(), self.few if gradients else self.data, forgotten, seed)

    def ours(self, forgotten: frozenset[int], seed: int, folder: Path) -> tuple[Outcome, str]:
        """Forget by a request to a fresh ledger with default settings; return weights, cost, and what was chosen.

        The cost is that of a first request, from filing it to the version: it collects the statistics of all classes.

        Args:
            forgotten: The classes.
            seed: The training seed, and that of the samples.
            folder: A new one, for the ledger.

        Raises:
            Refused: No version came of the request.
        """
        reference = self.shelf.reference
        bench = Registered(
            folder,
            Registration(
                name=MODEL,
                architecture=reference.architecture,
                weights=self.original(seed),
                data_spec=reference.data,
                labels=None,
                preprocessing=reference.preprocessing.to_json(),
                settings=Settings(seed=seed),
            ),
        )
        try:
            began = time.process_time()
            with PassCounter(bench.bench.network.module) as counter:
                version = bench.forget(forgotten)
            seconds = time.process_time() - began
            outcome = Outcome(bench.state(version), seconds, counter.forward, counter.partial, counter.backward)
            return outcome, describe(version)
        finally:
            bench.close()

    def name(self, forgotten: frozenset[int]) -> str:
        """Return the labels of some classes as one text."""
        return ", ".join(self.shelf.source.labels[k] for k in sorted(forgotten))


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two state dicts hold the same values."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
