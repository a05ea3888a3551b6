"""Convert weights to a safetensors file under the network's own names, without running any code of theirs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ledger.config import Config
from ledger.digest import sha256_hex
from ledger.errors import UsageError, WeightsError
from ledger.service.output_files import require_free, write_output
from ledger.weights import adapters, tensor_files
from ledger.weights.state_choice import StateDict

from .weights_reading import Names, read_chosen

MOST_GROWTH = 8
"""Largest size of the result, in sizes of the file: each name of a shared tensor gets a copy."""
ALWAYS_BYTES = 2**26
"""Bytes that a result may have, however small the file is."""


@dataclass(frozen=True)
class Conversion:
    """What was made of a file."""

    source: str
    """What it was, e.g. ``torch.save``."""
    key: str
    """Where in it the weights were; empty for the whole of it."""
    others: tuple[StateDict, ...]
    """What else could have been taken."""
    removed: tuple[str, ...]
    """What was taken out of the names."""
    tensors: int
    shared: int
    """Number of tensors that had shared their values with another one, and are copies now."""
    left_out: tuple[str, ...]
    """Names of what stood beside the weights."""
    stood_for: tuple[str, ...]
    """Names of classes and functions that the file asks for; none of them was run."""
    size: int
    """Bytes of the new file."""
    digest: str
    """Its SHA-256."""


def convert(
    source: Path,
    target: Path,
    names: Names,
    *,
    config: Config | None,
    force: bool = False,
    base: Path | None = None,
) -> Conversion:
    """Write the weights in a file as safetensors.

    Args:
        source: A file of ``torch.save``, a safetensors file, the index of several of them, or an adapter of PEFT.
        target: The new file.
        names: Which tensors to take, and under which names; of an adapter, those of its base.
        config: The ledger whose files must not be written to; None if there is none.
        force: Replace a file that is there.
        base: The weights that an adapter changes.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or what is asked for is not in it.
        WeightsError: It holds no weights that can be read without running code, or is another kind of file; or it is
            an adapter that cannot be merged.
        ConflictError: The new file is there already.
        RefusedError: Its place belongs to a ledger, or is a link.
        LedgerError: It cannot be written.
    """
    require_free(config, target, force=force)
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the file that is converted", "name a new file")
    adapter = None if base is None else _adapter(source)
    chosen = read_chosen(source if base is None else base, names)
    if adapters.is_adapter(chosen.renamed.tensors):
        raise WeightsError(f"{source} is an adapter, which changes the weights of a network", adapters.hint(source))
    tensors = chosen.renamed.tensors
    if adapter is not None:
        tensors = adapters.merged(tensors, *adapter)
    _require_plain(chosen.read.path, tensors)
    data = tensor_files.serialise(tensors)
    write_output(config, target, data, force=force, hint="free some space or check permissions, then run it again")
    return Conversion(
        source=chosen.read.kind,
        key=chosen.chosen.key,
        others=chosen.others,
        removed=chosen.renamed.removed,
        tensors=len(tensors),
        shared=_shared(tensors),
        left_out=(*chosen.beside, *chosen.renamed.left_out),
        stood_for=chosen.read.stood_for,
        size=len(data),
        digest=sha256_hex(data),
    )


def _adapter(source: Path) -> tuple[Mapping[str, Tensor], adapters.AdapterConfig]:
    """Return the tensors and the configuration of an adapter."""
    folder = adapters.adapter_folder(source)
    if folder is None:
        raise UsageError(f"{source} is no adapter, which --base is for", f"name a folder that holds {adapters.CONFIG}")
    config = adapters.read_config(folder)
    return read_chosen(adapters.find_file(folder), Names(keep_names=True)).renamed.tensors, config


def _require_plain(source: Path, tensors: Any) -> None:
    """Require tensors that a safetensors file can hold, of a size that the file accounts for."""
    odd = [
        name for name, t in tensors.items() if t.layout != torch.strided or t.is_quantized or t.device.type == "meta"
    ]
    if odd:
        raise WeightsError(
            f"{source} holds tensors that are sparse, quantised or without values: {', '.join(odd[:3])}",
            "save the plain weights: quantise only what was exported",
        )
    empty = [name for name, tensor in tensors.items() if tensor.numel() == 0]
    if empty and len(empty) > len(tensors) / 2:
        raise WeightsError(
            f"{source} holds only the names of the weights: {', '.join(empty[:3])} have no elements",
            "DeepSpeed spreads weights over several files; join them where they were written: python zero_to_fp32.py",
        )
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > MOST_GROWTH * _bytes_of(source) + ALWAYS_BYTES:
        raise WeightsError(f"{source} announces {total:,} bytes of tensors, which it cannot hold", "check the file")


def _bytes_of(source: Path) -> int:
    if source.name.endswith(".json"):
        return sum(os.path.getsize(path) for path in source.parent.iterdir() if path.is_file())  # noqa: PTH202
    return source.stat().st_size


def _shared(tensors: Any) -> int:
    places = {(tensor.untyped_storage().data_ptr(), tensor.storage_offset()) for tensor in tensors.values()}
    return len(tensors) - len(places)
