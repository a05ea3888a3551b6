"""Model loader for ``pkg.mod:factory`` and ``FILE.py:factory``: any torch module one can import."""

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ledger.digest import sha256_hex
from ledger.errors import PluginError, UsageError
from ledger.hookspecs import LoadedModel, hookimpl


@hookimpl
def unledger_load_model(spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel | None:
    """Import the factory and call it with the options, and with ``num_classes`` if it takes that name."""
    place, colon, name = spec.rpartition(":")
    if not colon or "/" in name or not name.isidentifier():
        return None
    module = _module(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise UsageError(f"{place} has no callable {name!r}", "write the factory's name after the colon")
    arguments = dict(options)
    if "num_classes" in inspect.signature(factory).parameters:
        arguments["num_classes"] = num_classes
    try:
        network = factory(**arguments)
    except TypeError as error:
        raise UsageError(f"{spec} cannot be called with {arguments}: {error}", "check --arch-option") from error
    if not isinstance(network, nn.Module):
        raise PluginError(f"{spec} returned {type(network).__name__}, not a torch module")
    source = inspect.getsourcefile(module)
    digest = sha256_hex(Path(source).read_bytes()) if source else ""
    return LoadedModel(module=network, preprocessing=None, code_digest=digest)


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        path = Path(place).expanduser().resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise UsageError(f"there is no file {place}", "give the path of the Python file that defines the factory")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{place}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"cannot import {place!r}", "add its folder to PYTHONPATH, or give the file: path/to/file.py:factory"
        ) from error
