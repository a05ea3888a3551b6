"""List the plugins that are installed, those that cannot be used included."""

from dataclasses import dataclass

from ledger.config import Config
from ledger.domain.plugin_policy import PluginPolicy
from ledger.plugin_manager import PluginInfo, build_plugins, selection


@dataclass(frozen=True)
class PluginList:
    """The plugins that a ledger works with."""

    infos: tuple[PluginInfo, ...]
    """What was loaded, and what could not be loaded with the reason."""
    selection: str
    """Which installed ones are loaded and why, in a sentence."""


def list_plugins(config: Config | None) -> PluginList:
    """Return what is loaded, and what cannot be loaded with the reason.

    Args:
        config: The ledger whose ``unledger.toml`` decides; None where there is no ledger.
    """
    policy = PluginPolicy() if config is None else config.plugins
    return PluginList(build_plugins(policy).infos, selection(policy))
