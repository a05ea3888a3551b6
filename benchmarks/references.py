"""The networks that are trained with and without some classes, and where they are kept.

Every network is built from its seed and trained by :func:`training_course.train`, whichever classes it is shown: a
network of all classes is registered, forgets, and is compared with those that never saw what it forgot.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cifar
import faces
import numpy as np
import torch
from accuracy import class_accuracies
from architectures import NETWORKS as SMALL
from architectures import PREPROCESSING as SMALL_INPUT
from ledger.cli.commands import demo
from left_out import Without
from training_course import Course, demonstration, photographs, train

from ledger.digest import sha256_hex
from ledger.domain.models import Architecture
from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource
from ledger.images.loading import load_images
from ledger.networks.network import Network
from ledger.networks.opening import build_network
from ledger.plugin_manager import Plugins, build_plugins
from ledger.testing.training import EPOCHS
from ledger.weights import tensor_files

PHOTOGRAPHS_EPOCHS = 18
"""An hour on two cores."""
FACES, PHOTOGRAPHS = "orl-faces", "cifar10-vgg11-bn"
NONE = "none"
"""What a command line calls the empty set of classes."""
EACH = "each"
"""What a command line calls every class alone."""


@dataclass(frozen=True)
class Reference:
    """A network: how it is built, what it is shown, and what it goes through."""

    name: str
    architecture: Architecture
    data: str
    """As ``model add --data`` takes it."""
    preprocessing: Preprocessing
    course: Course
    limit: int | None = None
    """Most training images of a class; None: all."""

    def recipe(self) -> dict[str, Any]:
        """Return what decides the weights, apart from the seed and the classes, as plain JSON values.

        The places of files are not among it.
        """
        return {
            "architecture": Path(self.architecture.spec).name,
            "options": dict(self.architecture.options),
            "preprocessing": self.preprocessing.to_json(),
            "course": asdict(self.course),
            "limit": self.limit,
        }


@dataclass(frozen=True)
class Stored:
    """A trained network in a file, and what is known about it."""

    weights: Path
    seed: int
    accuracy: float
    """Mean test accuracy of the classes that it was shown, as a share."""
    reused: bool
    """Whether it was there already."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return its weights, by name."""
        return tensor_files.parse(self.weights.read_bytes(), str(self.weights))


class Shelf:
    """A folder of trained networks of one kind. Each is a safetensors file with a JSON file of the same name.

    Args:
        folder: Made if it is not there. Networks that are in it are not trained again.
        reference: The kind.
    """

    def __init__(self, folder: Path, reference: Reference) -> None:
        self.folder, self.reference = folder, reference
        self.plugins: Plugins = build_plugins()
        self.source: DataSource = self.plugins.data_source(reference.data)

    def get(self, left_out: frozenset[int], seed: int) -> Stored:
        """Return a network, trained now if it is not in the folder.

        Args:
            left_out: Classes that it is never shown.
            seed: Of its initial weights, of the order of images, and of what is done with them.

        Raises:
            SystemExit: The folder holds one of another recipe, or its file changed.
        """
        weights = self.folder / f"{self._stem(left_out, seed)}.safetensors"
        noted = weights.with_suffix(".json")
        wanted = self._facts(left_out, seed)
        if not noted.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            state, images = self._train(left_out, seed)
            data = tensor_files.serialise(state)
            weights.write_bytes(data)
            facts = {**wanted, "images": images, "digest": sha256_hex(data), **self._accuracies(state, left_out)}
            # Written last: without it the weights do not count, since training may have been stopped.
            noted.write_text(json.dumps(facts, indent=2) + "\n")
            return Stored(weights, seed, facts["accuracy"], reused=False)
        facts = json.loads(noted.read_text())
        # Compared as JSON: a tuple of a recipe comes back as a list.
        if {key: facts.get(key) for key in wanted} != json.loads(json.dumps(wanted)):
            raise SystemExit(f"{noted} tells of another recipe: name another folder, or remove it")
        if sha256_hex(weights.read_bytes()) != facts["digest"]:
            raise SystemExit(f"{weights} is not the file that {noted.name} tells of: remove both")
        return Stored(weights, seed, facts["accuracy"], reused=True)

    def stored(self, left_out: frozenset[int]) -> list[Stored]:
        """Return the networks of the folder that were never shown some classes, by seed. Nothing is trained.

        Raises:
            SystemExit: There is none, or as for :meth:`get`.
        """
        found = self.folder.glob(f"{self._stem(left_out, 0).removesuffix('0')}*.json")
        seeds = sorted(int(path.stem.rpartition("-")[2]) for path in found)
        if not seeds:
            names = ",".join(self.source.labels[k] for k in sorted(left_out)) or NONE
            raise SystemExit(
                f"{self.folder} holds no network without {names}: "
                f"python benchmarks/retrain.py {self.folder} --network {self.reference.name} --left-out {names}"
            )
        return [self.get(left_out, seed) for seed in seeds]

    def network(self) -> Network:
        """Return the untrained network, to be run with any of the weights."""
        return build_network(self.plugins, self.reference.architecture, len(self.source.labels))

    def _stem(self, left_out: frozenset[int], seed: int) -> str:
        which = f"without-{'+'.join(map(str, sorted(left_out)))}" if left_out else "of-all"
        return f"{self.reference.name}-{which}-seed-{seed}"

    def _facts(self, left_out: frozenset[int], seed: int) -> dict[str, Any]:
        return {
            "network": self.reference.name,
            "left_out": sorted(left_out),
            "labels": [self.source.labels[k] for k in sorted(left_out)],
            "seed": seed,
            "recipe": self.reference.recipe(),
        }

    def _train(self, left_out: frozenset[int], seed: int) -> tuple[dict[str, torch.Tensor], int]:
        """Return weights and the number of images they were trained on."""
        images, labels = training_images(self.source, left_out, self.reference)
        torch.manual_seed(seed)
        spec, options = self.reference.architecture.spec, self.reference.architecture.options
        module = self.plugins.load_model(spec, options, len(self.source.labels)).module
        train(module, images, labels, self.reference.course, seed=seed)
        return module.state_dict(), len(labels)

    def _accuracies(self, state: dict[str, torch.Tensor], left_out: frozenset[int]) -> dict[str, Any]:
        split = self.source.test
        batches = (
            load_images(split, range(start, min(start + cifar.BATCH, len(split.labels))), self.reference.preprocessing)
            for start in range(0, len(split.labels), cifar.BATCH)
        )
        found = class_accuracies(
            self.network(), state, batches, torch.tensor(split.labels), len(self.source.labels)
        ).tolist()
        shown = [share for k, share in enumerate(found) if k not in left_out]
        return {"accuracy": float(np.mean(shown)), "per_class": dict(zip(self.source.labels, found, strict=True))}


