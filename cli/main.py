"""The ``unledger`` command: global options and the error boundary. Every subcommand lives in a module of its own."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ledger import __version__, installation
from ledger.durable_files import ownership_hint
from ledger.errors import AccessError, LedgerError, OutputError, UsageError

from . import answers, session, signals, streams
from .command import Command
from .commands import (
    audit,
    backup,
    certificates,
    demo,
    exporters,
    models,
    plugin_author,
    purge,
    recovery,
    reports,
    request_files,
    requests,
    serve,
    setup,
    store,
    tokens,
    versions,
    webhooks,
    weights,
    worker,
)
from .examples import add_examples
from .render import say
from .suggestions import name_ledger, suggest

# Typer exports no other name of the error that its parser raises.
ParsingError: Any = typer.BadParameter.__mro__[1]
INTERRUPTED = "interrupted; nothing half-done was kept"


class ErrorBoundary(TyperGroup):
    """Turns a LedgerError, or a place that is closed to us, into a message, a hint and a stable exit code; no other."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line, and see to it that what it says arrives or that somebody is told."""
        streams.settle_width()
        with streams.guarded():
            try:
                return self._run(*args, **options)
            except streams.ClosedPipeError:
                raise SystemExit(0) from None
            except OutputError as error:
                # Of a text that no command printed, as the help is.
                say(("error:", "bold red"), f" {error.message}")
                raise SystemExit(error.exit_code) from None

    def _run(self, *args: Any, **options: Any) -> Any:
        try:
            result = super().main(*args, **options)
        except SystemExit:
            try:
                sys.stdout.flush()
            except streams.ClosedPipeError:
                """The exit code is the command's own."""
            raise
        sys.stdout.flush()
        return result

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
            done = super().invoke(ctx)
            sys.stdout.flush()
        except ParsingError as error:
            _answer_usage(ctx, error)
            raise
        except OutputError as error:
            error.hint = session.session(ctx).what_was_done()
            _tell(error)
            raise typer.Exit(error.exit_code) from error
        except LedgerError as error:
            _answer(ctx, error)
            _tell(error)
            raise typer.Exit(error.exit_code) from error
        except (PermissionError, ImportError) as error:
            known = _closed(error) if isinstance(error, PermissionError) else installation.as_not_installed(error)
            if known is None:
                raise
            _answer(ctx, known)
            _tell(known)
            raise typer.Exit(known.exit_code) from error
        except (KeyboardInterrupt, typer.Abort) as error:
            code = signals.exit_code(error)
            answers.answer_error(ctx, error, message=INTERRUPTED, exit_code=code)
            say(INTERRUPTED)
            raise typer.Exit(code) from None
        return done


def _tell(error: LedgerError) -> None:
    """Tell a person what is wrong and what to do."""
    say(("error:", "bold red"), f" {error.message}")
    if error.hint:
        say(("hint:", "cyan"), f" {suggest(error.hint)}")


def _closed(error: PermissionError) -> AccessError:
    """Return the error for a place that is closed to this account: even whether a file is there is not said then."""
    place = error.filename
    if not isinstance(place, str | os.PathLike):
        return AccessError(f"this account may not do that: {error.strerror or error}")
    path = Path(place)
    return AccessError(f"this account has no access to {path}: {error.strerror}", ownership_hint(path))


def _answer(ctx: Any, error: LedgerError) -> None:
    """Answer a program with the document of an error, if it listens; the exit code is the error's in any case."""
    try:
        answers.answer_error(ctx, error, message=error.message, hint=suggest(error.hint), exit_code=error.exit_code)
    except (streams.ClosedPipeError, OutputError):
        """The person is told all the same."""


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
    "7 refused, 8 overdue, 74 done but the answer could not be written, 75 retry later, 130 interrupted (other "
    "signals: 128 and their number).",
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
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask the server at this address, in the place of a ledger here. Else $UNLEDGER_SERVER; the token is "
            "$UNLEDGER_TOKEN.",
        ),
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
    meant = session.server_meant(server, ledger, actor)
    ctx.obj = session.Session(ledger, actor, device, meant)
    name_ledger(ledger, server, afar=meant is not None)


app.command("demo", rich_help_panel="Start")(demo.demo)
app.command("init", rich_help_panel="Start")(setup.init)
app.command("doctor", rich_help_panel="Start")(setup.doctor)
app.add_typer(models.app, name="model", rich_help_panel="Models")
app.add_typer(weights.app, name="weights", rich_help_panel="Models")
app.command("evaluate", rich_help_panel="Models")(versions.evaluate)
app.command("rollback", rich_help_panel="Models")(versions.rollback)
app.command("purge", rich_help_panel="Models")(purge.purge)
app.command("report", rich_help_panel="Models")(reports.report)
app.command("preview", rich_help_panel="Requests")(requests.preview)
app.command("forget", rich_help_panel="Requests")(requests.forget)
requests.app.command("export")(request_files.export)
requests.app.command("calendar")(request_files.calendar)
app.add_typer(requests.app, name="request", rich_help_panel="Requests")
app.command("work", rich_help_panel="Requests")(worker.work)
app.command("status", rich_help_panel="Requests")(worker.status)
app.command("serve", rich_help_panel="Requests")(serve.serve)
app.add_typer(audit.app, name="audit", rich_help_panel="The ledger itself")
app.add_typer(certificates.app, name="certificate", rich_help_panel="The ledger itself")
app.add_typer(setup.db_app, name="db", rich_help_panel="The ledger itself")
app.command("fsck", rich_help_panel="The ledger itself")(store.fsck)
app.command("gc", rich_help_panel="The ledger itself")(store.gc)
app.command("backup", rich_help_panel="The ledger itself")(backup.backup)
app.command("restore", rich_help_panel="The ledger itself")(backup.restore)
app.command("recover", rich_help_panel="The ledger itself")(recovery.recover)
app.command("plugins", rich_help_panel="The ledger itself")(setup.plugins)
app.add_typer(plugin_author.app, name="plugin", rich_help_panel="The ledger itself")
app.add_typer(tokens.app, name="token", rich_help_panel="Access")
app.add_typer(webhooks.app, name="webhook", rich_help_panel="Access")
app.add_typer(exporters.app, name="exporter", rich_help_panel="Models")


def _check_arguments(group: typer.Typer) -> None:
    """Let every command look at its arguments before it runs."""
    for info in group.registered_commands:
        info.cls = Command
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _check_arguments(inner.typer_instance)


_check_arguments(app)
add_examples(app)


def main() -> None:
    """Run the command line."""
    streams.open_closed_ones()
    app()
