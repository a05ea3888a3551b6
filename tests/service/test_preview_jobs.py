"""Previews for people who ask from afar, on both databases, with a stand-in for the computation."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import text

from ledger.config import create_config
from ledger.domain.jobs import JobKind, JobState
from ledger.errors import (
    DataError,
    NotFoundError,
    RetryLaterError,
    RowError,
    TooFewRetainedError,
    TransientError,
    UsageError,
)
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.progress import Silent
from ledger.service.requests import jobs, preview_jobs
from ledger.service.requests.daemon import run_daemon
from ledger.service.requests.held_jobs import MOST_ATTEMPTS
from ledger.service.requests.job_worker import JobDocuments, carry_out_jobs
from ledger.service.requests.jobs import ANSWERS_ARE_KEPT, show_job
from ledger.service.requests.preview_jobs import file_preview
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ledger.domain.jobs import Job
    from ledger.service.progress import Progress
    from ledger.service.requests.preview import Preview

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model of four classes."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "ada", clock=lambda: START)
    register_stand_in(opened, "cars", ("cat", "dog", "owl", "fox"), b"weights", at=opened.clock())
    yield opened
    opened.close()


def compute(_ledger: Ledger, model: str, texts: tuple[str, ...], progress: Progress) -> Preview:
    """Stand in for the computation of a preview."""
    progress.phase("computing", 1)
    progress.step()
    return cast("Preview", (model, texts))


def written(found: Preview) -> Mapping[str, Any]:
    """Return the document of what :func:`compute` made."""
    model, texts = cast("tuple[str, tuple[str, ...]]", found)
    return {"schema": "unledger.preview/1", "model": model, "of": texts, "at": START, "loss": 1.5}


def carry_out(ledger: Ledger, **options: Any) -> list[Job]:
    """Compute what waits."""
    return list(carry_out_jobs(ledger, Silent(), DOCUMENTS, **{"compute": compute, **options}))


def no_withdrawal(*_: Any) -> Mapping[str, Any]:
    """Stand where nothing is withdrawn."""
    raise AssertionError


DOCUMENTS = JobDocuments(written, no_withdrawal)


def show_preview_job(ledger: Ledger, job_id: str) -> Job:
    """Return a preview that was asked for."""
    return show_job(ledger, JobKind.PREVIEW, job_id)


def write(ledger: Ledger, statement: str) -> None:
    """Change the database behind the ledger's back."""
    with ledger.database.engine.begin() as connection:
        connection.execute(text(statement))


def test_an_answer_waits_to_be_fetched(ledger: Ledger) -> None:
    job = file_preview(ledger, "cars", frozenset({2, 0}))
    assert (job.actor, job.state, show_preview_job(ledger, job.id)) == ("ada", JobState.WAITING, job)
    [done] = carry_out(ledger)
    assert done == show_preview_job(ledger, job.id)
    assert (done.state, done.finished_at) == (JobState.DONE, START)
    assert done.answer == {
        "schema": "unledger.preview/1",
        "model": "cars",
        "of": ["index:0", "index:2"],
        "at": "2026-03-02T09:00:00+00:00",
        "loss": 1.5,
    }
    assert carry_out(ledger) == []


def test_it_leaves_no_trace_in_the_history(ledger: Ledger) -> None:
    with ledger.database.read() as tx:
        before = tx.audit.head()
    file_preview(ledger, "cars", frozenset({0}))
    carry_out(ledger)
    with ledger.database.read() as tx:
        assert tx.audit.head() == before


def test_jobs_are_answered_in_the_order_they_were_filed(ledger: Ledger) -> None:
    ids = []
    for minutes, index in enumerate((2, 0, 1)):
        ledger.clock = lambda minutes=minutes: START + timedelta(minutes=minutes)  # type: ignore[misc]
        ids.append(file_preview(ledger, "cars", frozenset({index})).id)
    assert [job.id for job in carry_out(ledger)] == ids


@pytest.mark.parametrize(
    ("model", "classes", "refused"),
    [
        ("nobody", {0}, NotFoundError),
        ("cars", set(), UsageError),
        ("cars", {7}, UsageError),
        ("cars", {-1}, UsageError),
        ("cars", {0, 1, 2}, TooFewRetainedError),
    ],
)
def test_what_no_preview_can_be_of_is_refused_at_once(
    ledger: Ledger, model: str, classes: set[int], refused: type[Exception]
) -> None:
    with pytest.raises(refused):
        file_preview(ledger, model, frozenset(classes))
    assert carry_out(ledger) == []


def test_no_more_wait_than_are_answered_in_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    for _ in range(2):
        file_preview(ledger, "cars", frozenset({0}))
    with pytest.raises(RetryLaterError, match="2 previews wait already"):
        file_preview(ledger, "cars", frozenset({0}))
    carry_out(ledger)
    file_preview(ledger, "cars", frozenset({0}))


