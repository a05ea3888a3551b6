"""Model loader for ``timm/ARCH``: any classifier that timm builds, with weights of one's own."""

import difflib
from collections.abc import Mapping
from typing import Any

import timm
from timm.data.config import resolve_model_data_config

from ledger.digest import json_digest
from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import UsageError
from ledger.hookspecs import LoadedModel, hookimpl

from .fixed_options import refuse_others

PREFIX = "timm/"


@hookimpl
def unledger_load_model(spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel | None:
    """Build ``timm/ARCH`` without pretrained weights; options go to ``timm.create_model``."""
    if not spec.startswith(PREFIX):
        return None
    arch = spec.removeprefix(PREFIX)
    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch, timm.list_models(), n=5)
        raise UsageError(
            f"timm has no architecture called {arch!r}",
            f"some that come near: {', '.join(near)}" if near else "see timm.list_models()",
        )
    # Said twice is not wrong; timm would fail.
    given = {"pretrained": False, "num_classes": num_classes}
    refuse_others(options, given, num_classes)
    try:
        module = timm.create_model(arch, **(dict(options) | given))
    except (TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"timm cannot build {arch} with {dict(options)}: {error}", "check --arch-option") from error
    config = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    channels = int(options.get("in_chans", config["input_size"][0]))
    return LoadedModel(
        module=module,
        preprocessing=Preprocessing(
            channels=channels,
            height=config["input_size"][1],
            width=config["input_size"][2],
            mean=tuple(config["mean"])[:channels],
            std=tuple(config["std"])[:channels],
            interpolation=config["interpolation"],
            crop_fraction=config["crop_pct"],
            crop_mode=CropMode.SQUASH if config["crop_mode"] == CropMode.SQUASH else CropMode.CENTER,
        ),
        code_digest=json_digest({"timm": timm.__version__, "arch": arch}),
    )
