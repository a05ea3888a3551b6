"""Let exporters catch up after a command that changed what is live, and say what they did."""

from typing import TYPE_CHECKING

from ledger.errors import LedgerError

from .render import say

if TYPE_CHECKING:
    import typer

    from ledger.service.exporters.delivery import Exported
    from ledger.service.ledger import Ledger


def export_live(ctx: "typer.Context") -> None:
    """Let the exporters of the ledger that a command opened catch up. The command is done: nothing here fails it."""
    from .session import session

    if session(ctx).server is None and session(ctx).opened:
        # The command has closed its own: this opens the ledger anew, and only where there are exporters.
        from ledger.service.exporters.configured import list_exporters

        try:
            if list_exporters(session(ctx).config):
                with session(ctx).ledger(warn=False) as ledger:
                    catch_up(ledger)
        except LedgerError as error:
            say(("warning:", "bold yellow"), f" exporters could not be asked: {error.message}")


def catch_up(ledger: "Ledger") -> None:
    """Let exporters catch up, and say what they did."""
    from ledger.service.exporters.delivery import export_due

    for one in export_due(ledger):
        tell(one)


def tell(one: "Exported") -> None:
    """Say what an exporter did, or why not."""
    if one.ok:
        say(f"exporter {one.exporter}: {one.detail}")
    else:
        say(("warning:", "bold yellow"), f" exporter {one.exporter} failed, and will be tried again: {one.detail}")
