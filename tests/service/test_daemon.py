"""The worker that stays, on both databases, with a stand-in for the computation: what ends it, and what does not."""

from __future__ import annotations

import gc
import logging
import queue
import re
import threading
import time
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import pytest
from sqlalchemy import event, text

from ledger.config import find_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import (
    BusyError,
    DataError,
    GateError,
    LeaseLostError,
    LedgerError,
    NotFoundError,
    RetryLaterError,
    SchemaVersionError,
    UnreachableError,
)
from ledger.service.audit.checkpoints import newest_checkpoint
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.progress import InterruptibleProgress, Silent
from ledger.service.requests.claim_end import Outcome
from ledger.service.requests.claims import claim_next
from ledger.service.requests.daemon import Trouble, run_daemon
from ledger.service.requests.filing import enqueue
from ledger.service.requests.heartbeat import LeaseHeartbeat
from ledger.service.requests.status import status
from ledger.service.requests.worker import carry_out, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.service.computation.compute import Compute
    from ledger.service.progress import InterruptibleProgress, Progress

MODELS = ("north", "south")


@dataclass
class Bell:
    """Rings when a test says so, or when a worker has waited a number of times."""

    patience: int = 1
    wanted: bool = False
    waited: list[float] = field(default_factory=list)
    wakeful: list[bool] = field(default_factory=list)

    def wait(self, seconds: float, *, wakeful: bool = False) -> None:
        """Note how long, and do not."""
        self.waited.append(seconds)
        self.wakeful.append(wakeful)
        self.wanted = self.wanted or len(self.waited) >= self.patience

    def wake(self) -> None:
        """Ring no sooner."""


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in for a computation, and a ledger to use it on."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "faults")
    return import_module("queue_fleet")


