"""Convert weights to a safetensors file under the network's own names, without running any code of theirs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ledger.config import Config
from ledger.digest import sha256_hex
from ledger.errors import UsageError, WeightsError
from ledger.json_shapes import read_json_as
from ledger.named_files import open_named, read_text, reading
from ledger.service.output_files import require_free, write_output
from ledger.weights import foreign_files, pickled_files, tensor_files, wrapper_names
from ledger.weights.state_choice import StateDict, choose, find_state_dicts

MOST_GROWTH = 8
"""Largest size of the result, in sizes of the file: each name of a shared tensor gets a copy."""
ALWAYS_BYTES = 2**26
"""Bytes that a result may have, however small the file is."""


@dataclass(frozen=True)
class Names:
    """What a person says about the names of the tensors."""

    key: str | None = None
    """Which state dict to take; None chooses."""
    prefix: str | None = None
    """What to take off, with all that does not begin with it left out; None finds out."""
    add_prefix: str = ""
    leave_out: tuple[str, ...] = ()
    """Patterns of names that are left out."""
    keep_names: bool = False


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


def convert(source: Path, target: Path, names: Names, *, config: Config | None, force: bool = False) -> Conversion:
    """Write the weights in a file as safetensors.

    Args:
        source: A file of ``torch.save``, a safetensors file, or the index of several of them.
        target: The new file.
        names: Which tensors to take, and under which names.
        config: The ledger whose files must not be written to; None if there is none.
        force: Replace a file that is there.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or what is asked for is not in it.
        WeightsError: It holds no weights that can be read without running code, or is another kind of file.
        ConflictError: The new file is there already.
        RefusedError: Its place belongs to a ledger, or is a link.
        LedgerError: It cannot be written.
    """
    require_free(config, target, force=force)
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target} is the file that is converted", "name a new file")
    kind, value, stood_for = _read(source)
    found = find_state_dicts(value)
    try:
        chosen = choose(found, names.key)
    except WeightsError as error:
        raise WeightsError(f"{source} has no weights: {error.message}", _way_on(stood_for, error.hint)) from error
    renamed = wrapper_names.rename(
        chosen.tensors,
        prefix=names.prefix,
        add_prefix=names.add_prefix,
        leave_out=names.leave_out,
        keep_names=names.keep_names,
    )
    _require_plain(source, renamed.tensors)
    data = tensor_files.serialise(renamed.tensors)
    write_output(config, target, data, force=force, hint="free some space or check permissions, then run it again")
    return Conversion(
        source=kind,
        key=chosen.key,
        others=tuple(one for one in found if one is not chosen),
        removed=renamed.removed,
        tensors=len(renamed.tensors),
        shared=_shared(renamed.tensors),
        left_out=(*_beside(value, chosen), *renamed.left_out),
        stood_for=stood_for,
        size=len(data),
        digest=sha256_hex(data),
    )


def _read(path: Path) -> tuple[str, Any, tuple[str, ...]]:
    """Return what kind of file it is, what it holds, and what stand-ins answered for."""
    if path.is_dir():
        raise UsageError(f"cannot read {path}: it is a folder", foreign_files.recognise_folder(path))
    with reading(path, "weights file"), open_named(path) as file:
        beginning = file.read(foreign_files.BEGINNING)
    found = foreign_files.recognise(path, beginning)
    if found is None:
        return "safetensors", tensor_files.parse(tensor_files.read_file(path), str(path)), ()
    if "pickle" in found.what:
        value, stood_for = pickled_files.read_pickled(path)
        return "torch.save", value, stood_for
    if "index" in found.what:
        return "index", _joined(path), ()
    raise WeightsError(f"{path} holds no torch weights: it is {found.what}", found.hint)


def _joined(path: Path) -> dict[str, Tensor]:
    """Return the tensors of all files that an index names."""
    try:
        files = sorted(set(read_json_as(_Index, read_text(path, "index")).weight_map.values()))
    except ValueError as error:
        raise WeightsError(f"{path} is not an index of weights files: {error}", "name a weights file") from error
    state: dict[str, Tensor] = {}
    for name in files:
        # Names in files are not paths: one of them could lead anywhere.
        if Path(name).name != name:
            raise WeightsError(f"{path} names a file elsewhere: {name}", "put the files beside the index")
        kind, part, _ = _read(path.with_name(name)) if not name.endswith(".json") else ("", {}, ())
        if not kind or not isinstance(part, dict):
            raise WeightsError(f"{path.with_name(name)} holds no tensors by name", "download the files again")
        state |= {key: tensor for key, tensor in part.items() if isinstance(tensor, Tensor)}
    return state


@dataclass(frozen=True)
class _Index:
    weight_map: dict[str, str]


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


def _beside(value: Any, chosen: StateDict) -> tuple[str, ...]:
    """Return the names of what is in the file beside the chosen state dict."""
    top = chosen.key.partition(".")[0]
    outer = tuple(str(name) for name in value if str(name) != top) if chosen.key and isinstance(value, dict) else ()
    return (*outer, *chosen.others)


def _way_on(stood_for: tuple[str, ...], hint: str) -> str:
    if any(name.startswith("torch.distributed") for name in stood_for):
        return "its weights are spread over processes; save them joined: torch.distributed.checkpoint.state_dict"
    if stood_for:
        return f"it holds objects of {', '.join(stood_for[:3])}, whose code is not run; {hint}"
    return hint