@pytest.mark.parametrize("error", [DataError("no images", "restore them"), ZeroDivisionError("plugin")])
def test_one_that_fails_is_answered_with_its_error(ledger: Ledger, error: Exception) -> None:
    filed = [file_preview(ledger, "cars", frozenset({index})) for index in (0, 1)]

    def fail(*_: Any) -> Preview:
        raise error

    failed = carry_out(ledger, compute=fail)
    assert {job.id for job in failed} == {job.id for job in filed}
    found = show_preview_job(ledger, filed[0].id)
    assert found.state is JobState.FAILED
    assert found.answer is not None
    said = {"error": "DataError", "message": "no images", "hint": "restore them", "exit_code": 7}
    assert found.answer == said or found.answer["message"] == "ZeroDivisionError: plugin"


@pytest.mark.parametrize(
    "error", [RetryLaterError("told to stop"), KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
)
def test_one_that_is_interrupted_waits_again(ledger: Ledger, error: BaseException) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))

    def stop(*_: Any) -> Preview:
        raise error

    for _ in range(MOST_ATTEMPTS + 1):
        with pytest.raises((RetryLaterError, TransientError, KeyboardInterrupt)):
            carry_out(ledger, compute=stop)
    assert show_preview_job(ledger, job.id) == job
    assert [one.state for one in carry_out(ledger)] == [JobState.DONE]


def test_a_worker_that_vanished_is_replaced_but_not_for_ever(ledger: Ledger) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))
    for attempt in range(MOST_ATTEMPTS):
        with ledger.database.touch() as tx:
            claimed = tx.jobs.claim(owner=f"worker {attempt}", ttl=-1)
            assert claimed is not None
            assert claimed[2] == attempt + 1
    assert carry_out(ledger) == []
    found = show_preview_job(ledger, job.id)
    assert found.state is JobState.FAILED
    assert found.answer is not None
    assert found.answer["message"] == "its worker vanished 3 times"


def test_what_somebody_else_took_over_is_left_to_them(ledger: Ledger) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))

    def lose(*arguments: Any) -> Preview:
        write(ledger, "UPDATE jobs SET lease_owner = 'somebody else'")
        return compute(*arguments)

    assert carry_out(ledger, compute=lose) == []
    assert show_preview_job(ledger, job.id).state is JobState.RUNNING


def test_two_workers_never_take_the_same(ledger: Ledger) -> None:
    file_preview(ledger, "cars", frozenset({0}))
    with ledger.database.touch() as tx:
        assert tx.jobs.claim(owner="one", ttl=60) is not None
    with ledger.database.touch() as tx:
        assert tx.jobs.claim(owner="two", ttl=60) is None


@pytest.mark.parametrize(
    "change",
    [
        "answer = '{\"loss\": 0}'",
        "asked = '{\"classes\": [1]}'",
        "actor = 'boss'",
        "state = 'failed'",
        "finished_at = '2030-01-01 00:00:00'",
        f"seal = '{'0' * 64}'",
    ],
)
def test_a_changed_answer_is_not_shown(ledger: Ledger, change: str) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))
    carry_out(ledger)
    show_preview_job(ledger, job.id)
    write(ledger, f"UPDATE jobs SET {change}")
    with pytest.raises(RowError, match="is not as the ledger wrote it"):
        show_preview_job(ledger, job.id)


def test_what_nobody_asked_is_not_computed(ledger: Ledger) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))
    write(ledger, "UPDATE jobs SET asked = '{\"classes\": [1]}'")
    assert carry_out(ledger) == []
    with ledger.database.read() as tx:
        assert tx.jobs.get(JobKind.PREVIEW, job.id)[0].state is JobState.FAILED


def test_answers_are_kept_for_some_days(ledger: Ledger) -> None:
    job = file_preview(ledger, "cars", frozenset({0}))
    carry_out(ledger)
    ledger.clock = lambda: START + ANSWERS_ARE_KEPT
    file_preview(ledger, "cars", frozenset({0}))
    show_preview_job(ledger, job.id)
    ledger.clock = lambda: START + ANSWERS_ARE_KEPT + timedelta(seconds=1)
    file_preview(ledger, "cars", frozenset({0}))
    with pytest.raises(NotFoundError, match="there is no preview"):
        show_preview_job(ledger, job.id)


class Once:
    """Lets a daemon look once."""

    wanted = False

    def wait(self, _seconds: float, *, wakeful: bool = False) -> None:
        """Ask it to leave."""
        self.wanted = True

    def wake(self) -> None:
        """Count nothing."""


@pytest.mark.parametrize("documents", [DOCUMENTS, None])
def test_a_daemon_computes_what_people_wait_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, documents: JobDocuments | None
) -> None:
    monkeypatch.setattr(preview_jobs, "_compute", compute)
    job = file_preview(ledger, "cars", frozenset({0}))
    assert list(run_daemon(ledger, Silent(), Once(), documents=documents)) == []
    expected = JobState.WAITING if documents is None else JobState.DONE
    assert show_preview_job(ledger, job.id).state is expected
