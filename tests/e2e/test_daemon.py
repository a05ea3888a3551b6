"""``work --forever`` as a process: it carries out what comes, leaves when told, and is seen while it is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ledger.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fixtures.trained_digits import TrainedDigits
    from tests.ledgers.command_line import Cli

    Start = Callable[..., subprocess.Popen[str]]

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def start(cli: Cli) -> Iterator[Start]:
    """Start workers that stay; those that a test leaves behind are killed."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ledger.cli", "--ledger", str(cli.root), "work", "--forever", *arguments]
        environment = {**os.environ, **ENVIRONMENT}
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait(process: subprocess.Popen[str], fulfilled: Callable[[], object]) -> None:
    """Wait for something while a process runs."""
    deadline = time.monotonic() + 120
    while not fulfilled():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end(process: subprocess.Popen[str], number: int, code: int = 0) -> str:
    """Send a signal and return what the process said; it must leave with a code."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_stays_carries_out_what_comes_and_leaves_when_told(
    cli: Cli, start: Start, number: signal.Signals
) -> None:
    cli("forget", "digits", "-c", "3")
    status = cli("status")
    assert "requests for digits wait and no worker is there" in status.err
    assert cli.json("status")["models"][0]["unattended"] is True

    process = start("digits", "--poll", "0.2")
    wait(process, lambda: cli.json("status")["workers"])
    [worker] = cli.json("status")["workers"]
    assert worker["model"] == "digits"
    assert worker["idle"] < 60
    status = cli("status")
    assert "no worker is there" not in status.err
    assert "workers" in status.out
    assert cli.json("status")["models"][0]["unattended"] is False
    wait(process, lambda: cli.state(1) == "fulfilled")
    # It does not leave when there is nothing left to do.
    cli("forget", "digits", "-c", "7")
    wait(process, lambda: cli.state(2) == "fulfilled")
    said = end(process, number)
    assert "request 1 of model 1 is fulfilled by version 1" in said
    assert "request 2 of model 1 is fulfilled by version 2" in said
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO unledger\.worker: "
    assert re.search(rf"^{line}worker \S+ waits for requests for digits$", said, re.MULTILINE)
    assert re.search(rf"^{line}request 1 of model 1 is fulfilled by version 1$", said, re.MULTILINE)
    assert said.splitlines()[-1] == "stopped; what was in progress is back in the queue"
    assert cli.json("status")["workers"] == []
    cli.verified()


def test_what_is_in_progress_goes_back_to_the_queue(cli: Cli, start: Start, trained_digits: TrainedDigits) -> None:
    slow = trained_digits.factory.with_name("slow")
    slow.touch()
    try:
        cli("forget", "digits", "-c", "3")
        process = start()
        wait(process, lambda: cli.json("model", "spaces", "digits")["items"])
        end(process, signal.SIGTERM)
    finally:
        slow.unlink()
    assert cli.state(1) == "queued"
    kinds = [event["kind"] for event in cli.json("audit", "log")["items"] if event["request"] == 1]
    assert kinds == ["request.received", "request.claimed", "request.interrupted"]
    assert cli.json("status")["workers"] == []
    cli("work")
    assert cli.state(1) == "fulfilled"
    assert len(cli.versions()) == 2


def test_late_requests_are_named(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3", "--received-at", "2020-01-01", "--due", "2020-02-01")
    status = cli("status")
    assert "past their due dates: requests 1" in status.err
    assert status.code == 0
    assert "past their due dates" in cli("status", "--json").err


def test_a_worker_cannot_stay_for_nobody(cli: Cli) -> None:
    cli.refused(NotFoundError, 3, "work", "nobody", "--forever")
    for other in ("--once", "--drain"):
        cli.refused(UsageError, 2, "work", "--forever", other)
