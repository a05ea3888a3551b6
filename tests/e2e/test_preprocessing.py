"""What is done with an image is what was asked for, what is recorded, and what an export states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from ledger.plugins.data.image_files import decode
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import UsageError
from ledger.plugin_manager import build_plugins
from ledger.service.models.preprocessing_files import read_preprocessing
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli

SIZES = [(32, 32), (40, 32), (32, 50), (64, 64), (33, 47), (20, 20), (100, 31), (37, 37)]
ACCEPTED = ("--accept-accuracy",)
"""The networks are not trained."""
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _image(size: tuple[int, int], seed: int) -> Image.Image:
    """Return a smooth image that is bright towards one side: which, tells its class."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = columns / width if seed % 2 else rows / height
    noise = np.random.default_rng(seed).uniform(0, 60, (height, width, 3))
    return Image.fromarray((ramp[..., None] * 190 + noise).astype(np.uint8))


def _config(**changes: Any) -> dict[str, Any]:
    size = changes.pop("size", (32, 32))
    return {"input_size": (3, *size), "mean": MEAN, "std": STD, "interpolation": "bicubic", **changes}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize("mode", list(CropMode))
@pytest.mark.parametrize("fraction", [1.0, 0.95, 0.875, 0.9])
@pytest.mark.parametrize("wanted", [(32, 32), (24, 40)])
def test_pixels_are_those_of_timm(
    tmp_path: Path, interpolation: str, mode: CropMode, fraction: float, wanted: tuple[int, int]
) -> None:
    config = _config(size=wanted, interpolation=interpolation, crop_pct=fraction, crop_mode=mode.value)
    transform = create_transform(**config, is_training=False)
    preprocessing = Preprocessing(3, *wanted, MEAN, STD, interpolation, fraction, mode)
    for number, size in enumerate(SIZES):
        image = _image(size, number)
        image.save(tmp_path / "x.png")
        pixels = torch.from_numpy(decode(tmp_path / "x.png", preprocessing).copy()).permute(2, 0, 1) / 255
        normalised = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        torch.testing.assert_close(normalised, transform(image), rtol=0, atol=1e-6, msg=f"{size}")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of images, most of them of just the size that the network takes."""
    for split, count in (("train", 40), ("test", 24)):
        for number in range(count):
            folder = tmp_path / "photos" / split / ("across", "down", "both")[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            size = (32, 32) if number % 5 else SIZES[number % len(SIZES)]
            _image(size, number % 3 + 3 * number).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({}, ["std 0.5,0.5,0.5, interpolation bilinear, crop 0.95, of the architecture"]),
        ({"std": [0.5] * 3, "crop_pct": 1.0}, ["interpolation bilinear, of the architecture"]),
        ({"std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bicubic"}, []),
    ],
)
def test_a_crop_that_nobody_named_is_told(
    empty: Cli, tmp_path: Path, photos: Path, named: dict[str, object], told: list[str]
) -> None:
    module = build_plugins().load_model("timm/test_resnet", {}, 3).module
    weights, file = tmp_path / "net.safetensors", tmp_path / "said.json"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    file.write_text(json.dumps({"mean": [0.5] * 3, **named}))
    options = ("--arch", "timm/test_resnet", "--data", f"folder:{photos}", "--input-size", "3x32x32", *ACCEPTED)
    said = empty("model", "add", "net", *options, "--weights", str(weights), "--preprocessing", str(file)).err
    assumed = [
        line.removeprefix("preprocessing: ") for line in said.splitlines() if line.endswith("of the architecture")
    ]
    assert assumed == told


@pytest.mark.parametrize("mode", list(CropMode))
def test_an_export_gives_the_same_answers_in_timm_and_is_registered_as_it_was(
    empty: Cli, tmp_path: Path, photos: Path, mode: CropMode
) -> None:
    torch.manual_seed(0)
    module = build_plugins().load_model("timm/test_resnet", {}, 3).module
    weights, said = tmp_path / "net.safetensors", tmp_path / "said.json"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    said.write_text(json.dumps(_config(crop_pct=0.7, crop_mode=mode.value)))
    options = ("--arch", "timm/test_resnet", "--data", f"folder:{photos}", *ACCEPTED)
    empty("model", "add", "net", *options, "--weights", str(weights), "--preprocessing", str(said))
    empty("model", "export", "net", "-o", str(tmp_path / "export"))
    folder = tmp_path / "export"

    exported = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=exported), is_training=False)  # type: ignore[no-untyped-call]
    classes = sorted(path.name for path in (photos / "test").iterdir())
    right = []
    with torch.inference_mode():
        for label, name in enumerate(classes):
            images = [transform(Image.open(file).convert("RGB")) for file in sorted((photos / "test" / name).iterdir())]
            right.append(float((exported(torch.stack(images)).argmax(1) == label).float().mean()))
    empty("evaluate", "net", "-e", "accuracy")
    evidence = empty.json("model", "show", "net")["evidence"]
    assert evidence[0]["metrics"]["test"]["per_class"] == pytest.approx(right)

    empty(
        *("model", "add", "again", *options, "--weights", str(folder / "model.safetensors")),
        *("--preprocessing", str(folder / "config.json")),
    )
    before, after = (empty.json("model", "show", name) for name in ("net", "again"))
    for field in ("preprocessing", "data_digest", "labels"):
        assert after[field] == before[field]
    assert after["version"]["weights"] == before["version"]["weights"]


def test_an_export_of_arrays_states_that_nothing_is_cropped(empty: Cli, tmp_path: Path) -> None:
    module = build_plugins().load_model("timm/test_resnet", {"in_chans": 1}, 10).module
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(tensor_files.serialise(module.state_dict()))
    options = ("--arch", "timm/test_resnet", "--data", "digits", "--arch-option", "in_chans=1", *ACCEPTED)
    said = empty("model", "add", "net", *options, "--weights", str(weights), "--input-size", "1x32x32").err
    assert "the crop of 0.95 is not applied" in said
    assert "preprocessing: mean 0.5, std 0.5, of the architecture" in said
    empty("model", "export", "net", "-o", str(tmp_path / "export"))
    config = json.loads((tmp_path / "export" / "config.json").read_text())["pretrained_cfg"]
    assert (config["crop_pct"], config["crop_mode"], config["interpolation"]) == (1.0, "squash", "bilinear")
    file = str(tmp_path / "export" / "config.json")
    empty("model", "add", "again", *options, "--weights", str(weights), "--preprocessing", file)
    first, second = (empty.json("model", "show", name)["preprocessing"] for name in ("net", "again"))
    assert first == second


CENTER, SQUASH = {"crop_mode": CropMode.CENTER}, {"crop_mode": CropMode.SQUASH}
FILES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "timm": (
        {"input_size": [3, 224, 224], "mean": [0.1], "std": [0.2], "interpolation": "bicubic", "crop_pct": 0.9},
        {"channels": 3, "height": 224, "width": 224, "mean": (0.1,), "std": (0.2,), "interpolation": "bicubic"}
        | {"crop_fraction": 0.9},
    ),
    "timm, nested": (
        {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {"mean": [0.1], "crop_mode": "squash"}},
        {"mean": (0.1,)} | SQUASH,
    ),
    "ViT": (
        {
            "do_resize": True,
            "size": {"height": 224, "width": 224},
            "resample": 2,
            "image_mean": [0.5],
            "image_std": [0.5],
        },
        {"height": 224, "width": 224, "crop_fraction": 1.0, "interpolation": "bilinear", "mean": (0.5,), "std": (0.5,)}
        | SQUASH,
    ),
    "ResNet of Hugging Face": (
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224, "resample": 3, "image_mean": [0.5]}
        | {"image_std": [0.5]},
        {"height": 224, "width": 224, "crop_fraction": 0.875, "interpolation": "bicubic", "mean": (0.5,), "std": (0.5,)}
        | CENTER,
    ),
    "ConvNeXt": (
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "do_resize": True, "resample": 1},
        {"height": 224, "width": 224, "crop_fraction": 0.875, "interpolation": "lanczos"} | CENTER,
    ),
    "CLIP": (
        {"size": 224, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "image_mean": None},
        {"height": 224, "width": 224, "crop_fraction": 1.0} | CENTER,
    ),
    "no crop": (
        {"size": {"shortest_edge": 64}, "do_center_crop": False, "do_resize": True},
        {"height": 64, "width": 64, "crop_fraction": 1.0} | CENTER,
    ),
    "no normalisation": ({"do_normalize": False, "image_mean": [0.5]}, {"mean": (0.0,), "std": (1.0,)}),
    "values of 0 to 255": (
        {"do_rescale": False, "image_mean": [127.5], "image_std": [51.0]},
        {"mean": (0.5,), "std": (0.2,)},
    ),
    "torchvision": (
        {"crop_size": [224], "resize_size": [256], "mean": [0.4], "std": [0.2]}
        | {"interpolation": "InterpolationMode.BILINEAR"},
        {
            "height": 224,
            "width": 224,
            "crop_fraction": 0.875,
            "interpolation": "bilinear",
            "mean": (0.4,),
            "std": (0.2,),
        }
        | CENTER,
    ),
}


@pytest.mark.parametrize(("said", "values"), FILES.values(), ids=FILES)
def test_files_of_several_libraries_are_read(tmp_path: Path, said: dict[str, Any], values: dict[str, Any]) -> None:
    (tmp_path / "pre.json").write_text(json.dumps(said))
    assert read_preprocessing(tmp_path / "pre.json").values == values


@pytest.mark.parametrize(("crop", "resized"), [(224, 232), (224, 256), (299, 342), (384, 389), (112, 113), (7, 9)])
def test_a_crop_in_pixels_comes_out_in_pixels(tmp_path: Path, crop: int, resized: int) -> None:
    import math

    (tmp_path / "pre.json").write_text(json.dumps({"crop_size": crop, "resize_size": resized}))
    fraction = read_preprocessing(tmp_path / "pre.json").values["crop_fraction"]
    assert math.floor(crop / fraction) == resized
    assert fraction == pytest.approx(crop / resized)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "says nothing about preprocessing"),
        ('{"architectures": ["ResNet"], "image_size": 224}', "says nothing about preprocessing"),
        ('{"pretrained_cfg": {}}', "says nothing about preprocessing"),
        ('{"input_size": null}', "says nothing about preprocessing"),
        ("[]", "cannot read preprocessing"),
        ("224", "cannot read preprocessing"),
        ('{"input_size": 224}', "cannot read preprocessing"),
        ('{"crop_pct": "0.9"}', "cannot read preprocessing"),
        ('{"crop_mode": "border"}', "crop_mode cannot be 'border'"),
        ('{"do_resize": true, "size": {"longest_edge": 800}}', "names neither"),
        ('{"do_resize": true, "resample": 9}', "resample cannot be 9"),
        ('{"do_resize": false, "crop_size": 224}', "without being resized first"),
        ('{"crop_size": 0}', "at least 1"),
        (
            '{"do_normalize": true, "image_mean": [1], "image_std": [1], "rescale_factor": 0}',
            "rescale_factor cannot be",
        ),
    ],
)
def test_a_file_that_says_nothing_known_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pre.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_preprocessing(tmp_path / "pre.json")
