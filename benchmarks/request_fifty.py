"""Whether a model's fiftieth request costs what its second did.

    OMP_NUM_THREADS=1 python benchmarks/request_fifty.py path/to/imagenet-one-each.zip
        path/to/tf_efficientnet_lite0.safetensors [--classes 1000] [--requests 50] [--pixels 128] [--work DIR]

Somebody else's ImageNet weights, whole; of each photograph 12 crops at random, by seed, and 320 for each of the first
two classes to be forgotten, so that there are as many calibration images as ImageNet gives. One class a request, each
carried out whole, as ``unledger work`` does. A plain pass over 1,300 images is measured before the second request and
before the last, since machines are not as fast in the end as they were in the beginning. Seconds are of processor time.
Nothing is evaluated on test images (level 0 of the gates).
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from imagenet_scale import forget, plain_pass
from imagenet_twenty import cut_weights, spaced
from later_request import MODEL, argument_parser, make_images, registered
from tables import markdown

from ledger.domain.settings import Settings
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import Ledger

CROPS, IMAGES, AROUND = 12, 1300, 2
"""Crops of a class, images of a pass, and requests on either side that a median is taken of."""
MOST_RATIO = 1.1


def measure(ledger: Ledger, label: str) -> dict[str, Any]:
    """Carry out one request; return its processor times."""
    watch, seconds = forget(ledger, label, MODEL)
    phases = {name: spent[1] for name, spent in watch.phases.items()}
    return {"label": label, "seconds": seconds[1], "phases": phases}


def table(rounds: list[dict[str, Any]]) -> str:
    """Return the Markdown table of the first, second, fiftieth request and some between."""
    places = sorted({1, 2, 3, *range(10, len(rounds), 10), len(rounds)})
    phases = sorted({name for one in rounds[1:] for name in one["phases"]})
    rows = [
        (
            str(n),
            *(f"{rounds[n - 1]['phases'].get(name, 0.0):.1f}" for name in phases),
            f"{rounds[n - 1]['seconds']:.1f}",
        )
        for n in places
    ]
    return markdown(["request", *phases, "whole"], rows)


def main() -> int:
    """Measure; return 1 if the last request costs more than it may."""
    parser = argument_parser(__doc__.splitlines()[0], classes=1000)
    parser.add_argument("--requests", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        images = make_images(options.photographs, folder, options.classes, 1, options.pixels, CROPS)
        weights = cut_weights(options.weights, folder, spaced(options.classes))
        settings = Settings(retain_samples=4, forget_samples=8)
        bench = registered(Path(scratch) / "ledger", images, weights, options.pixels, settings)
        seen = min(IMAGES, len(bench.source.train.labels))
        labels, rounds, passes = bench.model.labels.labels[: options.requests], [], {}
        for number, label in enumerate(labels, 1):
            if number in {2, options.requests}:
                passes[number] = plain_pass(open_workbench(bench.ledger, MODEL), range(seen))[1]
            rounds.append(measure(bench.ledger, label))
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    print(table(rounds))
    early = statistics.median(one["seconds"] for one in rounds[1 : 2 + AROUND])
    late = statistics.median(one["seconds"] for one in rounds[-1 - AROUND :])
    second, last = early / passes[2], late / passes[options.requests]
    print(f"a pass over {seen} images took {passes[2]:.1f} s, and {passes[options.requests]:.1f} s in the end")
    print(f"requests 2 to {2 + AROUND} take {second:.2f} passes, the last {1 + AROUND} {last:.2f}: {last / second:.2f}")
    return int(last / second > MOST_RATIO)


if __name__ == "__main__":
    sys.exit(main())
