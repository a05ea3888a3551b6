"""Merge a low-rank adapter of PEFT into the weights that it changes.

An adapter holds, for some layers, two small matrices A (r, i) and B (o, r); the layer's weight becomes W + s B A, with
a scale s that its configuration gives (Hu et al., LoRA: low-rank adaptation of large language models, 2021). Layers
that were trained as a whole stand beside them. What cannot be expressed as new weights is refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ledger.domain.command_lines import command
from ledger.errors import UsageError, WeightsError
from ledger.json_shapes import read_json_as
from ledger.named_files import read_text

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
BEFORE = "base_model.model."
"""What PEFT puts before the names of a network."""
PART = re.compile(r"^(?P<layer>.*)\.lora_(?P<which>A|B)(\.default)?\.weight$")
WHOLE = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")
"""In the names of layers that were trained as a whole, or whose bias was."""
ELSEWHERE = "merge it where it was trained: model.merge_and_unload(), then save the state dict of what that returns"


@dataclass(frozen=True)
class AdapterConfig:
    """What a configuration says; other fields of PEFT play no part in the merged weights."""

    peft_type: str = ""
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    layer_replication: list[Any] | None = None

    def scale(self, layer: str, rank: int) -> float:
        """Return by what the product of a layer's matrices is multiplied."""
        matching = (alpha for key, alpha in self.alpha_pattern.items() if re.match(rf"(.*\.)?({key})$", layer))
        return next(matching, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def is_adapter(names: Mapping[str, Any]) -> bool:
    """Whether tensors of these names change a network instead of being one."""
    return any(".lora_A." in name or ".lora_B." in name for name in names)


def adapter_folder(path: Path) -> Path | None:
    """Return the folder of an adapter, given itself or a file in it; None if it is none."""
    folder = path if path.is_dir() else path.parent
    return folder if (folder / CONFIG).is_file() and (path.is_dir() or path.name in FILES) else None


def read_config(folder: Path) -> AdapterConfig:
    """Read an adapter's configuration.

    Raises:
        WeightsError: It is not one, or of an adapter that is no change of weights.
    """
    try:
        found = read_json_as(AdapterConfig, read_text(folder / CONFIG, "configuration"))
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG} is not a configuration of PEFT: {error}", ELSEWHERE) from error
    reasons = {
        f"its kind is {found.peft_type or 'not given'}, not LORA": found.peft_type != "LORA",
        "it changes the lengths of weights, too (DoRA)": found.use_dora,
        "it has biases of its own (lora_bias)": found.lora_bias,
        "it repeats layers": bool(found.layer_replication),
    }
    for reason, holds in reasons.items():
        if holds:
            raise WeightsError(f"the adapter in {folder} cannot be merged here: {reason}", ELSEWHERE)
    return found


def merged(base: Mapping[str, Tensor], adapter: Mapping[str, Tensor], config: AdapterConfig) -> dict[str, Tensor]:
    """Return the weights that a network has with its adapter.

    Args:
        base: The weights without it, by the network's own names.
        adapter: The adapter's tensors, by the names that PEFT gives them.
        config: Its configuration.

    Raises:
        WeightsError: It changes a weight that the base lacks, or one of another shape, or in another way.
    """
    pairs: dict[str, dict[str, Tensor]] = {}
    state = dict(base)
    for name, tensor in adapter.items():
        own = name.removeprefix(BEFORE)
        if found := PART.match(own):
            pairs.setdefault(found["layer"], {})[found["which"]] = tensor
            continue
        own = WHOLE.sub("", own)
        if "lora_" in own:
            raise WeightsError(f"the adapter holds {name}, which is no part of a plain one", ELSEWHERE)
        state[_require(own, tensor.shape, state)] = tensor.to(state[own].dtype)
    for layer, pair in pairs.items():
        if pair.keys() != {"A", "B"}:
            raise WeightsError(f"the adapter holds one matrix of two for {layer}", "download or copy it again")
        weight = f"{layer}.weight"
        change = _product(layer, pair["A"].float(), pair["B"].float()) * config.scale(layer, pair["A"].shape[0])
        change = change.T if config.fan_in_fan_out and change.dim() == 2 else change
        before = state[_require(weight, change.shape, state)]
        state[weight] = (before.float() + change).to(before.dtype)
    return state


def _require(name: str, shape: torch.Size, state: Mapping[str, Tensor]) -> str:
    if name not in state:
        raise WeightsError(
            f"the adapter changes {name}, which the base lacks",
            "name the weights that it was trained on with --base, under the network's own names",
        )
    if state[name].shape != shape:
        raise WeightsError(
            f"the adapter changes {name} by {tuple(shape)}, the base has {tuple(state[name].shape)}",
            "name the weights that it was trained on with --base; a layer with groups can only be merged where it was "
            "trained: model.merge_and_unload()",
        )
    return name


def _product(layer: str, down: Tensor, up: Tensor) -> Tensor:
    """Return B A for matrices, and for the kernels of a convolution (r, i, h, w) and (o, r, 1, 1)."""
    if down.dim() != up.dim() or down.shape[0] != up.shape[1] or up.shape[2:].numel() != 1:
        raise WeightsError(f"the adapter's matrices for {layer} do not fit each other", ELSEWHERE)
    return torch.einsum("or,r...->o...", up.flatten(1), down)


def hint(source: Path) -> str:
    """Return what to do about an adapter that was given as weights."""
    folder = adapter_folder(source)
    if folder is None:
        return ELSEWHERE
    merge = command("weights", "convert", folder, "merged.safetensors", "--base", "FILE")
    return f"merge it into the weights that it was trained on: {merge}"


def find_file(folder: Path) -> Path:
    """Return the file with an adapter's tensors.

    Raises:
        UsageError: There is none.
    """
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder} has no {FILES[0]} beside {CONFIG}", "download or copy the whole folder again")