@pytest.fixture
def open_again(fleet: Any, database_url: str, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Open a ledger with two models, as often as there are processes to stand in for."""
    fleet.found_ledger(tmp_path / "ledger", database_url, MODELS, 9)
    opened: list[Ledger] = []

    def build() -> Ledger:
        opened.append(open_ledger(find_config(tmp_path / "ledger"), "tester"))
        return opened[-1]

    yield build
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_again: Callable[[], Ledger]) -> Ledger:
    """The ledger, opened once."""
    return open_again()


def file(ledger: Ledger, model: str, *classes: int) -> int:
    """File a request and return its number."""
    return enqueue(ledger, model, [NewRequest(frozenset(classes), "tester")])[0].request.id


def states(ledger: Ledger) -> list[RequestState]:
    """Return where the requests stand."""
    with ledger.database.read() as tx:
        return [request.state for request in tx.requests.all()]


def quick(fleet: Any, ledger: Ledger) -> Compute:
    """Return the stand-in for a computation, in no time."""
    compute: Compute = fleet.opener(fleet.Pace(compute=0))(ledger, "north")
    return compute


def stay(ledger: Ledger, fleet: Any, bell: Bell, **options: Any) -> list[Outcome | Trouble]:
    """Work until the bell rings."""
    said = {"open_model": fleet.opener(fleet.Pace(compute=0)), "poll": 0.8, **options}
    return list(run_daemon(ledger, Silent(), bell, **said))


# -- what a worker that stays does --------------------------------------------------------------------


def test_it_works_on_every_model_then_waits_longer_and_longer(ledger: Ledger, fleet: Any) -> None:
    for model in MODELS:
        file(ledger, model, 1)
    bell = Bell(patience=6)
    outcomes = stay(ledger, fleet, bell)
    assert [type(outcome) for outcome in outcomes] == [Outcome, Outcome]
    assert states(ledger) == [RequestState.FULFILLED] * 2
    for waited, ceiling in zip(bell.waited, [0.1, 0.2, 0.4, 0.8, 0.8, 0.8], strict=True):
        assert ceiling / 2 <= waited <= ceiling
    with ledger.database.read() as tx:
        assert tx.workers.all() == []


@dataclass
class Door:
    """Lets a worker wait in earnest, and be woken."""

    waits: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    wanted: bool = False

    def wait(self, seconds: float, *, wakeful: bool = False) -> None:
        """Wait."""
        self.waits.set()
        self.opened.wait(seconds)
        self.opened.clear()

    def wake(self) -> None:
        """Be woken."""
        self.opened.set()


@pytest.mark.postgres
def test_an_idle_worker_begins_at_once_where_the_database_tells_of_news(
    postgres_url: str, fleet: Any, tmp_path: Path
) -> None:
    fleet.found_ledger(tmp_path / "there", postgres_url, MODELS, 9)
    here, there = (open_ledger(find_config(tmp_path / "there"), name) for name in ("worker", "people"))
    door = Door()
    outcomes: queue.Queue[Outcome | Trouble] = queue.Queue()
    done = []

    def serve() -> None:
        opener = fleet.opener(fleet.Pace(compute=0))
        for outcome in run_daemon(here, Silent(), door, open_model=opener, poll=3600):
            outcomes.put(outcome)

    worker = threading.Thread(target=serve)
    worker.start()
    for number in (1, 2):
        door.waits.clear()
        assert door.waits.wait(30)
        file(there, "north", number)
        done.append(outcomes.get(timeout=60))
    door.wanted = True
    door.wake()
    worker.join()
    assert [outcome.request.state for outcome in done if isinstance(outcome, Outcome)] == [RequestState.FULFILLED] * 2
    for ledger in (here, there):
        ledger.close()


def test_it_may_work_on_one_model_only(ledger: Ledger, fleet: Any) -> None:
    for model in MODELS:
        file(ledger, model, 1)
    [done] = stay(ledger, fleet, Bell(), model_name="south")
    assert isinstance(done, Outcome)
    assert done.model.name == "south"
    assert states(ledger) == [RequestState.QUEUED, RequestState.FULFILLED]
    with pytest.raises(NotFoundError):
        stay(ledger, fleet, Bell(), model_name="nobody")


def test_it_is_listed_while_it_is_there(ledger: Ledger, fleet: Any, open_again: Callable[[], Ledger]) -> None:
    file(ledger, "north", 1)
    other = open_again()
    assert [s.unattended for s in status(other).models] == [True, False]
    seen: list[Any] = []

    def look(_ledger: Ledger, _name: str) -> Compute:
        seen.append(status(other))
        return quick(fleet, ledger)

    stay(ledger, fleet, Bell(), model_name="north", open_model=look)
    [during] = seen
    [worker] = during.workers
    assert worker.model == "north"
    assert not any(s.unattended for s in during.models)
    assert status(other).workers == ()


def test_a_worker_for_one_model_does_not_attend_to_another(ledger: Ledger) -> None:
    for model in MODELS:
        file(ledger, model, 1)
    with ledger.database.touch() as tx:
        tx.workers.seen("somebody", "north", started_at=ledger.clock())
    assert [s.unattended for s in status(ledger).models] == [False, True]
    with ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE workers SET last_seen = last_seen - 61"))
    found = status(ledger)
    assert found.workers == ()
    assert [s.unattended for s in found.models] == [True, True]
    # Somebody who works but does not stay is seen by the lease that they hold.
    assert claim_next(ledger, "passing by") is not None
    assert [s.unattended for s in status(ledger).models] == [False, True]


# -- what does not end it -----------------------------------------------------------------------------


@dataclass
class Broken:
    """A computation that meets with something the first time, and then succeeds."""

    fleet: Any
    error: Exception
    calls: Iterator[int] = field(default_factory=count)

    def __call__(self, ledger: Ledger, name: str) -> Compute:
        compute = self.fleet.opener(self.fleet.Pace(compute=0))(ledger, name)

        def first_broken(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Any:
            if next(self.calls) == 0:
                raise self.error
            return compute(forgotten, progress, solvers)

        return first_broken


@pytest.mark.parametrize("error", [DataError("an image cannot be read"), ZeroDivisionError("a plugin broke")], ids=repr)
def test_a_request_that_fails_does_not_end_it(ledger: Ledger, fleet: Any, error: Exception) -> None:
    for k in (1, 2):
        file(ledger, "north", k)
    events = stay(ledger, fleet, Bell(patience=2), open_model=Broken(fleet, error))
    assert states(ledger) == [RequestState.FAILED, RequestState.FULFILLED]
    [first, second] = events
    assert first.error is error
    # Whatever is no error of ours is told as such, with its origin, and not hidden behind the request.
    assert isinstance(first, Outcome) == isinstance(error, DataError)
    assert isinstance(second, Outcome)


def test_a_model_that_cannot_be_laid_out_fails_its_request(ledger: Ledger, fleet: Any) -> None:
    def no_weights(_ledger: Ledger, _name: str) -> Compute:
        raise DataError("the images changed")

    file(ledger, "north", 1)
    [done] = stay(ledger, fleet, Bell(), open_model=no_weights)
    assert isinstance(done, Outcome)
    assert (done.request.state, done.request.outcome) == (RequestState.FAILED, "the images changed")


@pytest.mark.parametrize("error", [BusyError("locked"), UnreachableError("gone"), RetryLaterError("moved")], ids=repr)
def test_trouble_with_the_database_gives_the_request_back_and_is_outlived(
    ledger: Ledger, fleet: Any, error: Exception
) -> None:
    file(ledger, "north", 1)
    bell = Bell(patience=2)
    trouble, done = stay(ledger, fleet, bell, open_model=Broken(fleet, error))
    # The pause after a trouble is not cut short by the news that the request is back in the queue.
    assert bell.wakeful == [False, True]
    assert isinstance(trouble, Trouble)
    assert trouble.error is error
    assert isinstance(done, Outcome)
    # Being given back is no crashed attempt.
    assert (done.request.state, done.request.lease_epoch, states(ledger)) == (
        RequestState.FULFILLED,
        2,
        [RequestState.FULFILLED],
    )


def test_what_happens_is_logged(ledger: Ledger, fleet: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unledger.worker")
    file(ledger, "north", 1)
    stay(ledger, fleet, Bell(patience=2), open_model=Broken(fleet, BusyError("locked")))
    file(ledger, "north", 2)
    stay(ledger, fleet, Bell(patience=1), open_model=Broken(fleet, GateError("still recognised")))
    file(ledger, "north", 3)
    stay(ledger, fleet, Bell(patience=2), open_model=Broken(fleet, ZeroDivisionError("a plugin's")))
    logged = [(r.levelname, r.getMessage()) for r in caplog.records if "waits for requests" not in r.getMessage()]
    assert [level for level, _ in logged] == ["WARNING", "INFO", "WARNING", "ERROR"]
    assert re.fullmatch(r"locked; trying again in 0\.\d s", logged[0][1])
    assert re.fullmatch(r"request 1 of model \d is fulfilled by version 1", logged[1][1])
    assert re.fullmatch(r"request 2 of model \d is blocked \(GateError\); see: .* 2", logged[2][1])
    assert "a plugin's" in (caplog.records[-1].exc_text or str(caplog.records[-1].exc_info))
    # Each time, the worker and what it works for were named first.
    assert sum("waits for requests for every model" in r.getMessage() for r in caplog.records) == 3


REFUSING = {
    "sqlite": "CREATE TRIGGER none BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'none of these'); END",
    "postgresql": "ALTER TABLE checkpoints ADD CONSTRAINT none CHECK (size < 0) NOT VALID",
}


def test_a_database_that_takes_no_checkpoints_keeps_no_result_back(
    ledger: Ledger, fleet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    file(ledger, "north", 1)
    [first] = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace(compute=0)))
    signed = newest_checkpoint(ledger)
    assert first.error is None
    assert signed is not None
    with ledger.database.engine.begin() as connection:
        connection.execute(text(REFUSING[ledger.database.engine.dialect.name]))
    file(ledger, "north", 2)
    [second] = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace(compute=0)))
    assert (second.request.state, second.error) == (RequestState.FULFILLED, None)
    assert "no checkpoint was signed after this change" in caplog.text
    assert newest_checkpoint(ledger) == signed
    verify_log(ledger)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_of_one_model_is_held_at_a_time(ledger: Ledger, fleet: Any, *, fails: bool) -> None:
    for model, k in (("north", 1), ("north", 2), ("south", 1), ("north", 3)):
        file(ledger, model, k)
    failed: list[LedgerError] = []
    seen: list[list[str]] = []

    class Laid:
        """Stands in for a computation, with the network that it holds."""

        held: ClassVar[WeakSet[Laid]] = WeakSet()

        def __init__(self, name: str) -> None:
            self.name = name
            self.compute = fleet.opener(fleet.Pace(compute=0))(ledger, name)
            self.held.add(self)

        def __call__(self, *what: Any) -> Any:
            gc.collect()
            seen.append([one.name for one in self.held])
            if fails and len(seen) == 2:
                raise LedgerError("an image is unreadable")
            return self.compute(*what)

    laid_out: list[str] = []

    def open_model(_ledger: Ledger, name: str) -> Compute:
        laid_out.append(name)
        return Laid(name)

    for outcome in work(ledger, Silent(), open_model=open_model):
        failed += [outcome.error] if outcome.error is not None else []
    assert len(failed) == fails
    assert seen == [["north"], ["north"], ["south"], ["north"]]
    # Once for requests in a row.
    assert laid_out == ["north", "south", "north"]


@pytest.mark.postgres
def test_a_server_that_throws_everybody_out_is_outlived(fleet: Any, postgres_url: str, tmp_path: Path) -> None:
    fleet.found_ledger(tmp_path / "ledger", postgres_url, MODELS, 9)
    ledger = open_ledger(find_config(tmp_path / "ledger"), "tester")
    for k in (1, 2, 3):
        file(ledger, "north", k)
    everybody_else = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    other = open_ledger(find_config(tmp_path / "ledger"), "tester")
    turns = count()

    def open_model(opened: Ledger, name: str) -> Compute:
        compute = fleet.opener(fleet.Pace(compute=0))(opened, name)

        def cut_off(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Any:
            if next(turns) < 3:
                with other.database.engine.begin() as connection:
                    connection.execute(text(everybody_else))
            return compute(forgotten, progress, solvers)

        return cut_off

    stay(ledger, fleet, Bell(patience=8), open_model=open_model)
    assert states(ledger) == [RequestState.FULFILLED] * 3
    assert fleet.accounts(tmp_path / "ledger", 3)["wrong"] == []
    for each in (ledger, other):
        each.close()


# -- what ends it -------------------------------------------------------------------------------------


def test_told_to_stop_it_gives_back_what_it_is_doing(ledger: Ledger, fleet: Any) -> None:
    for k in (1, 2):
        file(ledger, "north", k)
    bell = Bell(patience=99)

    def ring(_ledger: Ledger, _name: str) -> Compute:
        bell.wanted = True
        return quick(fleet, ledger)

    assert stay(ledger, fleet, bell, open_model=ring) == []
    assert states(ledger) == [RequestState.QUEUED] * 2
    with ledger.database.read() as tx:
        assert tx.requests.get(1).attempts == 0
        assert tx.workers.all() == []
    assert stay(ledger, fleet, Bell(wanted=True)) == []


def test_told_to_stop_between_requests_it_begins_no_other(ledger: Ledger, fleet: Any) -> None:
    for k in (1, 2):
        file(ledger, "north", k)
    bell = Bell(patience=99)
    options: Any = {"open_model": fleet.opener(fleet.Pace(compute=0))}
    for _ in run_daemon(ledger, Silent(), bell, **options):
        bell.wanted = True
    assert states(ledger) == [RequestState.FULFILLED, RequestState.QUEUED]


def test_a_database_that_a_newer_release_upgraded_ends_it(ledger: Ledger, fleet: Any) -> None:
    file(ledger, "north", 1)
    with ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE unledger_schema SET version_num = 'r9999'"))
    with pytest.raises(SchemaVersionError, match="r9999"):
        stay(ledger, fleet, Bell(patience=99))
    assert states(ledger) == [RequestState.QUEUED]


# -- a lease that is lost meanwhile -------------------------------------------------------------------


def test_work_stops_at_the_next_step_once_a_heartbeat_finds_the_lease_lost(ledger: Ledger, fleet: Any) -> None:
    file(ledger, "north", 1)
    steps: list[int] = []

    def endless(_forgotten: frozenset[int], progress: Progress, _solvers: tuple[str, ...]) -> Any:
        with ledger.database.engine.begin() as connection:
            connection.execute(text("UPDATE requests SET lease_expires = 1"))
        for k in range(10_000):
            time.sleep(0.01)
            progress.step()
            steps.append(k)

    with pytest.raises(LeaseLostError, match="while its weights were computed"):
        list(work(ledger, Silent(), open_model=lambda *_: endless, lease=0.3))
    assert len(steps) < 5000
    # Nobody else took it over: it is still marked as running, and the next worker takes it.
    assert states(ledger) == [RequestState.RUNNING]
    [done] = work(ledger, Silent(), open_model=fleet.opener(fleet.Pace()))
    assert (done.request.state, done.request.lease_epoch) == (RequestState.FULFILLED, 2)


def test_a_heartbeat_that_cannot_reach_the_database_is_not_a_lost_lease(ledger: Ledger) -> None:
    file(ledger, "north", 1)
    claim = claim_next(ledger, "tester", lease=60)
    assert claim is not None
    heartbeat = LeaseHeartbeat(ledger, claim)

    def away(*_: object) -> None:
        raise UnreachableError("gone")

    event.listen(ledger.database.engine, "before_cursor_execute", away)
    heartbeat._beat()
    event.remove(ledger.database.engine, "before_cursor_execute", away)
    heartbeat.require_lease()
    with ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE requests SET lease_epoch = 2"))
    heartbeat._beat()
    with pytest.raises(LeaseLostError):
        InterruptibleProgress(Silent(), heartbeat.require_lease).phase("anything")


def test_a_worker_that_was_overtaken_gives_nothing_back(
    ledger: Ledger, fleet: Any, open_again: Callable[[], Ledger]
) -> None:
    file(ledger, "north", 1)
    other = open_again()
    claim = claim_next(ledger, "slow", lease=0.2)
    assert claim is not None
    time.sleep(0.3)
    current = claim_next(other, "quick")
    assert current is not None
    compute = fleet.opener(fleet.Pace(compute=0))(ledger, "north")
    with ledger.database.read() as tx:
        model = tx.models.get("north")
    with pytest.raises(RetryLaterError):
        carry_out(ledger, model, compute, claim, Silent())
    with ledger.database.read() as tx:
        held = tx.requests.get(1)
    assert (held.state, held.lease_owner, held.lease_epoch, held.attempts) == (RequestState.RUNNING, "quick", 2, 2)
    assert carry_out(other, model, compute, current, Silent()).request.state is RequestState.FULFILLED


def busy_threads() -> list[str]:
    """Return the names of all threads but the one that watches over waits, which ends when there were none for long."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name != "waits")


def test_heartbeats_end_with_their_work(ledger: Ledger, fleet: Any) -> None:
    file(ledger, "north", 1)
    before = busy_threads()
    stay(ledger, fleet, Bell(), lease=0.05)
    assert busy_threads() == before
