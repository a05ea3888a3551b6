"""Data source ``torchvision:NAME:FOLDER``: a data set of torchvision that is on disk; nothing is downloaded."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from ledger.domain.data_record import DataOptions
from ledger.errors import DataError, UsageError
from ledger.hookspecs import DataSource, hookimpl

from .records import Encoded, Found, Records, RecordSource

PREFIX = "torchvision:"
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(
        ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS", "CIFAR10", "CIFAR100"),
        ({"train": True}, {"train": False}),
    ),
    **dict.fromkeys(
        (
            "SVHN",
            "STL10",
            "GTSRB",
            "Food101",
            "Flowers102",
            "DTD",
            "Country211",
            "StanfordCars",
            "PCAM",
            "RenderedSST2",
        ),
        ({"split": "train"}, {"split": "test"}),
    ),
    **dict.fromkeys(("FGVCAircraft", "OxfordIIITPet"), ({"split": "trainval"}, {"split": "test"})),
    **dict.fromkeys(("ImageNet", "Imagenette"), ({"split": "train"}, {"split": "val"})),
}
"""Arguments that open the training and the test part of each data set."""
NAMES = ("classes", "categories")
TARGETS = ("targets", "labels", "_labels")
"""Attributes in which data sets keep names of classes, and the class of each image."""


def read_dataset(name: str, root: Path) -> Found:
    """Open both parts of a data set.

    Raises:
        UsageError: There is no such data set.
        DataError: It is not in the folder.
    """
    if name not in PARTS:
        near = difflib.get_close_matches(name, PARTS, n=3, cutoff=0.3)
        raise UsageError(
            f"torchvision has no data set called {name!r} that is read here",
            f"some that come near: {', '.join(near)}" if near else f"known: {', '.join(sorted(PARTS))}",
        )
    train, test = (_opened(name, root, part) for part in PARTS[name])
    where = f"{PREFIX}{name}:{root}"
    trained, tested = _targets(train), _targets(test)
    labels, others = _labels(train), _labels(test)
    if labels and others and labels != others:
        tested = _renumbered(tested, others, labels, where)
    if not labels:
        # Nobody named them.
        labels = [str(k) for k in range(1 + max(*trained, *tested, 0))]
    return Found(
        where=where,
        labels=labels,
        train=_records("train", train, trained),
        test=_records("test", test, tested),
        files=sorted(path for path in root.rglob("*") if path.is_file()),
    )


def _opened(name: str, root: Path, part: dict[str, Any]) -> Any:
    kind = getattr(datasets, name)
    quiet = {"download": False} if "download" in inspect.signature(kind).parameters else {}
    try:
        return kind(str(root), **part, **quiet)
    except ImportError as error:
        raise DataError(f"torchvision needs more to read {name}: {error}", f"pip install {error.name}") from error
    # What the readers of missing or broken files raise is not written down anywhere.
    except Exception as error:
        raise DataError(
            f"{root} holds no {name} as torchvision keeps it: {str(error)[:200]}",
            f'download it where there is a network: python -c "import torchvision; '
            f'torchvision.datasets.{name}({str(root)!r}, download=True)"',
        ) from error


def _targets(opened: Any) -> list[int]:
    for attribute in TARGETS:
        found = getattr(opened, attribute, None)
        if found is not None and len(found) == len(opened):
            return [int(one) for one in np.asarray(found).reshape(len(opened), -1)[:, 0]]
    samples = getattr(opened, "_samples", None)
    if samples is not None and len(samples) == len(opened):
        return [int(label) for _, label in samples]
    return [int(label) for _, label in (opened[k] for k in range(len(opened)))]


def _labels(opened: Any) -> list[str]:
    """Return the names of classes; none where there are none, or where some are equal."""
    for attribute in NAMES:
        found = getattr(opened, attribute, None)
        if found:
            # ImageNet has several names for each class.
            names = [one if isinstance(one, str) else str(one[0]) for one in found]
            if len(set(names)) == len(names):
                return names
    return []


def _renumbered(targets: Sequence[int], names: Sequence[str], labels: Sequence[str], where: str) -> list[int]:
    """Return classes of test images as the training images number them.

    Some data sets number the classes of each part by themselves, and a part may lack one.
    """
    places = {label: k for k, label in enumerate(labels)}
    unknown = sorted({names[k] for k in targets} - places.keys())
    if unknown:
        raise DataError(
            f"{where} has test images of {', '.join(unknown[:5])}, and none to train with",
            "take them away, or add training images",
        )
    return [places[names[k]] for k in targets]


def _records(split: str, opened: Any, targets: Sequence[int]) -> Records:
    fetch: Callable[[Sequence[int]], Iterable[Encoded]] = lambda positions: (_image(opened, k) for k in positions)  # noqa: E731
    return Records([f"{split}/{k}" for k in range(len(targets))], targets, fetch)


def _image(opened: Any, position: int) -> Encoded:
    try:
        image: Encoded = opened[position][0]
    # What its reader raises over a broken file is not written down anywhere.
    except Exception as error:
        raise DataError(str(error)[:200] or type(error).__name__) from error
    return image


@hookimpl
def unledger_data_source(spec: str, options: DataOptions, cache: Path | None) -> DataSource | None:
    """Answer to ``torchvision:NAME:FOLDER``."""
    if not spec.startswith(PREFIX):
        return None
    name, colon, root = spec.removeprefix(PREFIX).partition(":")
    if not colon or not root:
        raise UsageError(f"{spec!r} names no folder", "write torchvision:NAME:FOLDER, e.g. torchvision:MNIST:data")
    return RecordSource(read_dataset(name, Path(root).expanduser()), options, cache)
