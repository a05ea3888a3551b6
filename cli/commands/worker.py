"""``unledger work`` and ``status``: carry out requests, and show which are open."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.documents import requests as documents
from ledger.domain.certificate_caveats import declared_only
from ledger.domain.command_lines import command
from ledger.domain.numbers import finite_number
from ledger.domain.previews import PreviewOutcome
from ledger.domain.retained_accuracy import RetainedAccuracy
from ledger.errors import LedgerError, OverdueError, UsageError

from ..answers import answer, answer_line, answered
from ..live_exports import catch_up
from ..options import Executor, Json, JsonLines, OptionalModel
from ..render import PhaseProgress, advise, percent, say
from ..session import session
from ..signals import InterruptingSignals, StopSignals
from ..status_tables import MOST_SHOWN, print_status, warn_of_status
from ..worker_log import log_to_stderr

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger
    from ledger.service.requests.claim_end import Outcome


def work(
    ctx: typer.Context,
    model: OptionalModel = None,
    once: Annotated[bool, typer.Option("--once", help="Carry out at most one request.")] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="Carry out requests until none is left (the default).")
    ] = False,
    forever: Annotated[
        bool,
        typer.Option(
            "--forever",
            help="Stay and carry out requests as they come. SIGTERM, SIGHUP or Ctrl-C puts the one in progress back in "
            "the queue and ends with 0.",
        ),
    ] = False,
    poll: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.01, max=86_400, help="With --forever: longest wait between two looks, up to a day."
        ),
    ] = 5.0,
    executor: Executor = None,
    json: JsonLines = False,
) -> None:
    """Carry out queued requests."""
    if once + drain + forever > 1:
        raise UsageError("--once, --drain and --forever exclude each other")
    if math.isnan(poll):
        raise UsageError("--poll needs a number of seconds", "e.g. --poll 5")
    with session(ctx).ledger(acts=True) as ledger:
        ledger.executor = executor

        def answer_outcome(outcome: "Outcome") -> None:
            if json:
                answer_line(documents.outcome_document(outcome, ledger.clock()))

        if forever:
            stay(ledger, model, poll, answer_outcome, json=json)
            return
        failures = drain_queue(ledger, model, answer_outcome, once=once)
        catch_up(ledger)
    if failures:
        # Its document is the line about its request.
        answered(ctx)
        raise failures[0]


def stay(
    ledger: "Ledger", model: str | None, poll: float, on_outcome: "Callable[[Outcome], None]", *, json: bool
) -> None:
    """Carry out requests as they come until a signal asks to stop; a request that fails does not end it."""
    from ledger.desk.local.jobs import JOB_DOCUMENTS
    from ledger.service.exporters.delivery import exporting
    from ledger.service.models.lookup import get_model
    from ledger.service.requests.daemon import Trouble, run_daemon
    from ledger.service.webhooks.delivery import delivering

    if model is not None:
        get_model(ledger, model)
    say("Ctrl-C or SIGTERM ends it")
    with (
        StopSignals() as stop,
        PhaseProgress() as progress,
        log_to_stderr(before=progress.end),
        delivering(ledger),
        exporting(ledger),
    ):
        for event in run_daemon(ledger, progress, stop, model_name=model, poll=poll, documents=JOB_DOCUMENTS):
            if not isinstance(event, Trouble):
                on_outcome(event)
            elif json:
                answer_line(documents.trouble_document(event))
    say("stopped; what was in progress is back in the queue")


def drain_queue(
    ledger: "Ledger", model: str | None, on_outcome: "Callable[[Outcome], None]", *, once: bool = False
) -> list[LedgerError]:
    """Work the queue off and say what became of each request.

    Args:
        ledger: The ledger.
        model: Only this model's requests.
        on_outcome: Called with the outcome of each request.
        once: Stop after one request.

    Returns:
        Why requests failed; the caller raises the first, which decides the exit code.

    Raises:
        LeaseHeldError: Nothing is left but what another worker holds, and what waits behind that.
        RetryLaterError: Something came in between; the request in progress is back in the queue.
        KeyboardInterrupt: A signal did; the request in progress is back in the queue.
    """
    from ledger.desk.local.jobs import JOB_DOCUMENTS
    from ledger.service.requests.job_worker import carry_out_jobs
    from ledger.service.requests.leases import require_no_lease
    from ledger.service.requests.worker import work as work_off

    failures = []
    done = jobs = 0
    changed: dict[str, None] = {}
    with InterruptingSignals() as signals, PhaseProgress() as progress:
        # Somebody waits for these at a page.
        for job in carry_out_jobs(ledger, progress, JOB_DOCUMENTS, model_name=model, check=signals.check):
            progress.end()
            jobs += 1
            say(f"{job.kind.value} {job.id} is {job.state.value}")
        for outcome in work_off(ledger, progress, model_name=model, check=signals.check):
            progress.end()
            done += 1
            if outcome.error is not None:
                failures.append(outcome.error)
            elif outcome.version is not None:
                changed[outcome.model.name] = None
            on_outcome(outcome)
            tell(outcome, error_follows=outcome.error is not None and len(failures) == 1)
            signals.check()
            if once:
                break
    for name in changed:
        advise("next:", command("evaluate", name))
    if once and done:
        return failures
    if not failures:
        require_no_lease(ledger, model)
    if not done and not jobs:
        say("nothing to do")
    return failures


def tell(outcome: "Outcome", *, error_follows: bool = False) -> None:
    """Say what became of a request, and what was measured of the version that fulfils it.

    Args:
        outcome: What became of it.
        error_follows: The error will be told at the end of the command.
    """
    colour = "red" if outcome.error is not None else "yellow" if outcome.not_known_before else "green"
    # The first failure ends the command as its error, with its hint: said here too, it would stand there twice.
    detail = "" if error_follows else outcome.detail
    say(f"{outcome.about} is ", (outcome.request.state.value, colour), detail)
    _tell_measured(outcome)
    _tell_preview(outcome)


def _tell_measured(outcome: "Outcome") -> None:
    evidence = outcome.evidence
    if outcome.version is None or evidence is None:
        return
    told = [f"version {outcome.version.number}: {evidence.level.title}"]
    if (accuracy := evidence.standing.get("accuracy")) is not None:
        retained = RetainedAccuracy.of_metrics(accuracy.metrics).told(percent)
        worst = finite_number(accuracy.metrics.get("forgotten_accuracy"))
        images = accuracy.samples.get("test images", 0)
        told.append(f"on {images:,} test images: retained {retained}; forgotten at most {percent(worst)}")
    say("; ".join(told))
    for weights, by in evidence.declarations:
        say(("note:", "yellow"), f" {declared_only(weights, by)}")
    for missed in outcome.missed_gates:
        say(("waived gate:", "yellow"), f" {missed.told}")


def _tell_preview(outcome: "Outcome") -> None:
    """Say how the result compares with what was previewed, loudly if that is contradicted."""
    if outcome.foretold is None:
        return
    if outcome.foretold.told:
        contradicted = outcome.foretold.outcome is PreviewOutcome.CONTRADICTED
        say(
            ("warning:" if contradicted else "note:", "bold red" if contradicted else "yellow"),
            f" {outcome.foretold.told}",
        )
    else:
        say("the result is exactly what was previewed")


def status(
    ctx: typer.Context,
    model: OptionalModel = None,
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Show only what is late; exit with 8 if anything is.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what is live, what is open and what is late."""
    with session(ctx).desk() as desk:
        # A person reads no thousands of lines; a program gets everything.
        found = desk.upkeep.status(model, most=None if json else MOST_SHOWN, overdue=overdue)
    late = sum(m["overdue_count"] for m in found["models"])
    if json:
        answer(ctx, found)
    else:
        print_status(found, overdue=overdue)
    warn_of_status(found)
    if overdue and late:
        raise OverdueError(f"{late} requests are past their due dates", "carry them out or deny them")
