"""CIFAR-10 and its trained network, laid out for benchmarks: arrays, a ledger, test accuracies."""

import argparse
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from accuracy import class_accuracies
from PIL import Image
from torch import Tensor

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Settings
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Progress, Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.weights import tensor_files

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


@dataclass
class Cifar:
    """A fresh ledger with the trained network registered in it.

    Args:
        folder: A new folder for the ledger.
        data: The npz file of :func:`unpack`.
        models: The folder of ``cifar10_vgg11_bn.{py,safetensors}``.
        settings: How to unlearn.
    """

    folder: Path
    data: Path
    models: Path
    settings: Settings

    def __post_init__(self) -> None:
        self.ledger: Ledger = create_ledger(create_config(self.folder, "sqlite:///ledger.db", "objects"), "bench")
        name = self.models / "cifar10_vgg11_bn"
        register(
            self.ledger,
            Registration(
                name=MODEL,
                architecture=Architecture(f"{name}.py:vgg11_bn", {}),
                weights=name.with_suffix(".safetensors"),
                data_spec=f"npz:{self.data}",
                labels=None,
                preprocessing={"channels": 3, "height": 32, "width": 32, "mean": MEAN, "std": STD},
                settings=self.settings,
            ),
        )
        self.bench: Workbench = open_workbench(self.ledger, MODEL)
        self.labels = torch.tensor(self.bench.source.test.labels)

    def forget(self, classes: Iterable[int], progress: Progress | None = None) -> Version:
        """File a request and carry it out; return the version that did it."""
        enqueue(self.ledger, MODEL, [NewRequest(frozenset(classes), "bench")])
        [outcome] = work(self.ledger, progress or Silent(), open_model=open_unlearning_afresh)
        if outcome.version is None:
            raise SystemExit(
                f"request {outcome.request.id} is {outcome.request.state.value}: {outcome.request.outcome}"
            )
        return outcome.version

    def withdraw_last(self) -> None:
        """Withdraw the newest fulfilled request."""
        with self.ledger.database.read() as tx:
            newest = tx.requests.all(self.bench.model, [RequestState.FULFILLED])[-1]
        withdraw(self.ledger, newest.id, "benchmark", Silent(), open_model=open_unlearning_afresh)

    def state(self, version: Version) -> dict[str, Tensor]:
        """Return a version's weights."""
        return tensor_files.parse(self.ledger.objects.get(version.weights), f"version {version.number}")

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
