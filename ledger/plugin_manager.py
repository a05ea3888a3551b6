"""Find, load and call plugins. Nothing is loaded at import, and a plugin that cannot be loaded never stops a command.

A plugin that offers something under a name which another one has is refused when that name is looked up, unless the
ledger's ``unledger.toml`` lets it replace the other: what a name stands for must not change because a package came
along.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from ledger import hookspecs, installation
from ledger.builtin_plugins import BUILTINS, EVALUATORS, EXPORTERS, SOLVERS
from ledger.domain.command_lines import quoted
from ledger.domain.data_record import DEFAULT_DATA_OPTIONS, KNOWN_SPECS, DataOptions
from ledger.domain.plugin_policy import DEFAULT_POLICY, PluginPolicy
from ledger.errors import LedgerError, PluginError, UnknownDataSpecError, UsageError
from ledger.hookspecs import (
    DataSource,
    Evaluator,
    Exporter,
    LayerHandler,
    LoadedModel,
    PublishedModel,
    RecognisedArchitecture,
    Solver,
)

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINT_GROUP = "unledger"
PLUGINS_VARIABLE = "UNLEDGER_PLUGINS"
"""Environment variable: unset loads every installed plugin, empty none, else a comma-separated list."""

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as the ``plugins`` command lists it."""

    name: str
    version: str
    builtin: bool
    hooks: tuple[str, ...]
    error: str | None = None
    """Why it is not in use, or None if it is."""

    @property
    def broken(self) -> bool:
        """Whether it should work and does not: a built-in one only waits for the engine to be installed."""
        return self.error is not None and not self.builtin


@dataclass(frozen=True)
class OfferedNames:
    """What plugins offer by name."""

    evaluators: tuple[str, ...]
    solvers: tuple[str, ...]

    def require_solvers(self, names: Iterable[str]) -> None:
        """Check that solvers of these names are there.

        Raises:
            UsageError: One is not.
        """
        unknown = sorted(set(names) - set(self.solvers))
        if unknown:
            raise UsageError(f"no solver is called {', '.join(unknown)}", f"solvers: {', '.join(sorted(self.solvers))}")


