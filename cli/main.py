"""The ``unledger`` command: global options and the error boundary. Every subcommand lives in a module of its own."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ledger import __version__
from ledger.errors import LedgerError, UsageError

from . import answers, session, signals
from .commands import audit, backup, certificates, demo, models, purge, requests, setup, store, versions, worker
from .render import say

# Typer exports no other name of the error that its parser raises.
ParsingError: Any = typer.BadParameter.__mro__[1]
INTERRUPTED = "interrupted; nothing half-done was kept"


class ErrorBoundary(TyperGroup):
    """Turns a LedgerError into a message, a hint and a stable exit code; other exceptions are not caught."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the global options."""
        answers.note_arguments(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except ParsingError as error:
            _answer_usage(ctx, error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ParsingError as error:
            _answer_usage(ctx, error)
            raise
        except LedgerError as error:
            answers.answer_error(ctx, error, message=error.message, hint=error.hint, exit_code=error.exit_code)
            say(("error:", "bold red"), f" {error.message}")
            if error.hint:
                say(("hint:", "cyan"), f" {error.hint}")
            raise typer.Exit(error.exit_code) from error
        except (KeyboardInterrupt, typer.Abort) as error:
            code = signals.exit_code(error)
            answers.answer_error(ctx, error, message=INTERRUPTED, exit_code=code)
            say(INTERRUPTED)
            raise typer.Exit(code) from None
        except BrokenPipeError:
            # The reader closed the pipe; without this, Python prints an error at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


def _answer_usage(ctx: Any, error: Any) -> None:
    """Answer a command line that the parser rejects; Typer itself tells the person."""
    answers.answer_error(ctx, UsageError(str(error)), message=error.format_message(), exit_code=UsageError.exit_code)


app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="An unlearning ledger: make an image classifier forget classes, on request, and account for it.",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 state conflict, 5 integrity, 6 gate failed, "
    "7 refused, 8 overdue, 75 retry later, 130 interrupted (other signals: 128 and their number).",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        print(f"unledger {__version__}")  # noqa: T201 - data goes to stdout
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", "-L", help="The ledger's folder. Else $UNLEDGER_DIR, else here or above.")
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(help="Who acts, recorded with every change. Else $UNLEDGER_ACTOR, else the login name."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            envvar="UNLEDGER_DEVICE", help="Where to compute: auto (CUDA where there is one), cpu, cuda, cuda:N."
        ),
    ] = "auto",
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Remember the global options for the subcommand."""
    ctx.obj = session.Session(ledger, actor, device)


app.command("demo", rich_help_panel="Start")(demo.demo)
app.command("init", rich_help_panel="Start")(setup.init)
app.command("doctor", rich_help_panel="Start")(setup.doctor)
app.add_typer(models.app, name="model", rich_help_panel="Models")
app.command("evaluate", rich_help_panel="Models")(versions.evaluate)
app.command("rollback", rich_help_panel="Models")(versions.rollback)
app.command("purge", rich_help_panel="Models")(purge.purge)
app.command("report", rich_help_panel="Models")(versions.report)
app.command("preview", rich_help_panel="Requests")(requests.preview)
app.command("forget", rich_help_panel="Requests")(requests.forget)
app.add_typer(requests.app, name="request", rich_help_panel="Requests")
app.command("work", rich_help_panel="Requests")(worker.work)
app.command("status", rich_help_panel="Requests")(worker.status)
app.add_typer(audit.app, name="audit", rich_help_panel="The ledger itself")
app.add_typer(certificates.app, name="certificate", rich_help_panel="The ledger itself")
app.add_typer(setup.db_app, name="db", rich_help_panel="The ledger itself")
app.command("fsck", rich_help_panel="The ledger itself")(store.fsck)
app.command("gc", rich_help_panel="The ledger itself")(store.gc)
app.command("backup", rich_help_panel="The ledger itself")(backup.backup)
app.command("restore", rich_help_panel="The ledger itself")(backup.restore)
app.command("plugins", rich_help_panel="The ledger itself")(setup.plugins)


def main() -> None:
    """Run the command line."""
    app()
