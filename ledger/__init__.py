"""unledger: an unlearning ledger for trained image classifiers.

Importing this package does not import torch, and what it offers is imported when it is first asked for:

- :class:`Ledger`: a ledger, its models, requests and versions (``docs/python.md``).
- :func:`forget`: the method by itself, for any network and data loader.
- :class:`LedgerError`: the base of every error that is raised on purpose.
"""

# Type checkers take this for true; `typing`, which has a name for it, takes longer to import than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ledger.engine.forgetting import forget
    from ledger.errors import LedgerError
    from ledger.front.opened_ledger import OpenedLedger as Ledger

__version__ = "0.1.0"
__all__ = ["Ledger", "LedgerError", "__version__", "forget"]

_OFFERED = {
    "Ledger": ("ledger.front.opened_ledger", "OpenedLedger"),
    "LedgerError": ("ledger.errors", "LedgerError"),
    "forget": ("ledger.engine.forgetting", "forget"),
}
"""Where what is offered is defined: module and name."""


def __getattr__(name: str) -> object:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, own = _OFFERED[name]
    return getattr(import_module(module), own)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
