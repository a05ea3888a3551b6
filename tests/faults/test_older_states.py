"""Any older state of a ledger is put back: no forgotten class is known again before a person was told.

A sample by default; ``FULL_SIZE=1`` puts back 200 moments.
"""

from __future__ import annotations

import os
import random
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import psycopg
import pytest

from ledger.domain.states import RequestState
from ledger.errors import ConflictError, ObjectError, OlderDatabaseError, TooFewRetainedError
from ledger.service.audit.verification import verify_log
from ledger.service.progress import Silent
from ledger.service.requests.worker import work
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.upkeep.recovery import RecoveryPlan, plan_recovery, recover
from ledger.service.versions.export import export
from ledger.service.versions.rollback import plan_rollback, roll_back
from tests.faults.story import CLASSES, MODELS, START, Story, forgotten, steady

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fixtures.databases import PostgresServer

FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
ROUNDS = 5
"""Moments of each life that are kept."""
LIVES, POINTS = (20, ROUNDS) if FULL_SIZE else (1, 2)
"""Lives of each kind, and how many of each life's moments are put back."""


class Purging(Story):
    """A life in which rollback windows are closed as well."""

    def purge(self) -> None:
        """Close the window of a model."""
        name = self.choice.choice(MODELS)
        purge(self.ledger, plan_purge(self.ledger, name, timedelta(0)), timedelta(0), Silent(), clock_is_right=True)


@dataclass
class Ledgers:
    """A ledger, and copies of what it was.

    Args:
        root: Where the ledger lives; copies lie beside it.
        what: What a copy has: the database alone, or the whole folder.
        server: Where the database is, unless it is a file.
    """

    root: Path
    what: Literal["database", "folder"]
    server: PostgresServer | None = None
    copies: int = 0
    urls: list[str] = field(default_factory=list)

    def copy(self) -> None:
        """Keep what is there. No connection is open."""
        place = self.root.parent / f"copy-{self.copies}"
        self.copies += 1
        if self.server is not None:
            name = f"{self.urls[0]}_{self.copies}"
            self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{self.urls[0]}"')
            self.urls.append(name)
        if self.what == "folder":
            shutil.copytree(self.root, place)
        elif self.server is None:
            place.mkdir()
            shutil.copy(self.root / "ledger.db", place / "ledger.db")

    def put_back(self, number: int) -> None:
        """Put a copy in place of what is there. No connection is open."""
        place = self.root.parent / f"copy-{number}"
        if self.what == "folder":
            shutil.rmtree(self.root)
            shutil.copytree(place, self.root)
        elif self.server is None:
            shutil.copy(place / "ledger.db", self.root / "ledger.db")
        if self.server is not None:
            settings = self.root / "unledger.toml"
            now, then = (self.server.url(self.urls[at]) for at in (0, number + 1))
            settings.write_text(settings.read_text().replace(now, then))

    def drop(self) -> None:
        """Drop the copies of a database."""
        for name in self.urls[1:]:
            self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        assert self.server is not None
        with closing(
            psycopg.connect(host=str(self.server.folder), user=self.server.user, dbname="postgres", autocommit=True)
        ) as connection:
            connection.execute(statement.encode())


