"""Choose of a family of architectures the smallest classifier, and the smallest image that it takes.

Nothing is computed for the choice: networks are built on torch's meta device, where tensors have shapes only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from ledger.plugin_manager import Plugins

CLASSES = 4
SIZES = (32, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 331, 384, 512, 1024)
"""Pixels a side, tried in this order."""
MOST_BUILT = 10
"""Members of one family that are built to count their parameters, the likeliest first."""
MOST_PARAMETERS = 30_000_000
"""Above it, a member is built with fewer blocks where it takes that option."""
FEWER = {"depth": 2}
SMALL = (
    *(r"^test_", r"zepto|atto", r"femto", r"pico|_xxs|xxtiny|xx_small|xx_tiny", r"nano|_xs\b|xtiny|x_small"),
    *(r"tiny|_ti_|_ti16|mini", r"_t\d?\b|_t_|050|035", r"small|_s\d*\b|_s_|_00\d|slim|lite|18|_m0|_b0|_0\b|10t"),
)
"""What tends to be in the names of small members, the smallest first."""

WANT_OF_MEMORY = "can't allocate memory", "bad_alloc", "could not create a primitive"
"""What torch says of it on the CPU, by its allocator, by the C++ library and by oneDNN: a plain ``RuntimeError``."""


@dataclass(frozen=True)
class Family:
    """All architectures of one module of a library."""

    library: str
    """``timm`` or ``torchvision``."""
    name: str

    def members(self) -> list[str]:
        """Return the names of its architectures."""
        if self.library == "timm":
            return timm.list_models(module=self.name)
        models = torchvision.models
        return [n for n in models.list_models(module=models) if _module_of(n) == self.name]


@dataclass(frozen=True)
class Member:
    """One architecture as the ledger would be told of it."""

    spec: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0

    @property
    def shown(self) -> str:
        """Its name with the options that matter."""
        name = self.spec.removeprefix("timm/").rpartition(":")[2]
        return " ".join([name, *(f"{k}={v}" for k, v in self.options.items() if k in FEWER)])


def families() -> list[Family]:
    """Return every family of timm, then those of torchvision's classifiers."""
    models = torchvision.models
    others = sorted({_module_of(name) for name in models.list_models(module=models)})
    return [Family("timm", name) for name in timm.list_modules()] + [Family("torchvision", name) for name in others]


def smallest(family: Family, plugins: Plugins) -> list[Member]:
    """Return members, those with the fewest parameters first; empty if none can be built."""
    counted = []
    for name in sorted(family.members(), key=_likely)[:MOST_BUILT]:
        member = _member(family, name)
        count = _parameters(plugins, member)
        if count is not None:
            counted.append(Member(member.spec, member.options, count))
    return sorted(counted, key=lambda member: (member.parameters, member.spec))


def affordable(member: Member, plugins: Plugins) -> Member:
    """Return a member with fewer blocks if it is too large and takes that option, else as it is."""
    if member.parameters <= MOST_PARAMETERS:
        return member
    fewer = Member(member.spec, {**member.options, **FEWER})
    count = _parameters(plugins, fewer)
    return member if count is None else Member(fewer.spec, fewer.options, count)


def inputs(member: Member, plugins: Plugins) -> Iterator[tuple[Member, int]]:
    """Yield the member with each size of image that it seems to take, the smallest first.

    A network made for one size is built for another if it takes the option ``img_size``.
    """
    as_it_is = _on_meta(plugins, member)
    for size in SIZES:
        if as_it_is is not None and _takes(as_it_is, size):
            yield member, size
            continue
        resized = Member(member.spec, {**member.options, "img_size": size}, member.parameters)
        module = _on_meta(plugins, resized)
        if module is not None and _takes(module, size):
            yield resized, size


def never_for_want_of_memory(error: BaseException) -> None:
    """Let pass what tells something about a network; that this process ran out of memory tells nothing.

    Raises:
        MemoryError: The error is one, or comes of one, or is what torch makes of one.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(phrase in str(cause) for phrase in WANT_OF_MEMORY):
            raise MemoryError(str(cause)) from error
        cause = cause.__cause__ or cause.__context__


def _member(family: Family, name: str) -> Member:
    if family.library == "timm":
        return Member(f"timm/{name}")
    # The ledger passes the number of classes only where a factory names it; these take it among their keywords.
    options: dict[str, Any] = {"num_classes": CLASSES}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    return Member(f"torchvision.models:{name}", options)


def _module_of(name: str) -> str:
    return str(torchvision.models.get_model_builder(name).__module__).rpartition(".")[2]


def _likely(name: str) -> tuple[int, str]:
    return next((rank for rank, pattern in enumerate(SMALL) if re.search(pattern, name)), len(SMALL)), name


def _parameters(plugins: Plugins, member: Member) -> int | None:
    module = _on_meta(plugins, member)
    return None if module is None else sum(p.numel() for p in module.parameters())


def _on_meta(plugins: Plugins, member: Member) -> nn.Module | None:
    """Build a member without memory, or with where it needs some; None where that fails: there are others to try."""
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                return plugins.load_model(member.spec, member.options, CLASSES).module.eval().to("meta")
        except Exception as error:  # noqa: BLE001
            never_for_want_of_memory(error)
    return None


def _takes(module: nn.Module, size: int) -> bool:
    """Whether a network answers one logit for each class to an image of this size."""
    try:
        with torch.inference_mode():
            answer = module(torch.zeros(1, 3, size, size, device="meta"))
    except Exception as error:  # noqa: BLE001
        never_for_want_of_memory(error)
        return False
    return isinstance(answer, torch.Tensor) and answer.shape == (1, CLASSES)
