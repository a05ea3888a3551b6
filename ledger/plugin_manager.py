"""Find, load and call plugins. Nothing is loaded at import, and a broken plugin never stops a command."""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from ledger import hookspecs
from ledger.errors import LedgerError, PluginError, UnknownDataSpecError, UsageError
from ledger.hookspecs import DataSource, Evaluator, LayerHandler, LoadedModel, Solver

if TYPE_CHECKING:
    from torch import nn

BUILTINS = {
    "models_timm": "ledger.plugins.models.timm_models",
    "models_import": "ledger.plugins.models.factories",
    "data_digits": "ledger.plugins.data.digits",
    "data_digit_pairs": "ledger.plugins.data.digit_pairs",
    "data_folder": "ledger.plugins.data.folder",
    "data_npz": "ledger.plugins.data.npz",
    "layers_linear": "ledger.plugins.layers.linear",
    "layers_conv": "ledger.plugins.layers.conv",
    "layers_conv1d": "ledger.plugins.layers.conv1d",
    "layers_conv3d": "ledger.plugins.layers.conv3d",
    "layers_conv_same": "ledger.plugins.layers.conv_same",
    "layers_conv_transpose": "ledger.plugins.layers.conv_transpose",
    "layers_std_conv": "ledger.plugins.layers.std_conv",
    "layers_cond_conv": "ledger.plugins.layers.cond_conv",
    "layers_attention": "ledger.plugins.layers.attention",
    "layers_timm_attention": "ledger.plugins.layers.timm_attention",
    "layers_window_attention": "ledger.plugins.layers.window_attention",
    "layers_additive_attention": "ledger.plugins.layers.additive_attention",
    "layers_recurrent": "ledger.plugins.layers.recurrent",
    "solver_projection": "ledger.plugins.solvers.projection",
    "solver_least_squares": "ledger.plugins.solvers.least_squares",
    "eval_accuracy": "ledger.plugins.evaluators.accuracy",
    "eval_confusion": "ledger.plugins.evaluators.confusion",
    "eval_membership": "ledger.plugins.evaluators.membership",
}
"""Built-in plugins: the name that evidence and certificates record, and the module, which may move."""
ENTRY_POINT_GROUP = "unledger"
PLUGINS_VARIABLE = "UNLEDGER_PLUGINS"
"""Environment variable: unset loads every installed plugin, empty none, else a comma-separated list."""

