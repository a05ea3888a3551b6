"""Ten of forty people forgotten, one request at a time, from a network that knows their faces.

    python benchmarks/faces.py path/to/orl-faces.zip [--requests 10] [--solvers A,B ...] [--seeds 0 1 2] [--json FILE]

The images are the ORL Database of Faces (AT&T Laboratories Cambridge): forty people, seven images of each to train on
and three to test. A small network is trained in seconds, registered as a user would register it, and forgets seeded
random people. After each request: how many images of everybody forgotten so far are still recognised, test images and
training images; and what the others lose on their test images against the registered network with the forgotten
outputs masked (bar: at most one point, and one test image of 120 is 0.83), and against the registered network as it is.
"""

import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from one_by_one import OneByOne, View, arguments, drawn, figures, missed_bars, report, run, runs, say, write_json
from probe import penultimate
from torch import nn

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.settings import Preprocessing, Settings
from ledger.hookspecs import DataSource
from ledger.images.loading import load_images
from ledger.plugin_manager import Plugins, build_plugins
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files

MODEL, PEOPLE = "faces", 40
NETWORK = Path(__file__).with_name("faces_net.py")
ARCHITECTURE = Architecture(f"{NETWORK}:small_cnn", {})
PREPROCESSING = Preprocessing(channels=1, height=56, width=46, mean=(0.44,), std=(0.19,))
EPOCHS = 60
LEAST_ACCURACY, MOST_LOSS = 0.97, 0.01
JUDGED = "test"


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack ``orl/{train,test}/sNN/*.png`` once; return the folder of both splits."""
    images = folder / "orl"
    if not images.is_dir():
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    return images


def train(plugins: Plugins, source: DataSource, seed: int) -> tuple[nn.Module, float]:
    """Train the network from scratch; return it and its accuracy on the test images.

    The recipe is that of the other small networks here: images shifted by up to two pixels, labels smoothed.
    """
    torch.manual_seed(seed)
    module = plugins.load_model(ARCHITECTURE.spec, {}, len(source.labels)).module
    return module, train_classifier(module, source, PREPROCESSING, seed=seed, epochs=EPOCHS)


def trained_weights(folder: Path, images: Path, seed: int) -> tuple[Path, float]:
    """Train the network and write its weights; return the file and the test accuracy."""
    plugins = build_plugins()
    began = time.perf_counter()
    module, accuracy = train(plugins, plugins.data_source(f"folder:{images}"), seed)
    say(f"trained with seed {seed} to {accuracy:.2%} test accuracy in {time.perf_counter() - began:.0f} s")
    weights = folder / "faces.safetensors"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    return weights, accuracy


def registered(folder: Path, images: Path, weights: Path, settings: Settings) -> OneByOne:
    """Register the network in a new ledger."""
    ledger = create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench")
    register(
        ledger,
        Registration(
            name=MODEL,
            architecture=ARCHITECTURE,
            weights=weights,
            data_spec=f"folder:{images}",
            labels=None,
            preprocessing=vars(PREPROCESSING),
            settings=settings,
        ),
    )
    source = ledger.plugins.data_source(f"folder:{images}")
    splits = {"test": source.test, "train": source.train}
    return OneByOne(ledger, MODEL, {name: View(split, range(len(split.labels))) for name, split in splits.items()})


def write_features(bench: OneByOne, target: Path) -> None:
    """Write what flows into the registered network's classifier, for every image.

    The file holds ``features`` float32 (n, 128), ``labels`` int64 (n,), ``split`` ("train" or "test") and ``names``.
    """
    found: dict[str, list[np.ndarray]] = {"features": [], "labels": [], "split": []}
    for name, view in bench.views.items():
        images = load_images(view.split, view.indices, PREPROCESSING)
        found["features"].append(penultimate(bench.bench.network.module, bench.bench.anchor_state, images))
        found["labels"].append(view.labels.numpy())
        found["split"].append(np.full(len(images), name))
    names = np.array(bench.bench.model.labels.labels)
    np.savez(target, names=names, **{key: np.concatenate(parts) for key, parts in found.items()})  # type: ignore[arg-type]


def main() -> int:
    """Train once and forget in every run; return 1 if a bar is missed."""
    parser = arguments(__doc__, requests=10)
    parser.add_argument("images", type=Path, help="zip with orl/{train,test}/sNN/*.png")
    parser.add_argument("--train-seed", type=int, default=0, help="of the network's training")
    parser.add_argument("--features", type=Path, help="write the registered network's features here (npz)")
    options = parser.parse_args()
    found, every = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        images = unpack(options.images, folder)
        weights, accuracy = trained_weights(folder, images, options.train_seed)
        if accuracy < LEAST_ACCURACY:
            every.append(f"the network reaches {accuracy:.1%} of test images, less than {LEAST_ACCURACY:.0%}")
        order = drawn(PEOPLE, options.requests, options.forget_seed)
        for settings in runs(options):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                bench = registered(Path(place) / "ledger", images, weights, settings)
                if options.features:
                    write_features(bench, options.features)
                steps = run(bench, order)
                bench.ledger.close()
            missed = missed_bars(steps, JUDGED, MOST_LOSS)
            report(settings, steps, missed, JUDGED)
            found.append(figures(settings, steps, missed))
            every += missed
    write_json(options.json, {"accuracy": accuracy, "train_seed": options.train_seed, "runs": found})
    return int(bool(every))


if __name__ == "__main__":
    sys.exit(main())