class Plugins:
    """The loaded plugins, with typed methods that name the plugin when one fails.

    Args:
        manager: With the hook specifications and all plugins registered.
        infos: Every plugin that was found, loaded or not.
        policy: Which of them may replace others.
    """

    def __init__(
        self, manager: pluggy.PluginManager, infos: Sequence[PluginInfo], policy: PluginPolicy = DEFAULT_POLICY
    ) -> None:
        self._manager = manager
        self._policy = policy
        self.infos = tuple(infos)
        # What could not be loaded may bear the name of a plugin that is.
        self._loaded = {info.name: info for info in infos if info.error is None}
        self._origins: dict[tuple[str, str], PluginInfo] = {}
        """Who answered last, by hook and specification."""

    def load_model(self, spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel:
        """Build the network that ``spec`` names.

        Raises:
            UsageError: No plugin knows the specification.
            PluginError: A plugin failed, or an installed one answers in the place of another.
        """
        loaded = self._first("unledger_load_model", spec, options=options, num_classes=num_classes)
        if loaded is None:
            raise UsageError(
                f"no plugin builds the architecture {spec!r}",
                "use timm/ARCH, torchvision/NAME, local-dir:FOLDER, hf-hub:NAME, pkg.mod:factory or FILE.py:factory"
                + (f", e.g. {quoted(f'timm/{spec}')}" if spec.isidentifier() else ""),
            )
        return cast(LoadedModel, loaded)

    def published_model(self, spec: str) -> PublishedModel | None:
        """Return what a folder or a repository says of its network; None if ``spec`` names neither.

        Raises:
            PluginError: A plugin failed, or an installed one answers in the place of another.
        """
        return cast(PublishedModel | None, self._first("unledger_published_model", spec))

    def recognise(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[RecognisedArchitecture, ...]:
        """Return the architectures that have weights of these names and shapes.

        Raises:
            PluginError: A plugin failed.
        """
        hook = "unledger_recognise_weights"
        found: list[RecognisedArchitecture] = []
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            found += self._guarded(impl, hook, {"shapes": shapes}, tuple)
        return tuple(found)

    def data_source(
        self, spec: str, options: DataOptions = DEFAULT_DATA_OPTIONS, cache: Path | None = None
    ) -> DataSource:
        """Open the data source that ``spec`` names.

        Args:
            spec: The data specification.
            options: How its files are read.
            cache: A file in which digests may be remembered; None for none.

        Raises:
            UnknownDataSpecError: No plugin knows the specification.
            PluginError: A plugin failed, or an installed one answers in the place of another.
        """
        source = self._first("unledger_data_source", spec, options=options, cache=cache)
        if source is None:
            raise UnknownDataSpecError(
                f"no plugin reads the data specification {spec!r}",
                _data_hint(spec),
            )
        return cast(DataSource, source)

    def executor(self, spec: str) -> Executor:
        """Return who runs the units of a computation.

        Args:
            spec: For example ``local`` or ``processes:4``.

        Raises:
            UsageError: No plugin knows the specification, or it is wrong.
            NotInstalledError: The engine that it names is not installed.
            EngineLostError: The engine cannot be reached.
            PluginError: A plugin failed, or an installed one answers in the place of another.
        """
        executor = self._first("unledger_executor", spec)
        if executor is None:
            raise UsageError(
                f"no plugin knows the executor {spec!r}", "use local, processes:N, ray:ADDRESS or dask:ADDRESS"
            )
        return cast(Executor, executor)

    def exporter(self, spec: str) -> Exporter:
        """Open the place that ``spec`` names.

        Raises:
            UsageError: No plugin knows the specification.
            PluginError: A plugin failed, or an installed one answers in the place of another.
        """
        found = self._first("unledger_exporter", spec)
        if found is None:
            raise UsageError(f"no plugin exports to {spec!r}", "use folder:PATH or mlflow:URI")
        return cast(Exporter, found)

    def origins(self, architecture: str, data: str) -> tuple[str, ...]:
        """Return name and version of the plugins that last answered for an architecture and a data source, sorted."""
        asked = (("unledger_load_model", architecture), ("unledger_data_source", data))
        answered = {self._origins[one] for one in asked if one in self._origins}
        return tuple(sorted(f"{info.name} {info.version}" for info in answered))

    def layer_handlers(self) -> dict["type[nn.Module]", LayerHandler]:
        """Return the handler of each layer class.

        Raises:
            PluginError: A plugin failed, or offers one for a class that another plugin handles.
        """
        found = self._named("unledger_layer_handlers", lambda handler: handler.module_type, "a layer handler for")
        return {kind: handler for kind, (handler, _) in found.items()}

    def solvers(self, names: Sequence[str]) -> dict[str, Solver]:
        """Return the solvers of these names.

        Raises:
            UsageError: No plugin offers one of them.
            PluginError: A plugin failed, or offers one under a name that another plugin has.
        """
        found = self._solvers({})
        OfferedNames((), tuple(found)).require_solvers(names)
        return {name: found[name][0] for name in names}

    def evaluators(self) -> dict[str, tuple[Evaluator, PluginInfo]]:
        """Return every evaluator by name, with the plugin it comes from.

        Raises:
            PluginError: A plugin failed, or offers one under a name that another plugin has.
        """
        return self._evaluators({})

    def require_distinct(self) -> None:
        """Ask every plugin what it offers by name.

        Raises:
            PluginError: A plugin failed, or offers something under a name that another plugin has.
        """
        self.evaluators()
        self.solvers(())
        self.layer_handlers()

    def names(self, known: OfferedNames) -> OfferedNames:
        """Return the names of evaluators and solvers that are known, and those that these plugins offer.

        Args:
            known: Names of built-in plugins that are not among these.

        Raises:
            PluginError: A plugin failed, or offers something under a known name.
        """
        return OfferedNames(
            tuple(self._evaluators(_taken(known.evaluators, EVALUATORS))),
            tuple(self._solvers(_taken(known.solvers, SOLVERS))),
        )

    def _evaluators(self, known: Mapping[str, PluginInfo]) -> dict[str, tuple[Evaluator, PluginInfo]]:
        return self._named("unledger_evaluators", lambda evaluator: str(evaluator.name), "an evaluator called", known)

    def _solvers(self, known: Mapping[str, PluginInfo]) -> dict[str, tuple[Solver, PluginInfo]]:
        return self._named("unledger_solvers", lambda solver: str(solver.name), "a solver called", known)

    def _require_engine(self) -> None:
        if any(info.builtin and info.error for info in self.infos):
            installation.require("engine", "what the built-in plugins do")

    def _named(
        self, hook: str, name_of: Callable[[Any], K], what: str, known: Mapping[K, PluginInfo] = MappingProxyType({})
    ) -> dict[K, tuple[Any, PluginInfo]]:
        self._require_engine()
        found: dict[K, tuple[Any, PluginInfo]] = {name: (None, info) for name, info in known.items()}
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            info = self._loaded[impl.plugin_name]
            offered = self._guarded(impl, hook, {}, lambda result: [(name_of(one), one) for one in result or ()])
            for name, one in offered:
                if name in found:
                    label = name.__qualname__ if isinstance(name, type) else name
                    self._require_replacing(info, found[name][1], f"{what} {label}")
                found[name] = one, info
        return found

    def _first(self, hook: str, spec: str, **arguments: Any) -> Any:
        self._require_engine()
        # Asked one by one rather than through the hook's own firstresult loop, to know who failed.
        rest = list(getattr(self._manager.hook, hook).get_hookimpls())
        while rest:
            impl = rest.pop()
            result = self._guarded(impl, hook, {"spec": spec, **arguments})
            if result is None:
                continue
            info = self._loaded[impl.plugin_name]
            if not info.builtin and info.name not in self._policy.replace:
                for other in rest:
                    if self._answers(other, hook, {"spec": spec, **arguments}):
                        self._require_replacing(info, self._loaded[other.plugin_name], f"an answer for {spec!r}")
            self._origins[hook, spec] = info
            return result
        return None

    def _answers(self, impl: pluggy.HookImpl, hook: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a plugin answers as well; a specification that it finds wrong is not its own."""
        try:
            return self._guarded(impl, hook, arguments) is not None
        except UsageError:
            return False
        except LedgerError:
            return True

    def _require_replacing(self, info: PluginInfo, other: PluginInfo, what: str) -> None:
        if info.name == other.name or info.name not in self._policy.replace:
            whose = "itself" if info.name == other.name else f"plugin {other.name}"
            raise PluginError(
                f"plugin {info.name} offers {what}, which {whose} offers as well",
                f"uninstall it, leave it out with {PLUGINS_VARIABLE}, or let it: [plugins] replace = "
                f'["{info.name}"] in unledger.toml',
            )

    @staticmethod
    def _guarded(
        impl: pluggy.HookImpl,
        hook: str,
        arguments: Mapping[str, Any],
        read: Callable[[Any], Any] = lambda result: result,
    ) -> Any:
        return guarded(
            lambda: read(impl.function(*(arguments[name] for name in impl.argnames))),
            f"plugin {impl.plugin_name} in {hook}",
        )


def _data_hint(spec: str) -> str:
    """Say what a data specification may be, and which one could be meant by a path alone."""
    kinds = f"use {KNOWN_SPECS}"
    ending = next((kind for kind in ("csv", "parquet") if spec.endswith(f".{kind}")), "npz")
    kind = "folder" if os.path.isdir(spec) else ending if os.path.isfile(spec) else ""  # noqa: PTH112, PTH113 - never raise
    return f"{kinds}; here: {quoted(f'{kind}:{spec}')}" if kind else kinds


def guarded(call: Callable[[], T], culprit: str) -> T:
    """Call into a plugin; an exception that is not ours becomes a :class:`PluginError` naming ``culprit``.

    So does a plugin's try to end the program (``sys.exit``). A KeyboardInterrupt is taken for the person's, since
    nobody can tell the difference; and ``os._exit`` ends the process before anybody is asked.
    """
    try:
        return call()
    except (LedgerError, MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if type(error).__name__ == "OutOfMemoryError":
            # torch's, which is not loaded here: nothing is wrong with the plugin.
            raise
        raise PluginError(
            f"{culprit} failed: {type(error).__name__}: {error}",
            f"report it to the plugin's author; {PLUGINS_VARIABLE}= (empty) runs without installed plugins",
        ) from error


def build_plugins(policy: PluginPolicy = DEFAULT_POLICY) -> Plugins:
    """Load the built-in plugins, then the installed ones that work.

    pluggy asks the last registered first, so an installed plugin is asked before a built-in.

    Args:
        policy: Which installed plugins to load, and which may replace others. The environment variable
            :data:`PLUGINS_VARIABLE`, where it is set, decides instead which to load.
    """
    return _build(policy, BUILTINS)


def offered_names(policy: PluginPolicy = DEFAULT_POLICY) -> OfferedNames:
    """Return the names of all evaluators and solvers; the built-in plugins are not loaded, nor is torch for them.

    Args:
        policy: Which installed plugins to load, and which may replace others.

    Raises:
        PluginError: An installed plugin failed, or offers something under a name that another plugin has.
    """
    return _build(policy, {}).names(OfferedNames(tuple(EVALUATORS), tuple(SOLVERS)))


def exporting_plugins(policy: PluginPolicy = DEFAULT_POLICY) -> Plugins:
    """Load what exports: of the built-in plugins only those, so torch is not loaded for it.

    Args:
        policy: Which installed plugins to load, and which may replace others.
    """
    return _build(policy, {name: BUILTINS[name] for name in EXPORTERS})


def _build(policy: PluginPolicy, builtins: Mapping[str, str]) -> Plugins:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    ours = version("unledger")
    infos = [_builtin(manager, name, path, ours) for name, path in builtins.items()]
    manager.check_pending()
    infos += [_load(manager, point) for point in _wanted(entry_points(group=ENTRY_POINT_GROUP), policy)]
    return Plugins(manager, infos, policy)


def _builtin(manager: pluggy.PluginManager, name: str, path: str, release: str) -> PluginInfo:
    """Load a built-in plugin; where the engine is not installed, say so in its place."""
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        missing = installation.as_not_installed(error)
        if missing is None:
            raise
        return PluginInfo(name, release, builtin=True, hooks=(), error="needs the engine, which is not installed")
    manager.register(module, name=name)
    return PluginInfo(name, release, builtin=True, hooks=_hooks(manager, module))


def _taken(names: Iterable[str], plugins: Mapping[str, str]) -> dict[str, PluginInfo]:
    """Return the names of built-in plugins that are not loaded, each with its plugin."""
    return {name: PluginInfo(plugins[name], version("unledger"), builtin=True, hooks=()) for name in names}


def selection(policy: PluginPolicy) -> str:
    """Say in a sentence which installed plugins are loaded, and what decides it."""
    switch = os.environ.get(PLUGINS_VARIABLE)
    if switch is not None:
        return f"of the installed ones, {PLUGINS_VARIABLE} loads {switch or 'none'}"
    if policy.allow is None:
        return "all that are installed are loaded; [plugins] allow in unledger.toml can limit them"
    return f"of the installed ones, unledger.toml allows {', '.join(policy.allow) or 'none'}"


def _wanted(points: Iterable[EntryPoint], policy: PluginPolicy) -> list[EntryPoint]:
    ordered = sorted(points, key=lambda point: point.name)
    switch = os.environ.get(PLUGINS_VARIABLE)
    if switch is not None:
        names = {name.strip() for name in switch.split(",")}
    elif policy.allow is not None:
        names = set(policy.allow)
    else:
        return ordered
    return [point for point in ordered if point.name in names]


def _load(manager: pluggy.PluginManager, point: EntryPoint) -> PluginInfo:
    release = point.dist.version if point.dist else "unknown"
    plugin = None
    try:
        plugin = point.load()
        manager.register(plugin, name=point.name)
        manager.check_pending()
        return PluginInfo(point.name, release, builtin=False, hooks=_hooks(manager, plugin))
    except KeyboardInterrupt:
        raise
    # Whatever a third party's import does, the command must go on and say so.
    except BaseException as error:  # noqa: BLE001
        if plugin is not None and manager.is_registered(plugin):
            manager.unregister(plugin)
        reason = f"{type(error).__name__}: {error}"
        return PluginInfo(point.name, release, builtin=False, hooks=(), error=reason)


def _hooks(manager: pluggy.PluginManager, plugin: object) -> tuple[str, ...]:
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
