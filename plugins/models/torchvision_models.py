"""Model loader for ``torchvision/NAME``: any classifier that torchvision builds, with weights of one's own."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torchvision
from torchvision import models

from ledger.digest import json_digest
from ledger.domain.settings import CropMode, Preprocessing, crop_share
from ledger.errors import UsageError
from ledger.hookspecs import LoadedModel, hookimpl

from .fixed_options import refuse_others

PREFIX = "torchvision/"


@hookimpl
def unledger_load_model(spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel | None:
    """Build ``torchvision/NAME`` without pretrained weights; options go to its builder."""
    if not spec.startswith(PREFIX):
        return None
    name = spec.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=5)
        raise UsageError(
            f"torchvision has no classifier called {name!r}",
            f"some that come near: {', '.join(near)}" if near else "see torchvision.models.list_models()",
        )
    given = {"weights": None, "num_classes": num_classes}
    refuse_others(options, given, num_classes)
    if "init_weights" in inspect.signature(models.get_model_builder(name)).parameters:
        # Its weights are replaced anyway, and torchvision takes a minute to draw them.
        given["init_weights"] = False
    try:
        module = models.get_model(name, **(dict(options) | given))
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UsageError(
            f"torchvision cannot build {name} with {dict(options)}: {error}", "check --arch-option"
        ) from error
    digest = json_digest({"torchvision": torchvision.__version__, "arch": name})
    return LoadedModel(module, _preprocessing(name), digest)


def _preprocessing(name: str) -> Preprocessing | None:
    """Return what the library's own weights of a network expect; None if that is not said."""
    weights = models.get_model_weights(name)
    chosen = next((one for one in weights if one.name == "DEFAULT"), None) or next(iter(weights), None)
    preset = chosen.transforms() if chosen is not None else None
    if preset is None or not hasattr(preset, "crop_size"):
        return None
    (crop, *_), (resized, *_) = preset.crop_size, preset.resize_size
    return Preprocessing(
        channels=3,
        height=crop,
        width=crop,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        crop_fraction=crop_share(crop, resized),
        crop_mode=CropMode.CENTER,
    )
