"""Data sets of torchvision, laid out on disk as torchvision's own readers want them."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from ledger.plugins.data.torchvision_datasets import PARTS
from PIL import Image

from ledger.domain.data_record import DataOptions
from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import DataError
from ledger.hookspecs import DataSource
from ledger.plugin_manager import Plugins, build_plugins

SIDE = 12
SEEN = Preprocessing(3, SIDE, SIDE, (0.0,) * 3, (1.0,) * 3, crop_mode=CropMode.CENTER)
EACH = (("train", 3), ("test", 2))
"""Images of each class in each part."""


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return build_plugins()


def _paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


def _seeds() -> Iterator[int]:
    yield from range(1000)


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def make_dtd(root: Path, names: tuple[str, ...] = ("banded", "dotted")) -> None:
    """Describable Textures: a list of files for each part."""
    seeds = _seeds()
    for part, count in EACH:
        files = [f"{name}/{part}_{k}.jpg" for name in names for k in range(count)]
        _lines(root / "dtd/dtd/labels" / f"{part}1.txt", files)
        for file in files:
            _paint(root / "dtd/dtd/images" / file, next(seeds))


def make_food(root: Path) -> None:
    """Food-101: a JSON object for each part."""
    seeds = _seeds()
    for part, count in EACH:
        files = {name: [f"{name}/{part}{k}" for k in range(count)] for name in ("waffles", "apple_pie")}
        _lines(root / "food-101/meta" / f"{part}.json", [json.dumps(files)])
        for file in (file for some in files.values() for file in some):
            _paint(root / "food-101/images" / f"{file}.jpg", next(seeds))


def make_gtsrb(root: Path) -> None:
    """German traffic signs: folders of numbers to train with, a table to test with."""
    seeds = _seeds()
    for sign in range(3):
        for k in range(3):
            _paint(root / "gtsrb/GTSRB/Training" / f"{sign:05}" / f"{k}.ppm", next(seeds))
    rows = [(f"{k:05}.ppm", k % 3) for k in range(6)]
    for name, _ in rows:
        _paint(root / "gtsrb/GTSRB/Final_Test/Images" / name, next(seeds))
    _lines(root / "gtsrb/GT-final_test.csv", ["Filename;ClassId", *(f"{name};{sign}" for name, sign in rows)])


def make_pets(root: Path) -> None:
    """Oxford-IIIT pets: a list with class numbers from one on."""
    seeds = _seeds()
    for part, count in (("trainval", 3), ("test", 2)):
        rows = [
            (f"{name}_{part}{k}", n) for n, name in enumerate(("Abyssinian", "great_pyrenees")) for k in range(count)
        ]
        _lines(root / "oxford-iiit-pet/annotations" / f"{part}.txt", [f"{image} {n + 1} 1 1" for image, n in rows])
        for image, _ in rows:
            _paint(root / "oxford-iiit-pet/images" / f"{image}.jpg", next(seeds))


def make_aircraft(root: Path) -> None:
    """FGVC aircraft: names with blanks and slashes."""
    seeds, data = _seeds(), root / "fgvc-aircraft-2013b/data"
    names = ["707-320", "F-16A/B", "Gulfstream IV"]
    _lines(data / "variants.txt", names)
    for part, count in (("trainval", 3), ("test", 2)):
        rows = [(f"{part}{n}{k}", name) for n, name in enumerate(names) for k in range(count)]
        _lines(data / f"images_variant_{part}.txt", [f"{image} {name}" for image, name in rows])
        for image, _ in rows:
            _paint(data / "images" / f"{image}.jpg", next(seeds))


def make_countries(root: Path, parts: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> None:
    """Country211: a folder for each class."""
    seeds = _seeds()
    for part, names in parts or (("train", ("AD", "NZ")), ("test", ("AD", "NZ"))):
        for name in names:
            for k in range(3):
                _paint(root / "country211" / part / name / f"{k}.jpg", next(seeds))


def make_imagenette(root: Path) -> None:
    """Imagenette: folders of WordNet numbers, classes of several names."""
    seeds = _seeds()
    for part, count in (("train", 3), ("val", 2)):
        for number in ("n01440764", "n02102040"):
            for k in range(count):
                _paint(root / "imagenette2" / part / number / f"{k}.JPEG", next(seeds))


def make_imagenet(root: Path) -> None:
    """ImageNet, with its table of names."""
    seeds = _seeds()
    root.mkdir(parents=True)
    torch.save(({"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}, ["n01"]), root / "meta.bin")
    for part, count in (("train", 3), ("val", 2)):
        for number in ("n01", "n02"):
            for k in range(count):
                _paint(root / part / number / f"{k}.JPEG", next(seeds))


def make_reviews(root: Path) -> None:
    """Rendered SST2: two folders."""
    seeds = _seeds()
    for part, count in EACH:
        for name in ("negative", "positive"):
            for k in range(count):
                _paint(root / "rendered-sst2" / part / name / f"{k}.png", next(seeds))


def make_usps(root: Path) -> None:
    """USPS: a packed table of 16 x 16 numbers."""
    root.mkdir(parents=True)
    for name, count in (("usps.bz2", 30), ("usps.t.bz2", 20)):
        values = np.random.default_rng(count).uniform(-1, 1, (count, 256))
        rows = [
            f"{k % 10 + 1} " + " ".join(f"{n + 1}:{v:.4f}" for n, v in enumerate(row)) for k, row in enumerate(values)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(rows).encode()))


MAKERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "DTD": (make_dtd, ("banded", "dotted")),
    "Food101": (make_food, ("apple_pie", "waffles")),
    "GTSRB": (make_gtsrb, ("0", "1", "2")),
    "OxfordIIITPet": (make_pets, ("Abyssinian", "Great Pyrenees")),
    "FGVCAircraft": (make_aircraft, ("707-320", "F-16A/B", "Gulfstream IV")),
    "Country211": (make_countries, ("AD", "NZ")),
    "Imagenette": (make_imagenette, ("tench", "English springer")),
    "ImageNet": (make_imagenet, ("tench", "goldfish")),
    "RenderedSST2": (make_reviews, ("negative", "positive")),
    "USPS": (make_usps, tuple("0123456789")),
}


def _opened(plugins: Plugins, name: str, root: Path) -> DataSource:
    return plugins.data_source(f"torchvision:{name}:{root}", DataOptions(), None)


@pytest.mark.parametrize("name", MAKERS)
def test_every_image_has_the_class_that_torchvision_gives_it(plugins: Plugins, tmp_path: Path, name: str) -> None:
    make, labels = MAKERS[name]
    root = tmp_path / "data"
    make(root)
    source = _opened(plugins, name, root)
    assert list(source.labels) == list(labels)
    for part, arguments in zip((source.train, source.test), PARTS[name], strict=True):
        theirs = getattr(torchvision.datasets, name)(str(root), **arguments)
        assert list(part.labels) == [target for _, target in theirs]
        assert len(set(part.labels)) == len(labels)
        seen = SEEN if name != "USPS" else Preprocessing(1, 16, 16, (0.0,), (1.0,), crop_mode=CropMode.CENTER)
        k = len(theirs) - 1
        expected = torch.from_numpy(np.array(theirs[k][0])).reshape(seen.height, seen.width, -1).permute(2, 0, 1) / 255
        torch.testing.assert_close(part.pixels([k], seen)[0], expected)


def test_a_part_without_a_class_keeps_the_others_apart(plugins: Plugins, tmp_path: Path) -> None:
    make_countries(tmp_path, (("train", ("AD", "FR", "NZ")), ("test", ("AD", "NZ"))))
    source = _opened(plugins, "Country211", tmp_path)
    assert list(source.labels) == ["AD", "FR", "NZ"]
    # As torchvision numbers them, NZ would be FR here.
    assert list(source.test.labels) == [0, 0, 0, 2, 2, 2]


def test_classes_that_are_only_tested_are_refused(plugins: Plugins, tmp_path: Path) -> None:
    make_countries(tmp_path, (("train", ("AD", "NZ")), ("test", ("AD", "FR", "NZ"))))
    with pytest.raises(DataError, match="FR"):
        _opened(plugins, "Country211", tmp_path)
