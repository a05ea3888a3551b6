"""Every baseline in one table: what each method makes of the same network, by the same evaluators, and what it costs.

    python benchmarks/baselines.py FOLDER WORK [--network digits] [--classes each] [--training-seeds 0,1,2] [--json F]
    python benchmarks/baselines.py FOLDER WORK --network cifar10-vgg11-bn --images ZIP --work DIR --models DIR
        --classes cat --registered DIR/cifar10_vgg11_bn.safetensors --never-saw DIR/cifar10_vgg11_bn_without_cat...

FOLDER holds the networks of ``retrain.py``: those of all classes, which forget, and those that never saw a class. WORK
keeps the weights that methods made, with their costs, and the figures that evaluators found: what is there is not done
again. Each class is forgotten alone. Methods see at most 900 training images of a class; ``--limit`` bounds them
further for those that compute gradients, and decides what they cost.

``statistics``, ``rmia`` and ``relearning`` take longer, and are asked for with ``--also``; the last takes many times as
long as all others together.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from contest import Contest
from digit_pairs import say
from examined import Exhibit, Gallery
from lineup import ORIGINAL, RETRAINED, Line, tables, with_gaps
from methods.catalogue import Method
from references import EACH, Shelf, add_arguments, chosen_reference, class_sets
from scorecard import LIGHT, RELEARNING, RMIA, STATISTICS, Figures, Sitting, kept
from workshop import Entry, Workshop, methods_named

from ledger.errors import NonFiniteError


def arguments() -> argparse.ArgumentParser:
    """Return the parser of this script's command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="networks kept by retrain.py")
    parser.add_argument("made", type=Path, help="folder that keeps what methods made, and its figures")
    add_arguments(parser)
    parser.add_argument("--classes", nargs="+", default=[EACH], help=f"labels, or {EACH}; each is forgotten alone")
    parser.add_argument("--training-seeds", default="0,1,2", help="of the networks that forget, comma-separated")
    parser.add_argument("--registered", type=Path, help="weights that forget, instead of those of the folder")
    parser.add_argument(
        "--never-saw", type=Path, nargs="+", default=[], help="weights without the first of the classes"
    )
    parser.add_argument("--limit", type=int, help="most training images of a class for methods with gradients")
    parser.add_argument("--train-images", type=int, default=200, help="most training images of a class to measure by")
    parser.add_argument("--test-images", type=int, help="most test images of a class to measure by; default: all")
    parser.add_argument("--methods", nargs="*", default=[], help="only these, and ours")
    parser.add_argument(
        "--also", nargs="*", default=[], choices=[STATISTICS, RELEARNING, RMIA], help="evaluators besides"
    )
    parser.add_argument("--only-make", action="store_true", help="make the weights, and measure nothing yet")
    parser.add_argument("--json", type=Path, help="write all lines here too")
    return parser


def made(workshop: Workshop, methods: list[Method], forgotten: frozenset[int], seed: int) -> Iterator[Entry]:
    """Make and yield what every method makes of a task, and what this project makes of it."""
    for method in methods:
        yield workshop.made(method, forgotten, seed)
    with tempfile.TemporaryDirectory() as scratch:
        if (own := workshop.ours(forgotten, seed, Path(scratch) / "ledger")) is not None:
            yield own


class Comparison:
    """Measures what methods made.

    Args:
        workshop: Where it is kept.
        gallery: Where it is looked at.
        asked: Which figures to take.
    """

    def __init__(self, workshop: Workshop, gallery: Gallery, asked: list[str]) -> None:
        self.workshop, self.gallery, self.asked = workshop, gallery, asked

    def lines(self, methods: list[Method], forgotten: frozenset[int], seed: int) -> Iterator[Line]:
        """Yield a line for the original, for each method and for each network that never saw the class."""
        contest, gallery = self.workshop.contest, self.gallery
        original = gallery.exhibit(contest.task(forgotten, seed).state())
        never = {s: gallery.exhibit(state) for s, state in contest.retrained(forgotten).items()}
        # The network that never saw the class and differs in nothing else, where there is one.
        beside = never.get(seed, next(iter(never.values()), None))
        place = self.workshop.place(forgotten, seed)
        name = contest.name(forgotten)

        def line(method: str, version: Exhibit, path: Path, reference: Exhibit | None, cost: Figures) -> Line:
            sitting = Sitting(gallery, version, original, forgotten, reference, seed)
            figures: Figures = {}
            try:
                for which in self.asked:
                    figures |= kept(path, which, sitting)
            except NonFiniteError as error:
                say(f"{name}, seed {seed}: {method}: {error}")
            return Line(method, name, seed, figures, cost)

        yield line(ORIGINAL, original, place / "original.measured.json", beside, {})
        for entry in made(self.workshop, methods, forgotten, seed):
            cost = {part: entry.facts[part] for part in ("seconds", "forward", "partial", "backward")}
            yield line(entry.method, gallery.exhibit(entry.state()), entry.measured, beside, cost)
        if seed in never or len(never) == 1:
            own = never.get(seed, beside)
            assert own is not None
            # Beside another of them: by how much two differ that differ in the seed alone.
            other = next((one for s, one in never.items() if one is not own), None)
            yield line(RETRAINED, own, place / "retrained.measured.json", other, {})


def main() -> None:
    """Make what is not there, measure it, print the tables."""
    options = arguments().parse_args()
    # One thread: figures do not depend on the machine's number of cores, and processor time is that of the work.
    torch.set_num_threads(1)
    shelf = Shelf(options.folder, chosen_reference(options))
    contest = Contest(
        shelf,
        class_sets(options.classes, shelf.source.labels),
        [int(text) for text in options.training_seeds.split(",")],
        options.registered,
        options.never_saw,
        options.limit,
    )
    workshop, methods = Workshop(options.made, contest), methods_named(options.methods)
    tasks = [(forgotten, seed) for seed in contest.seeds for forgotten in contest.classes]
    if options.only_make:
        for forgotten, seed in tasks:
            for _ in made(workshop, methods, forgotten, seed):
                pass
        return
    base = contest.task(*tasks[0]).state()
    gallery = Gallery(shelf, base, train_each=options.train_images, test_each=options.test_images)
    comparison = Comparison(workshop, gallery, [LIGHT, *options.also])
    found: list[Line] = []
    for forgotten, seed in tasks:
        found += comparison.lines(methods, forgotten, seed)
        gallery.clear()
        say(f"{contest.name(forgotten)}, seed {seed}: measured")
    lines = with_gaps(found)
    print(tables(lines))
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")


if __name__ == "__main__":
    main()
