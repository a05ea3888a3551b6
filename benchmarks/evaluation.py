"""What evaluating a version costs, beside one forward pass over the images that it looks at.

    python benchmarks/evaluation.py IMAGES MODELS [--rounds 3]

A class is forgotten by a request. Then, in turn, the registered network answers the images of an evaluation once, and
the version is evaluated as ``unledger evaluate`` does without options. Both decode and preprocess the images. Times are
this process's processor time, so that other work on the machine shows less.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cifar import Cifar, arguments, unpack
from tables import markdown

from ledger.domain.settings import Settings
from ledger.evaluator_input import NetworkRole, SplitName
from ledger.service.computation.measured_images import ImageBounds
from ledger.service.evidence.evaluation import evaluate, original_weights
from ledger.service.evidence.examination import Examination
from ledger.service.progress import Silent

CLASS = 3


def processor_seconds(act: Callable[[], object]) -> float:
    """Return the processor time that something takes, in seconds."""
    before = time.process_time()
    act()
    return time.process_time() - before


def one_pass(known: Cifar) -> None:
    """Let the registered network answer the images of an evaluation."""
    weights = {NetworkRole.ORIGINAL: original_weights(known.bench)}
    examination = Examination(known.bench, weights, ImageBounds(), Silent())
    examination.outputs(known.bench.anchor.weights, SplitName.TEST)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = unpack(options.images, options.work or Path(temporary))
        known = Cifar(Path(temporary) / "ledger", data, options.models, Settings())
        known.forget([CLASS])
        passes, evaluations = [], []
        for _ in range(options.rounds):
            passes.append(processor_seconds(lambda: one_pass(known)))
            evaluations.append(processor_seconds(lambda: evaluate(known.ledger, known.name, None, Silent())))
        known.close()
    ratios = [whole / once for whole, once in zip(evaluations, passes, strict=True)]
    rows = [
        ("one pass, s", *(f"{value:.1f}" for value in passes), f"{statistics.median(passes):.1f}"),
        ("evaluate, s", *(f"{value:.1f}" for value in evaluations), f"{statistics.median(evaluations):.1f}"),
        ("ratio", *(f"{value:.2f}" for value in ratios), f"{statistics.median(ratios):.2f}"),
    ]
    print(markdown(["", *(f"round {n + 1}" for n in range(options.rounds)), "median"], rows))


if __name__ == "__main__":
    main()
