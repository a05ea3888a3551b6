"""Faults of the surroundings put a request back in the queue; faults of the request do not."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import OperationalError

from ledger.config import create_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import (
    DataError,
    GateError,
    LedgerError,
    ObjectError,
    PluginError,
    TransientError,
    WeightsError,
)
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.objects import store_object
from ledger.service.progress import Silent
from ledger.service.requests.claim_end import Outcome
from ledger.service.requests.daemon import Trouble, run_daemon
from ledger.service.requests.filing import enqueue
from ledger.service.requests.transient import as_transient
from ledger.service.requests.worker import work
from ledger.store.objects import local_folder
from ledger.store.objects.remote_folder import RemoteFolder
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger.service.computation.compute import Compute

MODELS = ("boats", "cars", "trains")


class Stop:
    """Ends a worker that stays when it has waited a number of times."""

    def __init__(self, patience: int) -> None:
        self.patience, self.waited = patience, 0

    @property
    def wanted(self) -> bool:
        """Whether it waited that often."""
        return self.waited >= self.patience

    def wait(self, _seconds: float, *, wakeful: bool = False) -> None:
        """Count, and do not wait."""
        self.waited += 1

    def wake(self) -> None:
        """Count nothing."""


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with three models."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "tester")
    for name in MODELS:
        register_stand_in(opened, name, ("cat", "dog", "owl"), name.encode(), at=opened.clock())
    yield opened
    opened.close()


def file(ledger: Ledger, *models: str) -> None:
    """File a request for class 0 of each model."""
    for name in models:
        enqueue(ledger, name, [NewRequest(frozenset({0}), "tester")])


def fails(act: Callable[[], object]) -> Any:
    """Return what lays a model out whose computation does this, which raises."""

    def open_model(_ledger: Ledger, _name: str) -> Compute:
        def compute(*_: object) -> Any:
            act()
            raise AssertionError("the fault was not met")

        return compute

    return open_model


def raises(error: Exception) -> Any:
    """Return what lays a model out whose computation raises this."""

    def act() -> None:
        raise error

    return fails(act)


def request(ledger: Ledger, number: int = 1) -> tuple[RequestState, int]:
    """Return where a request stands, and how many attempts count."""
    with ledger.database.read() as tx:
        found = tx.requests.get(number)
    return found.state, found.attempts


def full(code: int) -> Callable[..., Any]:
    """Return a function that fails as the system does."""

    def fail(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


PASSING = [
    MemoryError(),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EIO, "Input/output error"),
    ConnectionResetError("reset"),
    TimeoutError("timed out"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB."),
]
STAYING = [
    DataError("an image cannot be read"),
    WeightsError("they do not fit"),
    GateError("missed"),
    PluginError("it returned None"),
    LedgerError("something else"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EFBIG, "File too large"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_passing_fault_gives_the_request_back(ledger: Ledger, error: Exception) -> None:
    file(ledger, "cars")
    for _ in range(4):
        # More often than a request may lose its worker.
        with pytest.raises(TransientError) as caught:
            list(work(ledger, Silent(), open_model=raises(error)))
        assert caught.value.exit_code == 75
        assert str(error) in caught.value.message
    assert request(ledger) == (RequestState.QUEUED, 0)
    with ledger.database.read() as tx:
        notes = [event.note for event in tx.audit.events(request_id=1) if event.kind == "request.interrupted"]
    # Why it went back is kept beside the history.
    assert notes == [caught.value.message] * 4


@pytest.mark.parametrize("error", STAYING, ids=repr)
def test_a_fault_that_stays_does_not(ledger: Ledger, error: Exception) -> None:
    assert as_transient(error) is None
    file(ledger, "cars")
    if isinstance(error, LedgerError):
        [outcome] = work(ledger, Silent(), open_model=raises(error))
        assert outcome.error is error
    else:
        with pytest.raises(type(error)):
            list(work(ledger, Silent(), open_model=raises(error)))
    assert request(ledger)[0] in (RequestState.FAILED, RequestState.BLOCKED)


def test_what_caused_an_error_counts_unless_the_data_are_at_fault() -> None:
    def behind(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    io_error = OSError(errno.EIO, "Input/output error")
    assert as_transient(behind(ObjectError("unreadable"), io_error)) is not None
    assert as_transient(behind(ObjectError("unreadable"), PermissionError(errno.EACCES, "no"))) is None
    assert as_transient(behind(DataError("an image"), io_error)) is None
    database_full = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    assert as_transient(behind(LedgerError("cannot be written"), database_full)) is not None
    syntax = OperationalError("SELEC", {}, sqlite3.OperationalError("syntax error"))
    assert as_transient(behind(LedgerError("refused"), syntax)) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_object_store_that_cannot_be_written(ledger: Ledger, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file(ledger, "cars")
    monkeypatch.setattr(local_folder, "write_file", full(code))
    with pytest.raises(TransientError, match="cannot store an object"):
        list(work(ledger, Silent(), open_model=fails(lambda: store_object(ledger, b"new weights"))))
    assert request(ledger) == (RequestState.QUEUED, 0)


def test_an_object_store_that_cannot_be_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    file(ledger, "cars")
    digest = store_object(ledger, b"new weights")
    monkeypatch.setattr(local_folder, "open_regular", full(errno.EIO))
    with pytest.raises(TransientError, match="cannot be read"):
        list(work(ledger, Silent(), open_model=fails(lambda: ledger.objects.get(digest))))
    assert request(ledger) == (RequestState.QUEUED, 0)


@pytest.mark.parametrize("operation", ["put", "get"])
def test_an_object_store_out_of_reach(ledger: Ledger, operation: str) -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"{name}: the endpoint does not answer")

    remote = RemoteFolder("memory://away")
    vars(remote)["_opened"] = Away(), "away"
    ledger.objects.folder = remote
    file(ledger, "cars")
    act = (lambda: ledger.objects.put(b"new")) if operation == "put" else (lambda: ledger.objects.get("a" * 64))
    with pytest.raises(TransientError, match="memory://away"):
        list(work(ledger, Silent(), open_model=fails(act)))
    assert request(ledger) == (RequestState.QUEUED, 0)


# -- the worker that stays ----------------------------------------------------------------------------


def test_the_queue_outlives_a_disk_that_was_full(ledger: Ledger) -> None:
    file(ledger, "cars", "boats", "trains")
    met: Counter[str] = Counter()

    def open_model(_ledger: Ledger, name: str) -> Compute:
        def compute(*_: object) -> Any:
            met[name] += 1
            if sum(met.values()) <= 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise DataError("this request cannot succeed")

        return compute

    events = list(run_daemon(ledger, Silent(), Stop(8), open_model=open_model, poll=0.1))
    troubles = [event for event in events if isinstance(event, Trouble)]
    assert [type(trouble.error) for trouble in troubles] == [TransientError] * 5
    assert len([event for event in events if isinstance(event, Outcome)]) == 3
    # Pauses grow while nothing succeeds.
    assert troubles[4].pause > troubles[0].pause
    assert [request(ledger, number)[0] for number in (1, 2, 3)] == [RequestState.FAILED] * 3


def test_a_model_whose_requests_always_meet_a_fault_does_not_keep_others_waiting(ledger: Ledger) -> None:
    file(ledger, "cars", "boats", "trains", "boats", "trains")
    met: list[str] = []

    def open_model(_ledger: Ledger, name: str) -> Compute:
        def compute(*_: object) -> Any:
            met.append(name)
            raise MemoryError if name in ("cars", "boats") else DataError("done with")

        return compute

    list(run_daemon(ledger, Silent(), Stop(6), open_model=open_model, poll=0.1))
    assert Counter(met)["trains"] == 2
    # The oldest is tried again and again all the same.
    assert Counter(met)["cars"] >= 2
    assert request(ledger, 1) == (RequestState.QUEUED, 0)
