"""Signals to ``work``, leases that stand in its way, and ``request release --force``, as a person meets them."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ledger.errors import LeaseHeldError, RefusedError, TransientError, TransitionError, UsageError
from tests.fixtures.documents import check_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.trained_digits import TrainedDigits
    from tests.ledgers.command_line import Cli

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
HOUR = 3600
MOST_CRASHES = 3


@pytest.fixture
def slow(trained_digits: TrainedDigits) -> Iterator[None]:
    """Let every pass through the network take a while."""
    marker = trained_digits.factory.with_name("slow")
    marker.touch()
    yield
    marker.unlink()


def begin_work(cli: Cli, *arguments: str) -> subprocess.Popen[str]:
    """Start a worker as a process and return it when it carries request 1 out."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ledger.cli", "--ledger", str(cli.root), "work", *arguments],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while cli.state(1) != "running":
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def dead_worker(cli: Cli, *, ahead: float = 0) -> None:
    """Leave request 1 under the lease of a worker that was killed; the clock was then set back by some seconds."""
    with closing(sqlite3.connect(cli.root / "ledger.db")) as connection:
        connection.execute("UPDATE requests SET lease_expires = lease_expires + ? WHERE id = 1", (ahead,))
        connection.commit()


@pytest.fixture
def killed(cli: Cli, slow: None) -> Cli:
    """A ledger where a worker was killed in the middle of request 1, and request 2 waits behind it."""
    cli("forget", "digits", "-c", "3")
    cli("forget", "digits", "-c", "4")
    process = begin_work(cli)
    process.kill()
    process.communicate()
    return cli


# -- signals ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_request_back_at_once(cli: Cli, number: signal.Signals) -> None:
    cli("forget", "digits", "-c", "3")
    for _ in range(MOST_CRASHES):
        process = begin_work(cli)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number, err
        assert time.monotonic() - began < 20
        assert out == ""
        assert "interrupted; nothing half-done was kept" in err
        assert "Traceback" not in err
        assert cli.state(1) == "queued"
    kinds = [event["kind"] for event in cli.json("audit", "log")["items"] if event["request"] == 1]
    assert kinds == ["request.received", *["request.claimed", "request.interrupted"] * MOST_CRASHES]
    # None of them counts as a worker that died: the next one may still die without the request being set aside.
    process = begin_work(cli)
    process.kill()
    process.communicate()
    dead_worker(cli, ahead=-HOUR)
    assert cli.state(1) == "running"


@pytest.mark.usefixtures("slow")
def test_many_signals_in_a_row_are_one(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3")
    process = begin_work(cli, "--json")
    for _ in range(20):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.002)
    out, err = process.communicate(timeout=60)
    # The last ones may have come when the worker had given the request back and was leaving.
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM), err
    assert cli.state(1) == "queued"
    if out:
        assert check_output(out) == ["error"]


@pytest.mark.usefixtures("slow")
def test_a_worker_that_stays_leaves_at_a_hangup(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3")
    process = begin_work(cli, "--forever")
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert cli.state(1) == "queued"
    assert cli.json("status")["workers"] == []


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("options", [(), ("--forever",)], ids=["once through", "forever"])
def test_a_hangup_that_is_ignored_stays_ignored(cli: Cli, options: tuple[str, ...]) -> None:
    cli("forget", "digits", "-c", "3")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        # As under nohup: what is ignored is so in programs that are started from here.
        process = begin_work(cli, *options)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert cli.state(1) == "queued"


# -- a lease in the way -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("work",), ("work", "--drain"), ("work", "digits"), ("work", "--once")])
def test_work_behind_a_dead_worker_is_to_be_tried_again(killed: Cli, command: tuple[str, ...]) -> None:
    answer = killed(*command, code=75)
    assert type(answer.error) is LeaseHeldError
    assert "request 1 (digits: 3) is held by worker" in answer.err
    assert "UTC" in answer.err
    assert "request release 1 --force" in answer.err
    assert "nothing to do" not in answer.err
    said = killed(*command, "--json", code=75).document
    assert (said["error"], said["exit_code"]) == ("LeaseHeldError", 75)
    assert "request 1 (digits: 3) is held by worker" in said["message"]


def test_waiting_for_a_request_behind_a_dead_worker_is_to_be_tried_again(killed: Cli) -> None:
    answer = killed("forget", "digits", "-c", "5", "--wait", code=75)
    assert "request 1 (digits: 3) is held by worker" in answer.err
    assert killed.state(3) == "queued"


def test_a_dead_workers_request_is_carried_out_when_its_lease_has_run_out(
    killed: Cli, trained_digits: TrainedDigits
) -> None:
    trained_digits.factory.with_name("slow").unlink()
    dead_worker(killed, ahead=-HOUR)
    killed("work", "--drain")
    assert [killed.state(1), killed.state(2)] == ["fulfilled", "fulfilled"]
    trained_digits.factory.with_name("slow").touch()


def test_a_clock_that_was_set_back_is_named_and_the_lease_can_be_broken(
    killed: Cli, trained_digits: TrainedDigits
) -> None:
    dead_worker(killed, ahead=HOUR)
    assert "clock was set back" in killed("work", code=75).err
    shown = killed("status")
    assert "is held by worker" in shown.err
    assert "request release 1 --force" in shown.err
    assert "leases" in shown.out
    [lease] = killed.json("status")["leases"]
    assert (lease["request"], lease["model"], lease["from_future"]) == (1, "digits", True)
    assert "request release 1 --force" in killed.refused(TransitionError, 4, "request", "cancel", "1").err

    answer = killed("request", "release", "1", "--force", "--reason", "its clock was wrong", "--yes", "--json")
    assert answer.document["request"]["state"] == "queued"
    assert "if that worker is alive, what it computed is lost" in answer.err
    *_, event = (e for e in killed.json("audit", "log")["items"] if e["request"] == 1)
    assert event["kind"] == "request.released"
    assert event["data"] == {"state": "queued", "from": "running", "worker": lease["owner"], "epoch": 2}
    assert event["note"] == "its clock was wrong"
    trained_digits.factory.with_name("slow").unlink()
    killed("work")
    assert [killed.state(1), killed.state(2)] == ["fulfilled", "fulfilled"]
    killed("fsck")
    trained_digits.factory.with_name("slow").touch()


def test_a_lease_is_broken_only_on_purpose(killed: Cli) -> None:
    killed.refused(TransitionError, 4, "request", "release", "1", "--reason", "no force")
    with killed.unchanged():
        assert type(killed("request", "release", "1", "--force", "--yes", code=2).error) is UsageError
        # Nobody is there to confirm it.
        answer = killed("request", "release", "1", "--force", "--reason", "why", code=7)
        assert type(answer.error) is RefusedError
    killed.refused(TransitionError, 4, "request", "release", "2", "--force", "--reason", "why", "--yes")


# -- faults of the surroundings -----------------------------------------------------------------------


def test_a_full_disk_gives_the_request_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for digit in ("3", "4", "5"):
        cli("forget", "digits", "-c", digit)
    with monkeypatch.context() as patch:
        patch.setattr("ledger.durable_files._create", full)
        answer = cli("work", code=75)
        said = cli("work", "--json", code=75).document
    assert type(answer.error) is TransientError
    assert "no space left" in answer.err
    assert "the request is back in the queue" in answer.err
    assert (said["error"], said["exit_code"]) == ("TransientError", 75)
    assert [cli.state(number) for number in (1, 2, 3)] == ["queued"] * 3
    cli("work", "--once")
    assert cli.state(1) == "fulfilled"
