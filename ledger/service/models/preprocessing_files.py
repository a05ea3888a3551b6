"""Files that say how images become the input of a network, in the words of the libraries that write them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.domain.settings import CropMode, crop_share
from ledger.errors import UsageError
from ledger.json_shapes import read_unique_json_as, value_as
from ledger.named_files import read_text

PILLOW_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Names of Pillow's filters, in the order of its numbers."""
LARGEST_VALUE = 255
KNOWN = (
    "a config.json of timm or of model export, a preprocessor_config.json of Hugging Face, or a preset of torchvision"
)
TIMM, HUGGING_FACE, TORCHVISION = "timm", "Hugging Face", "torchvision"


@dataclass(frozen=True)
class PreprocessingFile:
    """What a file says."""

    kind: str
    """Whose words it uses."""
    values: Mapping[str, Any]
    """Fields of :class:`~ledger.domain.settings.Preprocessing`."""


@dataclass(frozen=True)
class _Timm:
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class _HuggingFace:
    do_resize: bool = True
    size: int | dict[str, int] | None = None
    do_center_crop: bool | None = None
    crop_size: int | dict[str, int] | None = None
    crop_pct: float | None = None
    resample: int | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / LARGEST_VALUE
    do_normalize: bool = True
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class _Torchvision:
    crop_size: int | tuple[int, ...] | None = None
    resize_size: int | tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None


def read_preprocessing(path: Path, *, required: bool = True) -> PreprocessingFile:
    """Read a file.

    Args:
        path: The file.
        required: Whether it must say something about preprocessing.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or nothing in it is known.
    """
    try:
        found = read_unique_json_as(dict[str, Any], read_text(path, "preprocessing file"))
        inner = found.get("pretrained_cfg")
        kind, values = _read(found | (inner if isinstance(inner, dict) else {}))
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"cannot read preprocessing from {path}: {error}", f"name {KNOWN}") from error
    if required and not values:
        raise UsageError(f"{path} says nothing about preprocessing", f"name {KNOWN}")
    return PreprocessingFile(kind, values)


def _read(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if found.keys() & {"image_mean", "image_std", "do_resize", "do_normalize", "do_rescale", "image_processor_type"}:
        return HUGGING_FACE, _from_hugging_face(_fields(_HuggingFace, found))
    if found.keys() & {"resize_size", "crop_size"}:
        return TORCHVISION, _from_torchvision(_fields(_Torchvision, found))
    return TIMM, _from_timm(_fields(_Timm, found))


def _fields(kind: Any, found: dict[str, Any]) -> Any:
    """Read the fields of a kind of file; others are of no concern here, and null means absent."""
    return value_as(kind, {k: v for k, v in found.items() if k in kind.__dataclass_fields__ and v is not None})


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _from_timm(said: _Timm) -> dict[str, Any]:
    size = dict(zip(("channels", "height", "width"), said.input_size or (), strict=False))
    mode = None if said.crop_mode is None else _crop_mode(said.crop_mode)
    known = _given(interpolation=said.interpolation, crop_fraction=said.crop_pct, crop_mode=mode)
    return size | known | _given(mean=said.mean, std=said.std)


def _crop_mode(name: str) -> CropMode:
    try:
        return CropMode(name)
    except ValueError:
        raise UsageError(f"crop_mode cannot be {name!r}", f"it is {' or '.join(CropMode)}") from None


def _from_hugging_face(said: _HuggingFace) -> dict[str, Any]:
    values: dict[str, Any] = {}
    cropped = said.do_center_crop if said.do_center_crop is not None else said.crop_size is not None
    crop = _sides(said.crop_size) if cropped else None
    if said.do_resize and said.size is not None:
        values |= _resized(said, crop)
    elif crop is not None:
        raise UsageError(
            "images that are cropped without being resized first cannot be described", "give a size, or --input-size"
        )
    if said.resample is not None:
        if not 0 <= said.resample < len(PILLOW_FILTERS):
            raise UsageError(f"resample cannot be {said.resample}", "it is a number of Pillow's filters, 0 to 5")
        values["interpolation"] = PILLOW_FILTERS[said.resample]
    if said.do_normalize and not (said.image_mean and said.image_std):
        return values
    # What is normalised are values of 0 to 255 times a factor; here, pixels are in [0, 1].
    scale = LARGEST_VALUE * said.rescale_factor if said.do_rescale else LARGEST_VALUE
    mean = said.image_mean if said.do_normalize and said.image_mean else (0.0,)
    std = said.image_std if said.do_normalize and said.image_std else (1.0,)
    if scale <= 0:
        raise UsageError(f"rescale_factor cannot be {said.rescale_factor}", "it is 1/255 for pixels in [0, 1]")
    near = math.isclose(scale, 1.0)
    return values | {
        "mean": tuple(mean if near else (value / scale for value in mean)),
        "std": tuple(std if near else (value / scale for value in std)),
    }


def _resized(said: _HuggingFace, crop: tuple[int, int] | None) -> dict[str, Any]:
    shortest = said.size.get("shortest_edge") if isinstance(said.size, dict) else said.size if crop else None
    if shortest is None:
        height, width = _sides(said.size)
        part = crop or (height, width)
        return _cropped(part, max(height, width), max(part), CropMode.SQUASH)
    if crop is None and said.crop_pct:
        return {"height": shortest, "width": shortest, "crop_fraction": said.crop_pct, "crop_mode": CropMode.CENTER}
    part = crop or (shortest, shortest)
    return _cropped(part, shortest, min(part), CropMode.CENTER)


def _from_torchvision(said: _Torchvision) -> dict[str, Any]:
    values = _given(mean=said.mean, std=said.std)
    if said.interpolation is not None:
        values["interpolation"] = said.interpolation.rpartition(".")[2].lower()
    if said.crop_size is None:
        return values
    part = _sides(said.crop_size)
    resized = said.resize_size or said.crop_size
    if isinstance(resized, tuple) and len(resized) > 1:
        return values | _cropped(part, max(resized), max(part), CropMode.SQUASH)
    shortest = resized if isinstance(resized, int) else resized[0]
    return values | _cropped(part, shortest, min(part), CropMode.CENTER)


def _sides(size: int | dict[str, int] | tuple[int, ...] | None) -> tuple[int, int]:
    """Return height and width."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return size["height"], size["width"]
    if isinstance(size, tuple) and size:
        return size[0], size[-1]
    raise UsageError(f"the size {size} names neither height and width nor the shortest edge", f"name {KNOWN}")


def _cropped(part: tuple[int, int], resized: int, cropped: int, mode: CropMode) -> dict[str, Any]:
    """Return the fields for a crop of ``cropped`` pixels out of ``resized``."""
    if min(*part, resized, cropped) < 1:
        raise UsageError("a size of an image must be at least 1", "check the sizes in the file")
    return {"height": part[0], "width": part[1], "crop_fraction": crop_share(cropped, resized), "crop_mode": mode}


def described(values: Mapping[str, Any]) -> str:
    """Return in words which fields of the preprocessing are set."""
    names = {"channels": "channels", "height": "size", "width": "size", "crop_fraction": "crop", "crop_mode": "crop"}
    return ", ".join(dict.fromkeys(names.get(name, name) for name in values))
