"""Weights as safetensors bytes: read with every check, written so that equal weights are equal bytes."""

import io
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ledger.errors import NonFiniteError, WeightsError
from ledger.named_files import open_named, reading

from .tensor_header import HeaderError, read_header

PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"})
# Every pickle of protocol 2 or later starts with \x80; torch.save wraps one in a zip archive.
PICKLE_MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
MACHINE_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine's memory."""


def read_file(path: Path) -> bytes:
    """Return the bytes of a weights file, after a check that its header describes them.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read, or is not a regular file.
        WeightsError: It is a pickle by its name or its first bytes, or does not fit into memory.
    """
    with reading(path, "weights file"), open_named(path) as file:
        return _read(file, path)


def _read(file: BinaryIO, path: Path) -> bytes:
    size = os.fstat(file.fileno()).st_size
    _refuse_pickle(path, file.read(max(map(len, PICKLE_MAGICS))))
    if size > MACHINE_MEMORY_BYTES:
        raise WeightsError(f"{path} has {size} bytes, more than this machine's memory")
    file.seek(0)
    _header(file.read, size, str(path))
    # The same file that was checked: another one may have its name by now.
    file.seek(0)
    return file.read()


def _refuse_pickle(path: Path, beginning: bytes) -> None:
    if path.suffix.lower() in PICKLE_SUFFIXES or beginning.startswith(PICKLE_MAGICS):
        converted = Path(f"{path.stem}.converted.safetensors")
        raise WeightsError(
            f"{path} is a pickle, which can run any code when it is loaded",
            'convert it once, where you trust it: python -c "import sys, torch, safetensors.torch as st; '
            "d = torch.load(open(sys.argv[1], 'rb'), weights_only=True); "
            "st.save_file({k: v.contiguous().clone() for k, v in d.items()}, "
            f'sys.argv[2])" {shlex.quote(str(path))} {shlex.quote(str(converted))}',
        )


def _header(read: Callable[[int], bytes], size: int, source: str) -> None:
    try:
        read_header(read, size)
    except HeaderError as error:
        raise WeightsError(f"{source} is not a safetensors file: {error}", "the file may be truncated") from error


def parse(data: bytes, source: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        data: The whole file.
        source: Named in errors.

    Raises:
        WeightsError: Not a well-formed safetensors file.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    _header(io.BytesIO(data).read, len(data), source)
    try:
        loaded = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{source} is not a safetensors file: {error}", "the file may be truncated") from error
    # Cloned: tensors cut out of one buffer are not aligned, and alignment can change the last bit of a product.
    state = {name: tensor.clone() for name, tensor in loaded.items()}
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