def files(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def live(ledgers: Ledgers, choice: random.Random, url: str) -> tuple[Purging, dict[str, frozenset[int]]]:
    """Let a ledger live, keep copies of it, and return it with what it had forgotten in the end."""
    story = Purging(ledgers.root, choice, START, url)
    if ledgers.what == "folder":
        with (ledgers.root / "unledger.toml").open("a") as settings:
            settings.write(f'checkpoint_to = "{ledgers.root.parent / "elsewhere"}"\n')
    for _ in range(ROUNDS):
        story.close()
        ledgers.copy()
        story = Purging(ledgers.root, choice, story.now)
        story.live(choice.randrange(1, 8))
        if choice.random() < 0.2:
            story.purge()
    at_last = forgotten(story.ledger)
    story.close()
    return story, at_last


def require_refusals(story: Story, folder: Path) -> None:
    """Check that whatever would act on an older database is refused, and changes nothing."""
    ledger, kept = story.ledger, files(story.root / "objects") | files(story.root / "keys")
    acts: list[Callable[[], object]] = [
        story.file,
        partial(collect_garbage, ledger, grace=-1),
        lambda: list(work(ledger, Silent(), open_model=steady)),
        partial(export, ledger, MODELS[0], None, folder / "out"),
        lambda: purge(ledger, plan_purge(ledger, MODELS[0], timedelta(0)), timedelta(0), Silent(), clock_is_right=True),
    ]
    # Where version 0 is live, or purged, there is nothing to roll back to.
    with suppress(ConflictError, ObjectError):
        acts.append(partial(roll_back, ledger, plan_rollback(ledger, MODELS[0], 0), ""))
    for act in acts:
        # A request may be refused before that, because too few classes would be left.
        with pytest.raises((OlderDatabaseError, TooFewRetainedError) if act == story.file else OlderDatabaseError):
            act()
    assert files(story.root / "objects") | files(story.root / "keys") == kept
    assert not (folder / "out").exists()


def require_recovery(story: Story, plan: RecoveryPlan, at_last: dict[str, frozenset[int]]) -> None:
    """Check that a recovery brings about again what was forgotten."""
    ledger = story.ledger
    done = recover(ledger, plan, "")
    assert plan_recovery(ledger).lost is None
    outcomes = list(work(ledger, Silent(), open_model=steady))
    assert [outcome.error for outcome in outcomes if outcome.error is not None] == []
    now = forgotten(ledger)
    for name in MODELS:
        refused = frozenset[int]().union(*(one.classes for one, _ in done.refused if one.model == name))
        assert at_last[name] - refused <= now[name]
    # Too few classes would be left: never for another reason.
    assert not done.refused or max(map(len, now.values())) + 2 >= CLASSES - 2
    # Nothing is carried out that somebody had stopped.
    with ledger.database.read() as tx:
        assert all(tx.requests.get(number).state is RequestState.ON_HOLD for number in plan.held)
    verify_log(ledger)


def put_back(ledgers: Ledgers, number: int, story: Story, at_last: dict[str, frozenset[int]]) -> bool:
    """Put an older state back and check everything; return whether classes would have come back."""
    ledgers.put_back(number)
    story = Purging(ledgers.root, story.choice, story.now)
    try:
        now = forgotten(story.ledger)
        returning = {name: at_last[name] - now[name] for name in MODELS}
        plan = plan_recovery(story.ledger)
        if plan.lost is None:
            assert not any(returning.values())
            return False
        labels = {name: {f"class {k}" for k in classes} for name, classes in returning.items() if classes}
        assert {name: set(back) for name, back in plan.returning} == labels
        require_refusals(story, ledgers.root.parent)
        require_recovery(story, plan, at_last)
        return any(returning.values())
    finally:
        story.close()


def live_and_put_back(ledgers: Ledgers, seed: int, points: int, url: str = "sqlite:///ledger.db") -> int:
    """Live once, put several moments back in turn, and return how often classes would have come back."""
    choice = random.Random(seed)
    story, at_last = live(ledgers, choice, url)
    last, came_back = ledgers.root.parent / "last", 0
    places = [place for place in (ledgers.root, ledgers.root.parent / "elsewhere") if place.exists()]
    for place in places:
        shutil.copytree(place, last / place.name)
    for number in sorted(choice.sample(range(ROUNDS), points)):
        came_back += put_back(ledgers, number, story, at_last)
        # The line that a recovery went on with is forgotten again.
        for place in places:
            shutil.rmtree(place)
            shutil.copytree(last / place.name, place)
    return came_back


@pytest.mark.parametrize("what", ["database", "folder"])
def test_no_class_comes_back_unnoticed(tmp_path: Path, what: Literal["database", "folder"]) -> None:
    came_back = 0
    for seed in range(LIVES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        came_back += live_and_put_back(Ledgers(folder / "ledger", what), seed, POINTS)
    # The trial is worth something only where classes would have come back.
    assert came_back >= LIVES * POINTS // 2


@pytest.mark.postgres
def test_no_class_comes_back_unnoticed_on_a_server(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2].partition("?")[0]
    ledgers = Ledgers(tmp_path / "ledger", "database", postgres_server, urls=[name])
    try:
        assert live_and_put_back(ledgers, 1, 1, postgres_url)
    finally:
        ledgers.drop()
