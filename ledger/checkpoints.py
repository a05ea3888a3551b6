"""Weights as safetensors bytes: read with every check, written so that equal weights are equal bytes."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ledger.errors import CheckpointError, NonFiniteError, NotFoundError

PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"})
# Every pickle of protocol 2 or later starts with \x80; torch.save wraps one in a zip archive.
PICKLE_MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def read_file(path: Path) -> bytes:
    """Return a weights file's bytes.

    Raises:
        NotFoundError: There is no such file.
        CheckpointError: It is a pickle by its name or its first bytes, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no weights file {path}", "check the path") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the weights file {path}: {error.strerror}") from error
    if path.suffix.lower() in PICKLE_SUFFIXES or data.startswith(PICKLE_MAGICS):
        converted = Path(f"{path.stem}.converted.safetensors")
        raise CheckpointError(
            f"{path} is a pickle, which can run any code when it is loaded",
            'convert it once, where you trust it: python -c "import sys, torch, safetensors.torch as st; '
            "d = torch.load(open(sys.argv[1], 'rb'), weights_only=True); "
            "st.save_file({k: v.contiguous().clone() for k, v in d.items()}, "
            f'sys.argv[2])" {shlex.quote(str(path))} {shlex.quote(str(converted))}',
        )
    return data


def parse(data: bytes, source: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        data: The whole file.
        source: Named in errors.

    Raises:
        CheckpointError: Not a well-formed safetensors file.
        NonFiniteError: A tensor holds NaN or infinity.
    """
    try:
        loaded = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{source} is not a safetensors file: {error}", "the file may be truncated") from error
    # Cloned: tensors cut out of one buffer are not aligned, and alignment can change the last bit of a product.
    state = {name: tensor.clone() for name, tensor in loaded.items()}
    require_finite(state, source)
    return state


def require_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise :class:`NonFiniteError` naming the first tensor that holds NaN or infinity."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(f"{source} holds NaN or infinity in {name}", "these weights cannot be used")


def serialise(state: Mapping[str, Tensor]) -> bytes:
    """Return safetensors bytes; the format sorts tensors itself, and no metadata is written."""
    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()})
