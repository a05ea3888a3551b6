"""List the plugins that are installed, those that cannot be used included."""

from ledger.plugin_manager import PluginInfo, build_plugins


def list_plugins() -> tuple[PluginInfo, ...]:
    """Return what was loaded, and what could not be loaded with the reason."""
    return build_plugins().infos
