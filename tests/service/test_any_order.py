"""Whatever people and workers do, in whatever order: what the docs promise holds after every single step.

The torch part is replaced by an instant stand-in, a pure function of the forgotten set as the real one is (see
``test_exactness.py``): what is put to the test here is everything around it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.config import create_config
from ledger.domain.missed_gates import MissedGate
from ledger.domain.models import Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest, Request
from ledger.domain.settings import Settings
from ledger.domain.states import OPEN_STATES, PERSONAL_ACTIONS, TRANSITIONS, Action, RequestState
from ledger.domain.versions import Version, VersionKind
from ledger.errors import ConflictError, DataError, GateError, LedgerError, TooFewRetainedError, TransitionError
from ledger.service.computation.compute import open_unlearning
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.progress import Silent
from ledger.service.requests.claims import MOST_CRASHES, claim_next
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.versions.commit import append_model, append_version
from ledger.service.versions.proposal import Proposal
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.weights import tensor_files
from tests.ledgers.stand_in import base_version, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.service.computation.workbench import Workbench
    from ledger.service.progress import Progress

NAME = "model"
CLASSES = 6
LEAST = 2
ILL_FATED = frozenset({1, 4})
"""Forgetting exactly these fails every time."""
DEEDS = (
    *("file", "file", "file and work", "decide", "retry", "retry", "withdraw", "roll back", "roll back"),
    *("work", "work", "interrupt", "vanish"),
)
TOGETHER = frozenset({0, 5})
"""Forgetting these together misses a gate."""


def weights_of(forgotten: frozenset[int]) -> bytes:
    """Return weights that depend on the set alone."""
    return tensor_files.serialise({"w": torch.tensor([float(k in forgotten) for k in range(CLASSES)])})


def instant(workbench: Workbench, forgotten: frozenset[int], _progress: Progress) -> Proposal:
    """Stand in for the computation: some sets fail, some miss a gate, the rest succeed at once."""
    if forgotten == ILL_FATED:
        raise DataError("an image cannot be read")
    data = weights_of(forgotten)
    digest = workbench.ledger.objects.put(data)
    missed = (MissedGate("gate", "the gate is missed"),) if forgotten >= TOGETHER else ()
    return Proposal(forgotten, digest, len(data), VersionRecipe({"alpha_r": 1.0, "alpha_f": 1.0}), (), missed)


def interrupted(*_: Any) -> Proposal:
    raise KeyboardInterrupt


class People(RuleBasedStateMachine):
    """Everybody who may do something to one model's requests, and the promises that must survive them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="unledger-"))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("ledger.service.computation.unlearning.propose", instant)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        config = create_config(self.root, "sqlite:///ledger.db", "objects")
        self.ledger: Ledger = create_ledger(config, "tester", clock=self.tick)
        self.model = self.register()
        self.due: dict[int, datetime] = {}
        self.seen = 0
        """Audit entries already replayed."""
        self.replayed: dict[int, RequestState] = {}
        self.weights: dict[frozenset[int], str] = {}

    def teardown(self) -> None:
        self.patch.undo()
        self.ledger.close()
        shutil.rmtree(self.root)

    def tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def register(self) -> Model:
        data = weights_of(frozenset())
        weights = self.ledger.objects.put(data)
        with self.ledger.database.write() as tx:
            named = stand_in(NAME, tuple("abcdef"), at=self.now)
            value = replace(named, settings=Settings(min_retained=LEAST))
            model = append_model(tx, value, actor="tester", weights=weights)
            base = base_version(model, weights, at=self.now)
            append_version(tx, model, base, size=len(data), terms=(), actor="tester", at=self.now)
        return model

    # One rule for all: Hypothesis leaves rules out of most of its examples, and little happens where nobody
    # files requests, or nobody works.
    @rule(
        what=st.sampled_from(DEEDS),
        classes=st.frozensets(st.integers(0, CLASSES - 1), min_size=1, max_size=3),
        action=st.sampled_from(sorted(PERSONAL_ACTIONS - {Action.WITHDRAW, Action.EXTEND})),
        pick=st.integers(0, 30),
        key=st.sampled_from([None, None, "key 1", "key 2"]),
        flag=st.booleans(),
    )
    def step(self, what: str, classes: frozenset[int], action: Action, pick: int, key: str | None, flag: bool) -> None:  # noqa: FBT001
        """Do one thing; ``pick`` names one of the requests or versions that there are, counted round."""
        match what:
            case "file":
                self.file(classes, flag, key)
            case "file and work":
                self.file(classes, False, None)
                self.work()
            case "decide":
                self.decide(pick, action, flag)
            case "retry":
                self.retry(pick)
            case "withdraw":
                self.withdraw(pick, flag)
            case "roll back":
                self.roll_back(pick)
            case "work":
                self.work()
            case "interrupt":
                self.interrupt()
            case "vanish":
                self.vanish()

    # -- what people do -----------------------------------------------------------------------------

    def file(self, classes: frozenset[int], approval: bool, key: str | None) -> None:  # noqa: FBT001
        new = NewRequest(classes, "somebody", idempotency_key=key)
        receipts = self.attempt(
            lambda: enqueue(self.ledger, NAME, [new], approval=approval), TooFewRetainedError, ConflictError
        )
        if receipts is not None:
            [receipt] = receipts
            assert receipt.request.classes == classes
            self.due.setdefault(receipt.request.id, receipt.request.due_at)

    def decide(self, pick: int, action: Action, waive: bool) -> None:  # noqa: FBT001
        before = self.picked(pick)
        if before is None:
            return
        waived = waive and action is Action.RETRY
        after = self.attempt(
            lambda: decide(self.ledger, before.id, action, "so", waive_gates=waived),
            TransitionError,
            TooFewRetainedError,
        )
        legal = (before.state, action) in TRANSITIONS
        assert after is None or (legal and after.state is TRANSITIONS[before.state, action])
        assert after is not None or not legal or action is Action.RETRY

    def retry(self, pick: int) -> None:
        """Retry something that can be: most requests cannot, and there would be few rides round the circle."""
        stuck = [r.id for r in self.all_requests() if (r.state, Action.RETRY) in TRANSITIONS]
        if stuck:
            number = stuck[pick % len(stuck)]
            self.attempt(lambda: decide(self.ledger, number, Action.RETRY, "so", waive_gates=True), TooFewRetainedError)

    def withdraw(self, pick: int, waive: bool) -> None:  # noqa: FBT001
        before, live = self.picked(pick), self.live()
        if before is None:
            return
        done = self.attempt(
            lambda: withdraw(self.ledger, before.id, "so", Silent(), waive_gates=waive, open_model=open_unlearning),
            TransitionError,
            GateError,
            DataError,
        )
        if done is None:
            return
        after, version = done
        assert after.state is RequestState.WITHDRAWN
        others = self.wanted()
        if before.state is RequestState.FULFILLED:
            assert self.live().forgotten == live.forgotten - (before.classes - others)
        else:
            assert version is None
        assert (version is None) == (self.live() == live)

    def roll_back(self, pick: int) -> None:
        before, number = self.all_requests(), pick % len(self.versions())
        version = self.attempt(
            lambda: roll_back(self.ledger, plan_rollback(self.ledger, NAME, number), ""),
            ConflictError,
        )
        if version is None:
            return
        restored = self.versions()[version.restores or 0]
        assert (version.weights, version.forgotten) == (restored.weights, restored.forgotten)
        for old, new in zip(before, self.all_requests(), strict=True):
            undone = old.state is RequestState.FULFILLED and not old.classes <= version.forgotten
            assert new.state is (RequestState.REOPENED if undone else old.state)

    # -- what workers do ----------------------------------------------------------------------------

    def work(self) -> None:
        for outcome in work(self.ledger, Silent(), open_model=open_unlearning):
            assert outcome.request.state in {RequestState.FULFILLED, RequestState.FAILED, RequestState.BLOCKED}
            assert (outcome.error is None) == (outcome.request.state is RequestState.FULFILLED)
            assert outcome.version is None or outcome.version == self.live()
        waiting = {request.state for request in self.all_requests()}
        assert not waiting & {RequestState.QUEUED, RequestState.RUNNING}

    def interrupt(self) -> None:
        before = self.all_requests()
        with self.patch.context() as patch:
            patch.setattr("ledger.service.computation.unlearning.propose", interrupted)
            try:
                for _ in work(self.ledger, Silent(), open_model=open_unlearning):
                    pass
            except KeyboardInterrupt:
                assert any(request.state is RequestState.QUEUED for request in self.all_requests())
        attempts = {request.id: request.attempts for request in before}
        for request in self.all_requests():
            if request.state is RequestState.QUEUED:
                assert request.attempts == attempts[request.id]

    def vanish(self) -> None:
        """Claim a request, and never be heard of again."""
        claim = claim_next(self.ledger, "a worker that dies")
        if claim is None:
            return
        assert claim.request.attempts <= MOST_CRASHES
        assert claim_next(self.ledger, "another") is None
        with closing(sqlite3.connect(self.root / "ledger.db")) as connection:
            connection.execute("UPDATE requests SET lease_expires = 1 WHERE id = ?", (claim.request.id,))
            connection.commit()

    # -- what must hold -----------------------------------------------------------------------------

    @invariant()
    def fulfilled_requests_are_obeyed(self) -> None:
        assert self.wanted() <= self.live().forgotten

    @invariant()
    def enough_is_retained(self) -> None:
        assert CLASSES - len(self.live().forgotten) >= LEAST

    @invariant()
    def versions_are_numbered_without_gaps_and_live_in_turn(self) -> None:
        versions = self.versions()
        assert [version.number for version in versions] == list(range(len(versions)))
        assert [version.parent for version in versions] == [None, *range(len(versions) - 1)]
        with self.ledger.database.read() as tx:
            moves = tx.versions.moves(self.model)
        assert [move.version for move in moves] == list(range(len(versions)))
        assert self.live() == versions[-1]

    @invariant()
    def equal_sets_have_equal_weights(self) -> None:
        for version in self.versions():
            assert version.weights == self.weights.setdefault(version.forgotten, version.weights)
        assert len(set(self.weights.values())) == len(self.weights)

    @invariant()
    def a_class_comes_back_only_by_rollback_or_withdrawal(self) -> None:
        versions = self.versions()
        for before, after in pairwise(versions):
            if not before.forgotten <= after.forgotten:
                assert after.kind in {VersionKind.ROLLBACK, VersionKind.WITHDRAW}

    @invariant()
    def due_dates_never_move(self) -> None:
        assert {request.id: request.due_at for request in self.all_requests()} == self.due

    @invariant()
    def the_audit_history_verifies_and_tells_every_state(self) -> None:
        legal = {(before, after) for (before, _), after in TRANSITIONS.items()}
        with self.ledger.database.read() as tx:
            tx.audit.verify()
            events = list(tx.audit.events(after=self.seen))
        for event in events:
            self.seen = event.seq
            if event.request_id is None or not event.kind.startswith("request."):
                continue
            state = RequestState(event.data["state"])
            before = self.replayed.get(event.request_id)
            filed = before is None and event.kind == "request.received"
            # A receipt's two entries, received and fulfilled, both say fulfilled.
            receipt = event.kind == "request.fulfilled" and event.data["no_op"] and before is state
            assert filed or receipt or (before, state) in legal, (before, event)
            self.replayed[event.request_id] = state
        assert {request.id: request.state for request in self.all_requests()} == self.replayed

    @invariant()
    def only_open_requests_wait_and_only_running_ones_are_leased(self) -> None:
        for request in self.all_requests():
            assert request.is_open == (request.state in OPEN_STATES)
            assert (request.lease_owner is not None) == (request.state is RequestState.RUNNING)
            assert (request.version is not None) <= (request.state not in OPEN_STATES)

    @invariant()
    def every_object_is_there(self) -> None:
        with self.ledger.database.read() as tx:
            assert all(digest in self.ledger.objects for digest, _, _ in tx.objects.kept())

    # -- helpers ------------------------------------------------------------------------------------

    def attempt(self, act: Any, *refusals: type[LedgerError]) -> Any:
        """Do something that may be refused; then nothing at all may have changed. Return None if it was."""
        before = list(self.rows())
        try:
            return act()
        except refusals:
            assert list(self.rows()) == before
            return None

    def rows(self) -> Iterator[Any]:
        with closing(sqlite3.connect(self.root / "ledger.db")) as connection:
            for table in ("requests", "versions", "aliases", "alias_moves", "audit_events", "audit_head", "blobs"):
                yield connection.execute(f"SELECT * FROM {table}").fetchall()

    def picked(self, pick: int) -> Request | None:
        requests = self.all_requests()
        return requests[pick % len(requests)] if requests else None

    def all_requests(self) -> list[Request]:
        with self.ledger.database.read() as tx:
            return tx.requests.all()

    def versions(self) -> list[Version]:
        with self.ledger.database.read() as tx:
            return tx.versions.all(self.model)

    def live(self) -> Version:
        with self.ledger.database.read() as tx:
            return tx.versions.live(self.model)

    def wanted(self) -> frozenset[int]:
        fulfilled = [r.classes for r in self.all_requests() if r.state is RequestState.FULFILLED]
        return frozenset[int]().union(*fulfilled)


People.TestCase.settings = settings(
    max_examples=24 if os.environ.get("FULL_SIZE") == "1" else 12,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
)
TestAnyOrder = People.TestCase
