"""What collecting class spaces costs beside a plain forward pass of the same images, on any timm network.

    python benchmarks/collection.py [--arch vit_tiny_patch16_224] [--size 224] [--rounds 3]

Weights and images are random: the cost depends on neither. Ten classes, 100 images of nine and 900 of one, as a first
request on CIFAR-10 takes; both ways read and preprocess the same images.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from engine import MOST_COLLECTION, collection

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register
from ledger.weights import tensor_files

CLASSES, FEW, MANY, SEED = 10, 200, 1000, 0
"""Images of a class: as many as are sampled, and those that candidates are judged on."""
FORGOTTEN = 3
"""The class that ``engine.collection`` takes for the forgotten one."""


def random_images(target: Path, size: int, few: int = FEW, many: int = MANY) -> Path:
    """Write an npz file of noise in ten classes, one of them larger."""
    labels = np.repeat(np.arange(CLASSES), [many if k == FORGOTTEN else few for k in range(CLASSES)])
    rng = np.random.default_rng(SEED)
    pixels = rng.integers(0, 256, (len(labels), size, size, 3), dtype=np.uint8)
    test = pixels[:CLASSES]
    np.savez(target, x_train=pixels, y_train=labels, x_test=test, y_test=np.arange(CLASSES))
    return target


def bench(folder: Path, arch: str, size: int, settings: Settings) -> Workbench:
    """Return a workbench with an untrained timm network and random images."""
    torch.manual_seed(SEED)
    weights = folder / "weights.safetensors"
    weights.write_bytes(tensor_files.serialise(timm.create_model(arch, num_classes=CLASSES).state_dict()))
    ledger = create_ledger(create_config(folder / "ledger", "sqlite:///ledger.db", "objects"), "bench")
    register(
        ledger,
        Registration(
            name="any",
            architecture=Architecture(f"timm/{arch}", {}),
            weights=weights,
            data_spec=f"npz:{folder / 'images.npz'}",
            labels=None,
            preprocessing={"channels": 3, "height": size, "width": size},
            settings=settings,
            accept_accuracy=True,
        ),
    )
    return open_workbench(ledger, "any")


def main() -> int:
    """Measure; return 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="vit_tiny_patch16_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        random_images(Path(scratch) / "images.npz", options.size)
        ready = bench(Path(scratch), options.arch, options.size, Settings())
        rounds = [collection(ready) for _ in range(options.rounds)]
        ready.ledger.close()
    collected, plain = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in rounds)
    print(f"{options.arch}: collection {collected:.1f} s, plain forward pass {plain:.1f} s, ratio {ratio:.2f}")
    return int(ratio > MOST_COLLECTION)


if __name__ == "__main__":
    sys.exit(main())
