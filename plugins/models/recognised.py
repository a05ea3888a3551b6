"""Say which architecture of timm or torchvision some weights belong to: a guess from a list, then a comparison.

Networks are built without memory for their weights, so that trying a large one costs nothing but a second.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import timm
import torch
from torch import nn
from torchvision import models

from ledger.hookspecs import RecognisedArchitecture, hookimpl

from .architecture_index import COUNTER, OF_CLASSES, Shapes, candidates

MOST_TRIED = 8
"""Most architectures of one fingerprint that are built."""
PROBE = 7
"""A number of classes that no published network has."""
TIMM = "timm/"
IMAGE_CHANNELS = 3


@hookimpl
def unledger_recognise_weights(shapes: Mapping[str, tuple[int, ...]]) -> Sequence[RecognisedArchitecture]:
    """Answer for the architectures of timm and torchvision."""
    given = {name: tuple(shape) for name, shape in shapes.items() if not name.endswith(COUNTER)}
    tried = (_fitted(spec, given) for spec in candidates(given)[:MOST_TRIED])
    return [one for one in tried if one is not None]


def _fitted(spec: str, given: Shapes) -> RecognisedArchitecture | None:
    """Return an architecture with the options that make its weights have just these shapes; None if no options do."""
    own = _shapes(spec, PROBE, {})
    if own is None or own.keys() != given.keys():
        return None
    classes = {given[n][0] for n, shape in own.items() if OF_CLASSES.search(n) and shape[:1] == (PROBE,) and given[n]}
    if len(classes) != 1:
        return None
    options = {**_channels(own, given), **_image_size(own, given)}
    [count] = classes
    return RecognisedArchitecture(spec, options, count) if _shapes(spec, count, options) == given else None


def _channels(own: Shapes, given: Shapes) -> dict[str, int]:
    """Return the option for images of another number of channels."""
    for name, shape in own.items():
        other = given[name]
        if len(shape) == len(other) == 4 and shape[1] == IMAGE_CHANNELS != other[1]:
            return {"in_chans": other[1]}
    return {}


def _image_size(own: Shapes, given: Shapes) -> dict[str, int]:
    """Return the option for square images of another size, where positions of patches have a table of their own."""
    patch = next((shape[-1] for name, shape in own.items() if name == "patch_embed.proj.weight"), None)
    before, now = (shapes.get("pos_embed", ()) for shapes in (own, given))
    if patch is None or len(before) != 3 or len(now) != 3 or before == now:
        return {}
    # A class token has a position as well; the patches are a square.
    tokens = next((extra for extra in range(6) if isqrt(before[1] - extra) ** 2 == before[1] - extra), 0)
    return {"img_size": isqrt(now[1] - tokens) * patch} if now[1] > tokens else {}


def _shapes(spec: str, classes: int, options: Mapping[str, Any]) -> Shapes | None:
    """Return the shapes of a network's weights; None if it cannot be built so."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = _built(spec, classes, options)
    # What builders raise over options they cannot take is not written down anywhere.
    except Exception:  # noqa: BLE001
        return None
    return {n: tuple(t.shape) for n, t in module.state_dict().items() if not n.endswith(COUNTER)}


def _built(spec: str, classes: int, options: Mapping[str, Any]) -> nn.Module:
    if spec.startswith(TIMM):
        return timm.create_model(spec.removeprefix(TIMM), pretrained=False, num_classes=classes, **options)
    name = spec.partition("/")[2]
    known = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module: nn.Module = models.get_model(name, weights=None, num_classes=classes, **known, **options)
    return module
