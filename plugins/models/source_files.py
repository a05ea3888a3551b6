"""Execute a Python source file as its author does, with the modules beside it, and leave no trace of it.

While the file is in use, modules and packages of its folder can be imported, and win over installed ones of the same
name. Afterwards they are forgotten again: two networks may each have a ``layers.py`` beside them, and a file that was
edited is read anew. Every source is compiled from the bytes on disk, never taken from a cache of bytecode, and the
digest is over just those bytes.
"""

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType

from ledger.digest import json_digest, sha256_hex
from ledger.named_files import read_bytes

INSTALLED = ("site-packages", "dist-packages")
"""Names of folders that hold installed packages."""
ALIAS = "_unledger_source_"


@dataclass(frozen=True)
class Source:
    """A source file that was executed."""

    module: ModuleType
    path: Path
    read: Mapping[Path, str]
    """SHA-256 of each source that was executed so far, by its place."""
    beside: Callable[[], list[Path]]
    """Returns the other files that modules were loaded from."""

    def digest(self) -> str:
        """SHA-256 of the file; if it imported modules from its folder, of the names and digests of all of them."""
        digests = dict(self.read) | {
            path: sha256_hex(path.read_bytes()) for path in self.beside() if path not in self.read
        }
        if len(digests) == 1:
            return digests[self.path]
        names = {path: os.fsencode(os.path.relpath(path, self.path.parent)) for path in digests}
        return json_digest({names[path].decode(errors="backslashreplace"): one for path, one in digests.items()})


@contextmanager
def executed(path: Path) -> Iterator[Source]:
    """Execute a source file; in the block, it and what it calls can import the modules beside it.

    What the code prints goes to standard error.

    Args:
        path: The file, absolute and without links.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It cannot be read.
        BaseException: Whatever the code raises, a ``SyntaxError`` included.
    """
    tree = ast.parse(read_bytes(path, "source file"), str(path))
    top = _package_root(path)
    inside = _names_own_package(tree, None if top is None else top.name)
    finder = _Finder(path.parent)
    alias = ALIAS + sha256_hex(os.fsencode(path))[:16]
    if inside and top is not None:
        finder.roots[top.name] = top.parent
        name = ".".join(path.relative_to(top.parent).with_suffix("").parts).removesuffix(".__init__")
    elif inside:
        finder.packages[alias] = path.parent
        name = f"{alias}.{path.stem}"
    else:
        name = alias
    own_name = path.stem if _free(path.stem, path) else None
    if own_name is None:
        finder.roots.pop(path.stem, None)
    with redirect_stdout(sys.stderr), _importing(finder):
        module = _execute(path, name, own_name, finder) if name == alias else importlib.import_module(name)
        yield Source(module, path, finder.read, finder.beside)


def functions_of(path: Path) -> list[str]:
    """Return the names of the functions, then of the classes, that a source file defines for others."""
    tree = ast.parse(read_bytes(path, "source file"), str(path))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return [name for name in functions + classes if not name.startswith("_")]


