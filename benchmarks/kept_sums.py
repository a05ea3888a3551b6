"""What a later request pays for the retained classes at the maps of one block of a ViT-B/16: all class spaces, or sums.

    OMP_NUM_THREADS=1 python benchmarks/kept_sums.py [--classes 256]

Class spaces are random factors of rank 64, as files hold them. Three ways take turns, and processor time is measured:

- *all*: read the class spaces of all retained classes, add up their moments in single precision and decompose the sum,
  as releases before kept sums did, and solve with the factor;
- *first*: the same with whole numbers, as a first request does, and store the sums;
- *kept*: read the stored sums, take one class away and solve with the matrix;
- *kept, unsolved*: the same without solving.

Encryption and the database are left out; they are in ``imagenet_scale.py``.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from tables import markdown
from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.moment_sum import MomentSum
from ledger.algebra.spaces import Space
from ledger.spaces.retained import MapShape, PartHead, RetainedMap, part_tensors, read_part
from ledger.weights import tensor_files

MAPS = {"qkv": 768, "proj": 768, "fc1": 768, "fc2": 3072}
"""Inputs of the maps of a block."""
RANK, ROUNDS, ALPHA, OUTPUTS = 64, 3, 100.0, 64


def class_space(width: int, k: int) -> Space:
    """Return a class's space: random, with falling energies."""
    generator = torch.Generator().manual_seed(k)
    factor = torch.randn(width, RANK, generator=generator) * torch.linspace(1, 0.05, RANK)
    return Space((factor / factor.norm()).half(), 600, 600.0 * width * (1 + k % 7 / 7), 0.0, mean=torch.zeros(width))


def solved(width: int, retain: object) -> Tensor:
    """Return what protecting the retained classes leaves of some directions, as an edit does."""
    columns = torch.randn(width, 5, generator=torch.Generator().manual_seed(0)).double()
    return MapFactors(torch.zeros(OUTPUTS, width), retain, torch.zeros(width, 1)).protected(columns, ALPHA)  # type: ignore[arg-type]


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


class Block:
    """The maps of one block, with the stored class spaces of all classes."""

    def __init__(self, classes: int) -> None:
        self.classes = range(classes)
        self.shapes = [MapShape(key, width, None, summed=True) for key, width in MAPS.items()]
        self._stored = [
            tensor_files.serialise({key: class_space(width, k).factor for key, width in MAPS.items()})
            for k in self.classes
        ]
        self._traces = {
            (key, k): class_space(width, 10_000 + k).trace for key, width in MAPS.items() for k in self.classes
        }
        self.part = b""

    def spaces(self, k: int) -> dict[str, Space]:
        """Read a class's spaces."""
        tensors = tensor_files.parse(self._stored[k], "benchmark")
        return {
            key: Space(tensors[key], 600, self._traces[key, k], 0.0, mean=torch.zeros(w)) for key, w in MAPS.items()
        }

    def all_spaces(self) -> None:
        """Add up all classes in single precision and decompose the sums."""
        sums = {key: MomentSum(width, torch.device("cpu")) for key, width in MAPS.items()}
        for k in self.classes:
            for key, space in self.spaces(k).items():
                sums[key].add(space, space.trace)
        for key, width in MAPS.items():
            solved(width, sums[key].space().factor)

    def first(self) -> None:
        """Add up all classes in whole numbers, and store the sums."""
        maps = [RetainedMap(shape) for shape in self.shapes]
        for k in self.classes:
            spaces = self.spaces(k)
            for one in maps:
                one.add(k, spaces[one.shape.key], with_mean=True)
        self.part = tensor_files.serialise(part_tensors(PartHead(tuple(self.classes), tuple(self.classes)), maps))
        for one in maps:
            solved(one.shape.width, one.spaces(torch.device("cpu")))

    def kept(self, *, solving: bool = True) -> None:
        """Read the sums and take one class away."""
        tensors = tensor_files.parse(self.part, "benchmark")
        spaces = self.spaces(0)
        for place, shape in enumerate(self.shapes):
            one = read_part(tensors, self.shapes, place)
            one.remove(0, spaces[shape.key])
            retain = one.spaces(torch.device("cpu"))
            if solving:
                solved(shape.width, retain)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    block = Block(options.classes)
    ways: dict[str, Callable[[], None]] = {
        "all": block.all_spaces,
        "first": block.first,
        "kept": block.kept,
        "kept, unsolved": partial(block.kept, solving=False),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            found[name].append(seconds(work))
    medians = {name: statistics.median(times) for name, times in found.items()}
    print(json.dumps({"classes": options.classes, "part": len(block.part), **found}), file=sys.stderr)
    rows = [(name, f"{value:.2f}", f"{medians['all'] / value:.1f}") for name, value in medians.items()]
    print(markdown(["way", "processor time s", "times faster than all"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
