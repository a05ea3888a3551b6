"""CIFAR-10 and its trained network, laid out for benchmarks: arrays, a ledger, test accuracies."""

import argparse
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from accuracy import class_accuracies
from PIL import Image
from registered import Registered
from torch import Tensor

from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.domain.versions import Version
from ledger.service.models.registration import Registration

MODEL = "vgg"
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
BATCH = 250


def arguments(documentation: str) -> argparse.ArgumentParser:
    """Return a parser of what every script on these images is given.

    Args:
        documentation: The script's own; its first line becomes the description.
    """
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--work", type=Path, help="folder that keeps the decoded images; default: a temporary one")
    return parser


def unpack(images: Path, folder: Path) -> Path:
    """Decode a zip of ``cifar10/{train,test}/CLASS/*.jpg`` once; return the npz file, made if it is not there."""
    target = folder / "cifar10.npz"
    if target.exists():
        return target
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(images) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        labels = sorted({Path(name).parent.name for name in names})
        for split in ("train", "test"):
            own = [name for name in names if f"/{split}/" in name]
            arrays[f"x_{split}"] = np.stack([np.asarray(Image.open(BytesIO(archive.read(name)))) for name in own])
            arrays[f"y_{split}"] = np.array([labels.index(Path(name).parent.name) for name in own])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(target, labels=np.array(labels), **arrays)  # type: ignore[arg-type]
    return target


class Cifar(Registered):
    """A fresh ledger with the trained network registered in it.

    Args:
        folder: A new folder for the ledger.
        data: The npz file of :func:`unpack`.
        models: The folder of ``cifar10_vgg11_bn.{py,safetensors}``.
        settings: How to unlearn.
    """

    def __init__(self, folder: Path, data: Path, models: Path, settings: Settings) -> None:
        name = models / "cifar10_vgg11_bn"
        super().__init__(
            folder,
            Registration(
                name=MODEL,
                architecture=Architecture(f"{name}.py:vgg11_bn", {}),
                weights=name.with_suffix(".safetensors"),
                data_spec=f"npz:{data}",
                labels=None,
                preprocessing={"channels": 3, "height": 32, "width": 32, "mean": MEAN, "std": STD},
                settings=settings,
            ),
        )
        self.labels = torch.tensor(self.bench.source.test.labels)

    def accuracies(self, state: dict[str, Tensor]) -> Tensor:
        """Return the test accuracy of every class under some weights, float64 (10,)."""
        source = self.bench.source.test
        batches = self.bench.batches(source, range(len(source.labels)))
        return class_accuracies(self.bench.network, state, batches, self.labels, 10)

    def accuracies_of(self, version: Version) -> Tensor:
        """Return the test accuracy of every class under a version."""
        return self.accuracies(self.state(version))


def worst_and_drop(before: Tensor, after: Tensor, forgotten: Iterable[int]) -> tuple[float, float]:
    """Return the largest accuracy of a forgotten class, and what the retained ones lost in the mean; in points."""
    inside = sorted(forgotten)
    outside = [k for k in range(len(before)) if k not in inside]
    return 100 * float(after[inside].max()), 100 * float((before - after)[outside].mean())


def describe(version: Version) -> str:
    """Say how a version was made."""
    r = version.recipe
    return f"{r.solver}, {r.depth} of {r.layers} layers, ({r.alpha_r:g}, {r.alpha_f:g})"
