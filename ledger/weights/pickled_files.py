"""Read what ``torch.save`` wrote, without running any code that the file names.

torch's own reader with ``weights_only=True`` builds tensors and plain containers, and nothing else. Files often hold
more: options of the training script, numbers of NumPy, a whole network. Each class or function that the file asks for
is answered with a stand-in, which runs nothing and keeps the state that the file holds, so that tensors are found.
"""

import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch.serialization import safe_globals

from ledger.errors import WeightsError
from ledger.named_files import open_named, reading

from .foreign_files import ZIP_MAGIC

MOST_PICKLE_BYTES = 2**26
"""Largest description of a checkpoint, in bytes, beside its tensors."""
MOST_MEMBERS = 200_000
LEGACY_PICKLES = 4
"""Number of pickles at the beginning of a file that torch wrote before it used zip archives."""
HOSTILE_MODULES = frozenset(
    {"builtins", "os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "runpy", "importlib"}
    | {"pty", "ctypes", "code", "codeop", "timeit", "webbrowser"}
)
HARMLESS = frozenset(
    {"set", "frozenset", "dict", "list", "tuple", "int", "float", "str", "bytes", "bytearray", "complex", "bool"}
    | {"object", "slice", "range", "getattr", "type", "print", "reduce"}
)
"""Names of ``builtins`` that checkpoints ask for; stand-ins answer for them."""
# Their results can be far larger than what the file holds.
EXPANDING = ("torch._utils._rebuild_device_tensor", "torch._utils._rebuild_wrapper", "torch._utils._rebuild_nested")


class StandIn:
    """Stands for a class or function that a file names: takes anything, runs nothing.

    What it makes is a mapping, so that a file can put items into it, or attributes.
    """

    def __new__(cls, *_arguments: Any, **_named: Any) -> Any:
        """Make an empty mapping, whatever the arguments."""
        return OrderedDict()


class OpaqueStandIn:
    """Stands for what keeps its state in a form of its own, such as numbers of NumPy."""

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        """Make one, whatever the arguments."""
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        """Forget the state."""


OPAQUE = ("numpy.", "datetime.", "enum.")
"""Beginnings of the names that opaque stand-ins answer for."""


def read_pickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return what a file of ``torch.save`` holds.

    Args:
        path: The file.

    Returns:
        The contents, where a mapping stands for any object that is not a tensor, a number, a text or a container (its
        attributes are those of the mapping), and the names of the classes and functions that stand-ins answered for.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
        WeightsError: It was not written by ``torch.save``, or asks for something that no checkpoint needs.
    """
    with reading(path, "weights file"):
        with open_named(path) as file:
            zipped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
            file.seek(0)
            names = _globals_of_archive(path, file) if zipped else _globals_of_legacy(path, file)
        _refuse_hostile(path, names)
        try:
            allowed: list[Any] = [(OpaqueStandIn if name.startswith(OPAQUE) else StandIn, name) for name in names]
            with safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = _load(path, mapped=zipped and path.suffix != ".safetensors")
        except OSError:
            raise
        # What a broken pickle raises is not written down anywhere.
        except Exception as error:
            raise WeightsError(
                f"{path} cannot be read without running its code: {_reason(error)}",
                "load it where you trust it, and save the state dict alone: torch.save(model.state_dict(), FILE)",
            ) from error
    return found, tuple(sorted(name for name in names if not _is_default(name)))


def _load(path: Path, *, mapped: bool) -> Any:
    if mapped:
        # Tensors that nobody asks for, such as those of an optimizer, are not even read.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # An open file: from a name, torch would take one of ``.safetensors`` for what it says.
    with open_named(path) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _globals_of_archive(path: Path, file: BinaryIO) -> set[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise WeightsError(f"{path} is a zip archive that torch did not write", "unpack it first")
            # Looked for first: the code of such a program is compressed, which weights never are.
            if any("/code/" in member.filename for member in members):
                raise WeightsError(
                    f"{path} is a TorchScript program, which is code",
                    "load it where you trust it, and save its weights alone: "
                    "torch.save(torch.jit.load(FILE).state_dict(), NEW)",
                )
            if any(member.compress_type for member in members):
                raise WeightsError(f"{path} is a zip archive that torch did not write", "unpack it first")
            described = [m for m in members if m.filename.endswith("data.pkl")]
            if len(described) != 1 or described[0].file_size > MOST_PICKLE_BYTES:
                raise WeightsError(f"{path} is a zip archive that torch.save did not write", "name a weights file")
            with archive.open(described[0]) as data:
                return set(_globals(data.read()))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is a damaged zip archive: {error}", "download or copy it again") from error


def _globals_of_legacy(path: Path, file: BinaryIO) -> set[str]:
    found: set[str] = set()
    try:
        for _ in range(LEGACY_PICKLES):
            found |= set(_globals(file))
    except Exception as error:
        raise WeightsError(
            f"{path} was not written by torch.save: {str(error)[:200]}",
            "it may be damaged, or of another library; save a state dict with torch.save(model.state_dict(), FILE)",
        ) from error
    return found


def _globals(data: Any) -> Iterator[str]:
    """Yield what a pickle asks for, as ``module.name``, without unpickling it."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in ("STACK_GLOBAL", "INST"):
            raise ValueError("it was written with a protocol that torch.save does not use")
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            # The names are those of Python 2, whatever wrote them.
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"


def _refuse_hostile(path: Path, names: set[str]) -> None:
    for name in sorted(names):
        module, _, last = name.rpartition(".")
        if (module.partition(".")[0] in HOSTILE_MODULES and last not in HARMLESS) or name.startswith(EXPANDING):
            raise WeightsError(
                f"{path} asks to run {name}, which no weights need; nothing was run",
                "do not load it: get the weights from whom you trust",
            )


def _reason(error: Exception) -> str:
    """Return the sentence of torch's error that says what is wrong."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return (text.partition("\n")[0].partition(" Please use")[0] or type(error).__name__)[:300]


def _is_default(name: str) -> bool:
    return name.startswith(("torch.", "collections.OrderedDict", "_codecs.", "builtins."))
