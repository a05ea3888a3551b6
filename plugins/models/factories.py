"""Model loader for ``pkg.mod:factory`` and ``FILE.py:factory``: any torch module one can import."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ledger.digest import sha256_hex
from ledger.errors import LedgerError, PluginError, UsageError
from ledger.hookspecs import LoadedModel, hookimpl

from .source_files import INSTALLED, executed, functions_of

MOST_NAMED = 8
"""Most names of factories that an error lists."""


@hookimpl
def unledger_load_model(spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel | None:
    """Import the factory and call it with the options, and with ``num_classes`` if it takes that name."""
    place, colon, name = spec.rpartition(":")
    if spec.endswith(".py"):
        raise UsageError(f"{spec} names a file, and no factory in it", _factories_of(Path(spec).expanduser()))
    if not colon or "/" in name or not name.isidentifier():
        return None
    if place.endswith(".py"):
        return _from_file(spec, Path(place).expanduser().resolve(), name, options, num_classes)
    module = _module(place)
    network = _built(module, spec, name, options, num_classes)
    source = inspect.getsourcefile(module)
    if not source:
        return LoadedModel(module=network, preprocessing=None, code_digest="")
    digest = sha256_hex(Path(source).read_bytes())
    # A library is named by its version elsewhere; only what its user edits is held to its digest.
    own = not set(INSTALLED) & set(Path(source).parts) and place.partition(".")[0] not in sys.stdlib_module_names
    return LoadedModel(module=network, preprocessing=None, code_digest=digest, code_path=source if own else "")


def _from_file(spec: str, path: Path, name: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel:
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "give the path of the Python file that defines the factory")
    with _naming(str(path)), executed(path) as source:
        if not callable(getattr(source.module, name, None)):
            raise UsageError(f"{path} has no callable {name!r}", _factories_of(path, name))
        network = _built(source.module, spec, name, options, num_classes)
        # Now: a factory may import more.
        digest = source.digest()
    return LoadedModel(module=network, preprocessing=None, code_digest=digest, code_path=str(path))


def _factories_of(path: Path, wanted: str = "") -> str:
    """Return a hint that lists what could be meant."""
    try:
        names = functions_of(path)
    except (LedgerError, SyntaxError, ValueError):
        names = []
    names = difflib.get_close_matches(wanted, names, n=MOST_NAMED, cutoff=0) if wanted else names
    listed = ", ".join(f"{path.name}:{name}" for name in names[:MOST_NAMED])
    return f"write the factory's name after the colon: {listed or 'FILE.py:FACTORY'}"


def _module(place: str) -> ModuleType:
    try:
        with _naming(place), redirect_stdout(sys.stderr):
            return importlib.import_module(place)
    except PluginError as error:
        missing = error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or not f"{place}.".startswith(f"{missing.name}."):
            raise
        raise UsageError(
            f"cannot import {place!r}", "add its folder to PYTHONPATH, or give the file: path/to/file.py:factory"
        ) from error


def _built(module: ModuleType, spec: str, name: str, options: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Call a factory, and return the network that it builds."""
    factory = getattr(module, name, None)
    if not callable(factory):
        raise UsageError(f"{module.__name__} has no callable {name!r}", "write the factory's name after the colon")
    arguments = dict(options)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec} does not say what arguments it takes: {error}", "name a Python function") from error
    if "num_classes" in signature.parameters:
        arguments["num_classes"] = num_classes
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UsageError(f"{spec} cannot be called with {arguments}: {error}", "check --arch-option") from error
    with _naming(spec), redirect_stdout(sys.stderr):
        network = factory(**arguments)
    if not isinstance(network, nn.Module):
        raise PluginError(
            f"{spec} returned {type(network).__name__}, not a torch module", "let the factory return the network"
        )
    return network


@contextmanager
def _naming(whose: str) -> Iterator[None]:
    """Name a user's code in the error if it fails or exits; keep what it sets for the whole process as it was."""
    threads, precision = torch.get_num_threads(), torch.get_default_dtype()
    try:
        yield
    except LedgerError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{whose} failed: {type(error).__name__}: {error}", "it must be importable, and build a network, by itself"
        ) from error
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(precision)