class _Finder(MetaPathFinder):
    """Finds the modules of a few folders, and notes the bytes of each source that it loads."""

    def __init__(self, folder: Path) -> None:
        self.roots: dict[str, Path] = dict.fromkeys(_importable(folder), folder)
        """Top-level names, with the folders that they are in."""
        self.packages: dict[str, Path] = {}
        """Folders that stand for packages of made-up names."""
        self.read: dict[Path, str] = {}
        self.path_before = list(sys.path)
        self.modules_before = frozenset(sys.modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module in the folders."""
        del target
        if path is None and fullname in self.packages:
            found = ModuleSpec(fullname, None, is_package=True)
            found.submodule_search_locations = [str(self.packages[fullname])]
            return found
        top = fullname.partition(".")[0]
        if top not in self.roots and top not in self.packages:
            return None
        places = [str(self.roots[fullname])] if path is None else list(path)
        for place in places:
            spec = FileFinder(place, (SourceFileLoader, SOURCE_SUFFIXES), _EXTENSIONS).find_spec(fullname)
            if spec is None or spec.loader is None:
                continue
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(fullname, spec.loader.path, self.read)
            return spec
        return PathFinder.find_spec(fullname, places)

    def ours(self, name: str) -> bool:
        """Whether a module's name is one of the folders'."""
        top = name.partition(".")[0]
        return top in self.roots or top in self.packages

    def beside(self) -> list[Path]:
        """Return the files of the modules that only this code uses."""
        return [Path(file) for name, file in _files() if self.ours(name) or self.added(name, file)]

    def added(self, name: str, file: str) -> bool:
        """Whether a module was loaded from a folder that the code itself added to ``sys.path``."""
        if name in self.modules_before or name.partition(".")[0] in self.modules_before:
            return False
        places = [Path(place).absolute() for place in sys.path if place and place not in self.path_before]
        return any(map(Path(file).is_relative_to, places)) and not set(INSTALLED) & set(Path(file).parts)


class _Loader(SourceFileLoader):
    """Compiles a source from its bytes on disk, and notes their digest."""

    def __init__(self, fullname: str, path: str, read: dict[Path, str]) -> None:
        super().__init__(fullname, path)
        self._read = read

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        data = self.get_data(path)
        self._read[Path(path)] = sha256_hex(data)
        return compile(data, path, "exec", dont_inherit=True)


_EXTENSIONS = (ExtensionFileLoader, EXTENSION_SUFFIXES)


def _execute(path: Path, name: str, own_name: str | None, finder: _Finder) -> ModuleType:
    loader = _Loader(name, str(path), finder.read)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:  # pragma: no cover - it has a loader
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    # Before it is executed, and for good: dataclasses and others look up the module of a class by its name.
    sys.modules[name] = module
    if own_name is not None:
        # The modules beside it may import it, too.
        sys.modules[own_name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importing(finder: _Finder) -> Iterator[None]:
    """Let modules be found for a while; what had their names before is back afterwards."""
    hidden = {name: module for name, module in sys.modules.copy().items() if finder.ours(name)}
    for name in hidden:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        added = [name for name, file in _files() if finder.added(name, file)]
        for name in [*added, *filter(finder.ours, list(sys.modules))]:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
        sys.path[:] = finder.path_before


def _files() -> list[tuple[str, str]]:
    """Return the names and files of all loaded modules but the executed ones."""
    named = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.copy().items()]
    return [(name, file) for name, file in named if isinstance(file, str) and not _is_alias(name)]


def _is_alias(name: str) -> bool:
    return name.startswith(ALIAS) and "." not in name


def _importable(folder: Path) -> list[str]:
    """Return which top-level names a folder has modules or packages for; none of the standard library."""
    names = []
    for entry in folder.iterdir():
        name = entry.name.partition(".")[0]
        suffix = entry.name.removeprefix(name)
        module = suffix in (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)
        package = not suffix and ((entry / "__init__.py").is_file() or (_has_sources(entry) and _free(name, entry)))
        if name.isidentifier() and name not in sys.stdlib_module_names and (module or package):
            names.append(name)
    return names


def _has_sources(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.py"))


def _free(name: str, place: Path) -> bool:
    """Whether nothing installed has a module's name."""
    if name in sys.stdlib_module_names or not name.isidentifier():
        return False
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    where = [found.origin or "", *(found.submodule_search_locations or ())] if found is not None else []
    return not any(where) or any(Path(one).is_relative_to(place) for one in where if one)


def _package_root(path: Path) -> Path | None:
    """Return the topmost folder with an ``__init__.py`` around a file, if it is in one."""
    root = None
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            break
        root = folder
    return root


def _names_own_package(tree: ast.Module, package: str | None) -> bool:
    """Whether a source imports from its own package: relatively, or by the package's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level or (node.module or "").partition(".")[0] == package:
                return True
        elif isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == package for alias in node.names):
            return True
    return False
