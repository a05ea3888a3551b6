"""What it costs to read few positions of an image, and to keep windows as spectra: accuracy after edits of all layers.

    OMP_NUM_THREADS=1 python benchmarks/few_positions.py path/to/imagenet-one-each.zip
        path/to/tf_efficientnet_lite0.safetensors [--classes 25] [--forgotten 2] [--pixels 128] [--work DIR]

Somebody else's ImageNet weights with the outputs of evenly spaced classes, and crops of one photograph of each, as in
``later_request.py``. The retain space of a class is made of one crop, the forget space of 30; accuracy is asked of
other crops. Each way edits every layer, most of them depthwise or 1x1 convolutions, at one fixed strength, so that what
is known of early feature maps matters as much as it can. *Loss* is against the original with the outputs of forgotten
classes masked, in points; each line is the mean over forgotten classes, each forgotten alone.
"""

import statistics
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from accuracy import class_accuracies
from imagenet_twenty import cut_weights, spaced
from later_request import argument_parser, make_images, registered, with_settings
from tables import markdown

from ledger.domain.settings import Settings
from ledger.service.computation.unlearning import search_stored
from ledger.service.computation.workbench import Workbench
from ledger.service.progress import Silent

EVERYWHERE, LARGE = 512, 10**6
FORGET_SAMPLES, JUDGED = 30, 20
WAYS = {
    "512 positions, triangles": (EVERYWHERE, LARGE),
    "512 positions, spectra": (EVERYWHERE, 5),
    "64 positions, triangles": (64, LARGE),
    "64 positions, spectra": (64, 5),
}
"""Positions of an image, and the smallest side of a window that a spectrum is kept of."""
STRENGTHS = {"least-squares": (1000.0, 5.0), "projection": (1000.0, 1.0)}


def judged(bench: Workbench) -> list[int]:
    """Return crops of every class that no space is made of, by index."""
    found = []
    for k in range(len(bench.model.labels)):
        used = bench.samples(k)
        own = torch.nonzero(torch.as_tensor(bench.train_labels) == k).flatten().tolist()
        found += [index for index in own if index not in {*used.forget, *used.calibration}][:JUDGED]
    return found


def main() -> int:
    """Measure."""
    parser = argument_parser(__doc__.splitlines()[0], classes=25)
    parser.add_argument("--forgotten", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        images = make_images(options.photographs, folder, options.classes, 0, options.pixels)
        weights = cut_weights(options.weights, folder, spaced(options.classes))
        settings = Settings(retain_samples=1, forget_samples=FORGET_SAMPLES, max_forgotten_accuracy=1.0)
        bench = registered(Path(scratch) / "ledger", images, weights, options.pixels, settings)
        indices = judged(bench)
        pixels = list(bench.batches(bench.source.train, indices))
        labels = torch.as_tensor(bench.train_labels)[indices]

        def accuracies(state: dict[str, torch.Tensor], gone: int) -> tuple[float, float]:
            """Return the mean accuracy of all other classes, and that of one."""
            found = class_accuracies(bench.network, state, pixels, labels, options.classes)
            return float(found[[k for k in range(options.classes) if k != gone]].mean()), float(found[gone])

        rows = []
        forgotten = [k * options.classes // options.forgotten for k in range(options.forgotten)]
        before = {}
        for k in forgotten:
            masked = bench.anchor_state["classifier.bias"].clone()
            masked[k] = -1e9
            before[k] = accuracies({**bench.anchor_state, "classifier.bias": masked}, k)[0]
        for solver, (alpha_r, alpha_f) in STRENGTHS.items():
            for way, (positions, smallest) in WAYS.items():
                kept, left = [], []
                for k in forgotten:
                    with patch("ledger.algebra.moment_forms.SMALLEST_SPECTRUM", smallest):
                        other = with_settings(
                            bench,
                            rows_per_image=positions,
                            solvers=(solver,),
                            depths=(len(bench.network.layers),),
                            alpha_r=(alpha_r,),
                            alpha_f=(alpha_f,),
                        )
                        result, _ = search_stored(other, frozenset({k}), Silent(), store=False)
                    after = accuracies(dict(result.candidate.state), k)
                    kept.append(100 * (before[k] - after[0]))
                    left.append(100 * after[1])
                rows.append((solver, way, f"{statistics.mean(kept):.2f}", f"{statistics.mean(left):.1f}"))
                print(rows[-1], kept, left, file=sys.stderr, flush=True)
    print(markdown(["solver, all layers", "kept of a class", "loss of retained, points", "forgotten, %"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
