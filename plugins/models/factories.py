"""Model loader for ``pkg.mod:factory`` and ``FILE.py:factory``: any torch module one can import."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from ledger.digest import sha256_hex
from ledger.errors import LedgerError, PluginError, UsageError
from ledger.hookspecs import LoadedModel, hookimpl

T = TypeVar("T")


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
    signature = inspect.signature(factory)
    if "num_classes" in signature.parameters:
        arguments["num_classes"] = num_classes
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UsageError(f"{spec} cannot be called with {arguments}: {error}", "check --arch-option") from error
    network = _run(lambda: factory(**arguments), spec)
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
        module, loader = importlib.util.module_from_spec(spec), spec.loader
        _run(lambda: loader.exec_module(module), place)
        return module
    try:
        return _run(lambda: importlib.import_module(place), place)
    except PluginError as error:
        missing = error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or not f"{place}.".startswith(f"{missing.name}."):
            raise
        raise UsageError(
            f"cannot import {place!r}", "add its folder to PYTHONPATH, or give the file: path/to/file.py:factory"
        ) from error


def _run(call: Callable[[], T], whose: str) -> T:
    """Run a user's code, and name it in the error if it fails or exits."""
    try:
        return call()
    except LedgerError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{whose} failed: {type(error).__name__}: {error}", "it must be importable, and build a network, by itself"
        ) from error
