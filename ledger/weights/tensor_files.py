"""Weights as safetensors bytes: read with every check, written so that equal weights are equal bytes."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ledger.errors import NonFiniteError, UsageError, WeightsError
from ledger.named_files import open_named, reading

from .foreign_files import BEGINNING, PICKLE_SUFFIXES, ForeignFile, convert_command, recognise, recognise_folder
from .tensor_header import HeaderError, read_header

MACHINE_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine's memory."""


def read_file(path: Path) -> bytes:
    """Return the bytes of a weights file, after a check that its header describes them.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or is not a regular file.
        WeightsError: It is another kind of file, such as a pickle, or does not fit into memory.
    """
    if path.is_dir():
        raise UsageError(f"cannot read {path}: it is a folder", recognise_folder(path))
    with reading(path, "weights file"), open_named(path) as file:
        return _read(file, path)


def _read(file: BinaryIO, path: Path) -> bytes:
    size = os.fstat(file.fileno()).st_size
    beginning = file.read(BEGINNING)
    _refuse_pickle(path, beginning)
    if size > MACHINE_MEMORY_BYTES:
        raise WeightsError(f"{path} has {size} bytes, more than this machine's memory")
    file.seek(0)
    try:
        read_header(file.read, size)
    except HeaderError as error:
        found = recognise(path, beginning)
        raise WeightsError(
            f"{path} is not a safetensors file: {error if found is None else f'it is {found.what}'}",
            "the file may be truncated: download or copy it again" if found is None else found.hint,
        ) from error
    # The same file that was checked: another one may have its name by now.
    file.seek(0)
    return file.read()


def _refuse_pickle(path: Path, beginning: bytes) -> None:
    found = recognise(path, beginning)
    if found is None and path.suffix.lower() in PICKLE_SUFFIXES:
        found = ForeignFile(
            "a pickle by its name, which can run any code when it is loaded",
            f"convert it once, without running its code: {convert_command(path)}",
        )
    if found is not None and "pickle" in found.what:
        raise WeightsError(f"{path} is {found.what}", found.hint)


def parse(data: bytes, source: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        data: The whole file.
        source: Named in errors.

    Raises:
        WeightsError: Not a well-formed safetensors file.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    try:
        header = read_header(io.BytesIO(data).read, len(data))
        loaded = load(data)
    except HeaderError as error:
        raise WeightsError(f"{source} is not a safetensors file: {error}", "the file may be truncated") from error
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{source} is not a safetensors file: {error}", "the file may be truncated") from error
    # Cloned: tensors cut out of one buffer are not aligned, and alignment can change the last bit of a product.
    state = {name: tensor.clone() for name, tensor in loaded.items()}
    # safetensors.torch.save_model writes a shared tensor once, and notes its other names.
    state |= {other: state[name] for other, name in header.aliases.items()}
    require_finite(state, source)
    return state


def require_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise :class:`NonFiniteError` naming the first tensor that holds NaN or infinity."""
    for name, tensor in state.items():
        # Eight-bit floats are not asked directly: torch has no answer for them.
        values = tensor.half() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(values).all()):
            raise NonFiniteError(f"{source} holds NaN or infinity in {name}", "these weights cannot be used")


def serialise(state: Mapping[str, Tensor]) -> bytes:
    """Return safetensors bytes; the format sorts tensors itself, and no metadata is written."""
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()})
