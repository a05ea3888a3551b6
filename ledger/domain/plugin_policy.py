"""What a ledger lets installed plugins do, as its ``unledger.toml`` says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PluginPolicy:
    """Which installed plugins are loaded, and what they may do. Built-in plugins are always loaded."""

    allow: tuple[str, ...] | None = None
    """Names of the installed plugins that are loaded; None loads all of them."""
    replace: tuple[str, ...] = ()
    """Names of the plugins that may offer something under a name which another plugin has."""
    evaluator_seconds: float | None = None
    """Most seconds that one evaluator may take; None sets no limit."""


DEFAULT_POLICY = PluginPolicy()
"""All installed plugins are loaded, none may replace another, and evaluators take their time."""
