"""Choose evaluators: by name, by level of evidence, or those that run unless somebody asks for others."""

from collections.abc import Mapping, Sequence

from ledger.domain.levels import EvidenceLevel
from ledger.errors import UsageError
from ledger.hookspecs import Evaluator
from ledger.plugin_manager import PluginInfo

Offered = Mapping[str, tuple[Evaluator, PluginInfo]]


def level_of_evaluator(evaluator: Evaluator) -> int:
    """Return the level that an evaluator says it belongs to; 1 if it says nothing."""
    level = getattr(evaluator, "level", None)
    return level if isinstance(level, int) and not isinstance(level, bool) else EvidenceLevel.OUTPUTS


def chosen_evaluators(
    offered: Offered, only: Sequence[str] = (), level: EvidenceLevel | None = None
) -> dict[str, tuple[Evaluator, PluginInfo]]:
    """Return the evaluators to run, by name.

    Args:
        offered: Every evaluator, by name.
        only: Names; these run besides what the level asks for.
        level: Everything that it and the levels below it need runs, and what else belongs to them and runs by default.
            None: without names, what runs by default.

    Raises:
        UsageError: There is no evaluator of such a name, or one that the level needs is missing.
    """
    unknown = sorted(set(only) - offered.keys())
    if unknown:
        raise UsageError(f"no evaluator is called {', '.join(unknown)}", f"evaluators: {', '.join(sorted(offered))}")
    chosen = set(only)
    if level is not None:
        missing = sorted(level.required - offered.keys())
        if missing:
            raise UsageError(
                f"{level.title} needs the evaluator {', '.join(missing)}, which is not there", "see: unledger plugins"
            )
        by_default = {n for n, (one, _) in offered.items() if _by_default(one) and level_of_evaluator(one) <= level}
        chosen |= level.required | by_default
    elif not only:
        chosen = {name for name, (one, _) in offered.items() if _by_default(one)}
    return {name: pair for name, pair in sorted(offered.items()) if name in chosen}


def needs_features(evaluator: Evaluator) -> bool:
    """Whether an evaluator of this level is likely to ask for features."""
    return level_of_evaluator(evaluator) >= EvidenceLevel.REPRESENTATION


def _by_default(evaluator: Evaluator) -> bool:
    return getattr(evaluator, "by_default", True) is not False
