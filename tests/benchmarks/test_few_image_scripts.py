"""How the benchmarks on faces and on ImageNet weights lay out their images."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from ledger.weights import tensor_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def imagenet(script: Callable[[str], Any]) -> Any:
    return script("imagenet_twenty")


@pytest.fixture(scope="module")
def faces(script: Callable[[str], Any]) -> Any:
    return script("faces")


def picture(*colours: int) -> Image.Image:
    """Grey stripes side by side, ten pixels each, twenty high."""
    return Image.fromarray(np.repeat(np.repeat(np.array([colours], np.uint8), 10, axis=1), 20, axis=0))


def stored(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_test_images_are_the_mirrored_photograph_and_its_mirrored_corner(imagenet: Any) -> None:
    mirrored, corner = imagenet.forms(picture(10, 90, 200))
    assert np.asarray(mirrored)[0, ::10].tolist() == [200, 90, 10]
    assert corner.size == (16, 16)
    assert np.asarray(corner)[0].tolist() == [90] * 6 + [10] * 10


def test_photographs_are_for_training_and_what_is_made_of_them_for_testing(imagenet: Any, tmp_path: Path) -> None:
    archive = tmp_path / "photographs.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for k, name in enumerate(("n1_ant", "n2_bee", "n3_cat")):
            packed.writestr(f"imagenet/{name}/1.jpg", stored(picture(k, 100, 200).convert("RGB"), "JPEG"))
    images = imagenet.make_images(archive, tmp_path, [0, 2])
    found = sorted(str(path.relative_to(images)) for path in images.rglob("*.jpg"))
    forms = ("0-mirrored.jpg", "1-corner.jpg")
    names = ("n1_ant", "n3_cat")
    assert found == [f"test/{n}/{form}" for n in names for form in forms] + [f"train/{n}/photograph.jpg" for n in names]
    with zipfile.ZipFile(archive) as packed:
        assert (images / "train/n3_cat/photograph.jpg").read_bytes() == packed.read("imagenet/n3_cat/1.jpg")


def test_fewer_classes_keep_their_own_outputs(imagenet: Any, tmp_path: Path) -> None:
    classes = imagenet.spaced(4)
    assert classes == [0, 250, 500, 750]
    weight, bias = torch.arange(2000.0).reshape(1000, 2), torch.arange(1000.0)
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(
        tensor_files.serialise({"classifier.weight": weight, "classifier.bias": bias, "conv.weight": torch.ones(3)})
    )
    cut = tensor_files.parse(imagenet.cut_weights(whole, tmp_path, classes).read_bytes(), "cut")
    assert torch.equal(cut["classifier.weight"], weight[classes])
    assert torch.equal(cut["classifier.bias"], bias[classes])
    assert torch.equal(cut["conv.weight"], torch.ones(3))
    assert imagenet.cut_weights(whole, tmp_path, imagenet.spaced(1000)) == whole


def test_forgotten_classes_and_a_fixed_draw_of_others_are_looked_at(imagenet: Any) -> None:
    shown = imagenet.looked_at(100, (7, 3), 10)
    assert len(shown) == 12
    assert {3, 7} < set(shown)
    assert shown == sorted(shown) == imagenet.looked_at(100, (7, 3), 10)
    assert imagenet.looked_at(5, (0,), 100) == [0, 1, 2, 3, 4]


def test_faces_are_unpacked_once(faces: Any, tmp_path: Path) -> None:
    archive = tmp_path / "faces.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("orl/train/s01/01.png", stored(picture(1, 2), "PNG"))
    images = faces.unpack(archive, tmp_path)
    assert [path.name for path in images.rglob("*.png")] == ["01.png"]
    archive.unlink()
    assert faces.unpack(archive, tmp_path) == images


def test_the_network_of_faces_takes_what_it_is_registered_with(faces: Any, script: Callable[[str], Any]) -> None:
    p = faces.PREPROCESSING
    module = script("faces_net").small_cnn(faces.PEOPLE).eval()
    assert module(torch.zeros(2, p.channels, p.height, p.width)).shape == (2, faces.PEOPLE)