T = TypeVar("T")


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as the ``plugins`` command lists it."""

    name: str
    version: str
    builtin: bool
    hooks: tuple[str, ...]
    error: str | None = None
    """Why it is not in use, or None if it is."""


class Plugins:
    """The loaded plugins, with typed methods that name the plugin when one fails.

    Args:
        manager: With the hook specifications and all plugins registered.
        infos: Every plugin that was found, loaded or not.
    """

    def __init__(self, manager: pluggy.PluginManager, infos: Sequence[PluginInfo]) -> None:
        self._manager = manager
        self.infos = tuple(infos)

    def load_model(self, spec: str, options: Mapping[str, Any], num_classes: int) -> LoadedModel:
        """Build the network that ``spec`` names.

        Raises:
            UsageError: No plugin knows the specification.
        """
        loaded = self._first("unledger_load_model", spec=spec, options=options, num_classes=num_classes)
        if loaded is None:
            raise UsageError(
                f"no plugin builds the architecture {spec!r}", "use timm/ARCH, pkg.mod:factory or FILE.py:factory"
            )
        return cast(LoadedModel, loaded)

    def data_source(self, spec: str) -> DataSource:
        """Open the data source that ``spec`` names.

        Raises:
            UnknownDataSpecError: No plugin knows the specification.
        """
        source = self._first("unledger_data_source", spec=spec)
        if source is None:
            raise UnknownDataSpecError(
                f"no plugin reads the data specification {spec!r}",
                "use digits, digit-pairs, folder:PATH or npz:PATH",
            )
        return cast(DataSource, source)

    def layer_handlers(self) -> dict["type[nn.Module]", LayerHandler]:
        """Return the handler of each layer class; a third party's replaces a built-in's."""
        found: dict[type[nn.Module], LayerHandler] = {}
        for _, handlers in self._each("unledger_layer_handlers"):
            found.update({handler.module_type: handler for handler in handlers})
        return found

    def solvers(self, names: Sequence[str]) -> dict[str, Solver]:
        """Return the solvers of these names.

        Raises:
            UsageError: No plugin offers one of them.
        """
        found = {solver.name: solver for _, solvers in self._each("unledger_solvers") for solver in solvers}
        unknown = sorted(set(names) - found.keys())
        if unknown:
            raise UsageError(f"no solver is called {', '.join(unknown)}", f"solvers: {', '.join(sorted(found))}")
        return {name: found[name] for name in names}

    def evaluators(self) -> dict[str, tuple[Evaluator, PluginInfo]]:
        """Return every evaluator by name, with the plugin it comes from."""
        found: dict[str, tuple[Evaluator, PluginInfo]] = {}
        for info, evaluators in self._each("unledger_evaluators"):
            found.update({evaluator.name: (evaluator, info) for evaluator in evaluators})
        return found

    def _first(self, hook: str, **arguments: Any) -> Any:
        # Asked one by one rather than through the hook's own firstresult loop, to know who failed.
        for impl in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            result = self._guarded(impl, hook, arguments)
            if result is not None:
                return result
        return None

    def _each(self, hook: str) -> Iterable[tuple[PluginInfo, Sequence[Any]]]:
        infos = {info.name: info for info in self.infos}
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            yield infos[impl.plugin_name], self._guarded(impl, hook, {}) or ()

    @staticmethod
    def _guarded(impl: pluggy.HookImpl, hook: str, arguments: Mapping[str, Any]) -> Any:
        return guarded(
            lambda: impl.function(*(arguments[name] for name in impl.argnames)), f"plugin {impl.plugin_name} in {hook}"
        )


def guarded(call: Callable[[], T], culprit: str) -> T:
    """Call into a plugin; an exception that is not ours becomes a :class:`PluginError` naming ``culprit``."""
    try:
        return call()
    except (LedgerError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(
            f"{culprit} failed: {type(error).__name__}: {error}",
            f"report it to the plugin's author; {PLUGINS_VARIABLE}= (empty) runs without installed plugins",
        ) from error


def build_plugins() -> Plugins:
    """Load the built-in plugins, then the installed ones that work.

    pluggy asks the last registered first, so an installed plugin may answer before a built-in.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    ours = version("unledger")
    infos = []
    for name, path in BUILTINS.items():
        module = importlib.import_module(path)
        manager.register(module, name=name)
        infos.append(PluginInfo(name, ours, builtin=True, hooks=_hooks(manager, module)))
    manager.check_pending()
    infos += [_load(manager, point) for point in _wanted(entry_points(group=ENTRY_POINT_GROUP))]
    return Plugins(manager, infos)


def _wanted(points: Iterable[EntryPoint]) -> list[EntryPoint]:
    ordered = sorted(points, key=lambda point: point.name)
    switch = os.environ.get(PLUGINS_VARIABLE)
    if switch is None:
        return ordered
    names = {name.strip() for name in switch.split(",")}
    return [point for point in ordered if point.name in names]


def _load(manager: pluggy.PluginManager, point: EntryPoint) -> PluginInfo:
    release = point.dist.version if point.dist else "unknown"
    plugin = None
    try:
        plugin = point.load()
        manager.register(plugin, name=point.name)
        manager.check_pending()
        return PluginInfo(point.name, release, builtin=False, hooks=_hooks(manager, plugin))
    # Whatever a third party's import does, the command must go on and say so.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        if plugin is not None and manager.is_registered(plugin):
            manager.unregister(plugin)
        reason = f"{type(error).__name__}: {error}"
        return PluginInfo(point.name, release, builtin=False, hooks=(), error=reason)


def _hooks(manager: pluggy.PluginManager, plugin: object) -> tuple[str, ...]:
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
