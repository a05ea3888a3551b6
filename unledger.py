"""What ``ledger`` offers, under the name of the distribution: ``import unledger``. It holds nothing of its own."""

import ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ledger import Ledger, LedgerError, forget

__version__ = ledger.__version__
__all__ = ["Ledger", "LedgerError", "__version__", "forget"]


def __getattr__(name: str) -> object:
    return getattr(ledger, name)
