"""A registered network, exported and opened by timm with timm's own transform, answers each image as it did here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

from ledger.weights import tensor_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.command_line import Cli

FAMILIES: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_efficientnet": {},
    "test_convnext": {},
    "test_nfnet": {},
    "test_vit": {"img_size": 32},
}
"""Small members of five families, with options of their builders."""
DIGITS = range(5)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scanned digits as photographs of odd sizes, in colour: resizing and cropping have something to do."""
    root = tmp_path_factory.mktemp("digits")
    bunch = load_digits()
    counts = dict.fromkeys(DIGITS, 0)
    for number, (scan, digit) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        if digit not in DIGITS or counts[digit] >= 100:
            continue
        split = "test" if counts[digit] % 4 == 0 else "train"
        counts[digit] += 1
        folder = root / split / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray(np.rint(scan * (255 / 16)).astype(np.uint8))
        size = (40 + number % 17, 40 + number % 11)
        Image.merge("RGB", [grey] * 3).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return root


def _taught(name: str, options: dict[str, Any], photos: Path) -> torch.nn.Module:
    """Return a network that knows most of the training images."""
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=len(DIGITS), **options)
    transform = create_transform(**_config(), is_training=False)
    files = sorted((photos / "train").rglob("*.png"))
    with torch.random.fork_rng():
        images = torch.stack([transform(Image.open(file)) for file in files])
    labels = torch.tensor([int(file.parent.name) for file in files])
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)
    module.train()
    for _ in range(6):
        for part in torch.randperm(len(files)).split(32):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(images[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return module.eval()


def _config() -> dict[str, Any]:
    return {
        "input_size": (3, 32, 32),
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.3),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_an_export_answers_each_image_the_same_in_timm(empty: Cli, tmp_path: Path, photos: Path, name: str) -> None:
    module = _taught(name, FAMILIES[name], photos)
    weights, said = tmp_path / "net.safetensors", tmp_path / "said.json"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    said.write_text(json.dumps(_config()))
    options = [text for key, value in FAMILIES[name].items() for text in ("--arch-option", f"{key}={value}")]
    empty(
        *("model", "add", "net", "--arch", f"timm/{name}", "--weights", str(weights), "--data", f"folder:{photos}"),
        *("--preprocessing", str(said), *options),
    )
    empty("evaluate", "net", "-e", "accuracy")
    here = empty.json("model", "show", "net")["evidence"][0]["metrics"]["test"]["per_class"]
    empty("model", "export", "net", "-o", str(tmp_path / "export"))

    there = timm.create_model(f"local-dir:{tmp_path / 'export'}", pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=there), is_training=False)  # type: ignore[no-untyped-call]
    counts, images = [], []
    for digit in DIGITS:
        files = sorted((photos / "test" / str(digit)).iterdir())
        with torch.inference_mode():
            answers = there(torch.stack([transform(Image.open(file).convert("RGB")) for file in files])).argmax(1)
        counts.append(int((answers == digit).sum()))
        images.append(len(files))
    # To the image, and of a network that knows something.
    assert [round(share * n) for share, n in zip(here, images, strict=True)] == counts
    assert sum(counts) > 0.6 * sum(images)
    assert here == pytest.approx([right / n for right, n in zip(counts, images, strict=True)], abs=0)