def training_images(
    source: DataSource, left_out: frozenset[int], reference: Reference
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a network is trained on: images float32 (n, channels, height, width) and labels (n,), in memory."""
    split = Without(source, left_out).train
    chosen = first_of_each(split.labels, reference.limit)
    return load_images(split, chosen, reference.preprocessing), torch.tensor(split.labels)[chosen]


def first_of_each(labels: Sequence[int], limit: int | None) -> list[int]:
    """Return the indices of the first ``limit`` images of every class, all of them if None, in index order."""
    everything = np.asarray(labels)
    chosen = [np.flatnonzero(everything == k)[:limit] for k in np.unique(everything)]
    return [int(i) for i in np.sort(np.concatenate(chosen))]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name a network, and where its images and its code are."""
    parser.add_argument("--network", default="digits", choices=[*_DIGITS, FACES, PHOTOGRAPHS])
    parser.add_argument("--images", type=Path, help=f"the zip of CIFAR-10 images or, for {FACES}, of faces")
    parser.add_argument("--models", type=Path, help="the folder of cifar10_vgg11_bn.py")
    parser.add_argument("--work", type=Path, help="folder that keeps the unpacked images")


def chosen_reference(options: argparse.Namespace) -> Reference:
    """Return the network that a command line names.

    Raises:
        SystemExit: It does not say where the images or the code are.
    """
    if options.network in _DIGITS:
        return _DIGITS[options.network]
    if None in {options.images, options.work} or (options.models is None and options.network == PHOTOGRAPHS):
        raise SystemExit(f"{FACES} needs --images ZIP and --work FOLDER, {PHOTOGRAPHS} also --models FOLDER")
    if options.network == FACES:
        data = f"folder:{faces.unpack(options.images, options.work)}"
        return Reference(FACES, faces.ARCHITECTURE, data, faces.PREPROCESSING, demonstration(faces.EPOCHS))
    return Reference(
        PHOTOGRAPHS,
        Architecture(f"{options.models / 'cifar10_vgg11_bn.py'}:vgg11_bn", {}),
        f"npz:{cifar.unpack(options.images, options.work)}",
        Preprocessing(channels=3, height=32, width=32, mean=cifar.MEAN, std=cifar.STD),
        photographs(PHOTOGRAPHS_EPOCHS),
    )


def changed(reference: Reference, epochs: int | None, limit: int | None) -> Reference:
    """Return a network that is trained for less, to try things out."""
    course = reference.course if epochs is None else replace(reference.course, epochs=epochs)
    return replace(reference, course=course, limit=limit)


def class_sets(texts: Iterable[str], labels: Sequence[str]) -> list[frozenset[int]]:
    """Return the sets of classes that a command line names.

    Args:
        texts: Each is labels joined by commas, ``none``, or ``each`` for every class alone.
        labels: Of all classes.

    Raises:
        SystemExit: A label is not among them.
    """
    found: list[frozenset[int]] = []
    for text in texts:
        if text == EACH:
            found += [frozenset({k}) for k in range(len(labels))]
            continue
        names = [] if text == NONE else text.split(",")
        if unknown := [name for name in names if name not in labels]:
            raise SystemExit(f"no class is called {', '.join(unknown)}: they are {', '.join(labels)}")
        found.append(frozenset(labels.index(name) for name in names))
    return list(dict.fromkeys(found))


def _small(name: str) -> Reference:
    network = SMALL[name]
    architecture = Architecture(f"timm/{network.arch}", {"in_chans": 1, **network.options})
    return Reference(f"digits-{name}", architecture, "digits", SMALL_INPUT, demonstration(network.epochs))


_DIGITS = {
    reference.name: reference
    for reference in (
        Reference(
            "digits",
            Architecture(demo.ARCHITECTURE, {"in_chans": 1}),
            "digits",
            Preprocessing(1, demo.SIZE, demo.SIZE, (demo.MEAN,), (demo.STD,)),
            demonstration(EPOCHS),
        ),
        _small("vit"),
        _small("convnext"),
    )
}
