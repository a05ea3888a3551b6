"""Train networks that never see given classes, and one that sees all, with several seeds; keep them in a folder.

    python benchmarks/retrain.py FOLDER [--network digits] [--left-out none each] [--seeds 0,1,2]
    python benchmarks/retrain.py FOLDER --network cifar10-vgg11-bn --images ZIP --work DIR --models DIR --left-out cat

They are what a forgotten class is compared with. Each is a safetensors file with a JSON file beside it: digest, seed,
recipe, test accuracies. What is in the folder already is not trained again. Two networks that differ in the seed alone
differ too: by how much is the noise that every comparison has.
"""

import argparse
import time
from pathlib import Path

from digit_pairs import say
from references import EACH, NONE, Shelf, add_arguments, changed, chosen_reference, class_sets
from tables import markdown

COLUMNS = ("never shown", "seed", "test accuracy of the others %", "file")


def main() -> None:
    """Train what is not there yet; print what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the networks are kept")
    add_arguments(parser)
    parser.add_argument(
        "--left-out",
        nargs="+",
        default=[NONE, EACH],
        metavar="CLASSES",
        help=f"labels joined by commas, {NONE}, or {EACH} for every class alone",
    )
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--epochs", type=int, help="another number of epochs, to try things out")
    parser.add_argument("--limit", type=int, help="only the first so many training images of a class")
    options = parser.parse_args()
    shelf = Shelf(options.folder, changed(chosen_reference(options), options.epochs, options.limit))
    rows = []
    for left_out in class_sets(options.left_out, shelf.source.labels):
        for seed in map(int, options.seeds.split(",")):
            began = time.perf_counter()
            stored = shelf.get(left_out, seed)
            names = ", ".join(shelf.source.labels[k] for k in sorted(left_out)) or "(all shown)"
            how = "was there" if stored.reused else f"trained in {time.perf_counter() - began:.0f} s"
            say(f"without {names}, seed {seed}: {100 * stored.accuracy:.2f} %, {how}")
            rows.append((names, str(seed), f"{100 * stored.accuracy:.2f}", stored.weights.name))
    print(markdown(COLUMNS, rows))


if __name__ == "__main__":
    main()
