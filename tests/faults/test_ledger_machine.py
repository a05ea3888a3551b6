"""Whatever people and workers do, crash or purge, in whatever order: the ledger is what plain Python says it must be.

``expectation.py`` predicts every outcome; what the ledger holds is compared with it after every single step, and what
no prediction is needed for (numbers without gaps, readable objects, one audit entry a transition, a history that only
grows) is checked beside it. ``UNLEDGER_MACHINE=2000x50`` runs 2,000 lives of 50 steps, ``UNLEDGER_SEQUENCES=300`` that
many random sequences without accidental resurrection; by default both are small.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from ledger.audit.chain import GENESIS, Head
from ledger.config import create_config, find_config
from ledger.domain.missed_gates import MissedGate
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.errors import DataError, LedgerError, RetryLaterError
from ledger.service.computation.compute import Compute
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.progress import Progress, Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import destroy_promised, plan_purge, purge
from ledger.service.versions.proposal import Proposal
from ledger.service.versions.rollback import plan_rollback, roll_back
from tests.faults.expectation import DECISIONS, OPEN, Expectation, Refused, Weights
from tests.faults.lifetime import LABELS, MODEL, START, open_shapes, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS, STEPS = (int(n) for n in os.environ.get("UNLEDGER_MACHINE", "12x25").split("x"))
SEQUENCES = int(os.environ.get("UNLEDGER_SEQUENCES", "6"))
SEED = int(os.environ.get("UNLEDGER_SEED", "0"))

FAILING = frozenset({1, 4})
"""Forgetting exactly these fails every time."""
MISSING = frozenset({0, 5})
"""Forgetting these together misses a gate."""
CLASSES = frozenset(range(6))
"""Classes that people ask about; the model has two more."""
DEEDS = (
    *("file", "file", "file and work", "file and work", "decide", "retry", "withdraw", "roll back", "roll back"),
    *("work", "file and die", "file and die", "die", "purge", "tidy"),
)


class KilledError(BaseException):
    """The process is gone: nothing in it can handle that."""


class CheckedLedger:
    """A ledger, what it must be like, and everything that can be done to both.

    Args:
        ledger: With one registered model and nothing asked of it; its clock is set here.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.expected = Expectation(len(LABELS), 2, FAILING, MISSING)
        ledger.clock = lambda: START + timedelta(seconds=self.expected.now)
        self.head = Head(0, GENESIS)
        self.told: dict[int, str] = {}
        """Every request's state, by the audit history."""
        self.digests: dict[Weights, str] = {}

    # -- the computation -------------------------------------------------------------------------------

    def open_model(self, ledger: Ledger, name: str) -> Compute:
        """Some sets fail, some miss a gate, the rest succeed."""
        compute = open_shapes(ledger, name)

        def judged(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
            if forgotten == FAILING:
                raise DataError("an image cannot be read")
            made = compute(forgotten, progress, solvers)
            missed = (MissedGate("gate", "the gate is missed"),) if forgotten >= MISSING else ()
            return Proposal(forgotten, made.weights, made.size, made.recipe, made.terms, missed, made.anchor)

        return judged

    def dying(self, how: str) -> Callable[[Ledger, str], Compute]:
        """Compute and store everything, and then come to grief before the commit."""

        def open_model(ledger: Ledger, name: str) -> Compute:
            compute = open_shapes(ledger, name)

            def doomed(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
                made = compute(forgotten, progress, solvers)
                if how == "interrupted":
                    raise KeyboardInterrupt
                self.expire_leases()
                if how == "vanishes":
                    raise KilledError
                return made

            return doomed

        return open_model

    def expire_leases(self) -> None:
        """Let the time pass after which a worker is believed to be dead."""
        with self.ledger.database.engine.begin() as connection:
            connection.execute(text("UPDATE requests SET lease_expires = 1 WHERE state = 'running'"))

    # -- deeds -----------------------------------------------------------------------------------------

    def attempt(self, act: Callable[[], Any], expect: Callable[[], Any]) -> Any:
        """Do something; it must be refused exactly where that is expected, and then change nothing."""
        self.expected.now += 1
        try:
            expect()
        except Refused as refused:
            [kinds] = refused.args
            before = self.rows()
            with pytest.raises(LedgerError) as caught:
                act()
            assert type(caught.value).__name__ in kinds
            assert self.rows() == before
            return None
        return act()

    def file(self, classes: frozenset[int], key: str | None = None, *, approval: bool = False) -> None:
        """File a request."""
        filed = [NewRequest(classes, "somebody", idempotency_key=key)]
        receipts = self.attempt(
            lambda: enqueue(self.ledger, MODEL, filed, approval=approval),
            lambda: self.expected.file(classes, key, approval=approval),
        )
        assert receipts is None or receipts[0].request.classes == classes

    def decide(self, number: int, decision: str, *, waive: bool = False) -> None:
        """Decide about a request."""
        waived = waive and decision == "retry"
        self.attempt(
            lambda: decide(self.ledger, number, Action(decision), "looked at it", waive_gates=waived),
            lambda: self.expected.decide(number, decision, waive=waived),
        )

    def withdraw(self, number: int, *, waive: bool = False) -> None:
        """Withdraw a request."""
        self.attempt(
            lambda: withdraw(self.ledger, number, "no", Silent(), waive_gates=waive, open_model=self.open_model),
            lambda: self.expected.withdraw(number, waive=waive),
        )

    def roll_back(self, number: int) -> None:
        """Roll back."""
        self.attempt(
            lambda: roll_back(self.ledger, plan_rollback(self.ledger, MODEL, number), ""),
            lambda: self.expected.roll_back(number),
        )

    def purge(self, age: int) -> None:
        """Close the rollback window."""
        older_than = timedelta(seconds=age)
        self.attempt(
            # These ledgers live at a time of their own.
            lambda: purge(
                self.ledger, plan_purge(self.ledger, MODEL, older_than), older_than, Silent(), clock_is_right=True
            ),
            lambda: self.expected.purge(age),
        )

    def tidy(self) -> None:
        """Let the promises of dead workers run out, finish purges, and collect garbage: then nothing is left over."""
        with self.ledger.database.engine.begin() as connection:
            connection.execute(text("UPDATE blob_leases SET expires = 1"))
        destroy_promised(self.ledger, Silent())
        collect_garbage(self.ledger, grace=-60)
        with self.ledger.database.read() as tx:
            needed = {digest for digest, _, _ in tx.objects.kept()}
        assert set(self.ledger.objects.digests()) == set(self.ledger.objects.keys.digests()) == needed

    def work(self) -> None:
        """Work the queue off."""
        self.expected.now += 1
        self.expected.work()
        for outcome in work(self.ledger, Silent(), open_model=self.open_model):
            assert (outcome.error is None) == (outcome.request.state is RequestState.FULFILLED)

    def die(self, how: str) -> None:
        """Work, and come to grief before the first commit of new weights."""
        self.expected.now += 1
        self.expected.work(dies=how)
        deaths: dict[str, type[BaseException]] = {
            "interrupted": KeyboardInterrupt,
            "vanishes": KilledError,
            "late": RetryLaterError,
        }
        try:
            for _ in work(self.ledger, Silent(), open_model=self.dying(how)):
                pass
        except deaths[how]:
            pass

    # -- looks -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Compare everything with what it must be."""
        self._check_requests_and_versions()
        self._check_history()
        self._check_promises()

    def _check_requests_and_versions(self) -> None:
        expected = self.expected
        with self.ledger.database.read() as tx:
            model = tx.models.get(MODEL)
            requests, versions, live = tx.requests.all(), tx.versions.all(model), tx.versions.live(model)
            moves, objects = tx.versions.moves(model), {digest for digest, _, _ in tx.objects.kept()}
            doomed, leased = tx.objects.doomed(), tx.leases.live()
        assert [(r.id, r.classes, r.state.value, r.version, r.no_op, r.attempts) for r in requests] == [
            (w.number, w.classes, w.state, w.version, w.no_op, w.attempts) for w in expected.wishes.values()
        ]
        assert [(v.number, v.kind.value, v.request_id, v.restores, v.forgotten) for v in versions] == [
            (v.number, v.kind, v.request, v.restores, v.forgotten) for v in expected.versions
        ]
        assert [v.parent for v in versions] == [None, *range(len(versions) - 1)]
        assert [(m.previous, m.version) for m in moves] == [(v.parent, v.number) for v in versions]
        assert (live, model.anchor) == (versions[-1], expected.anchor)
        assert [v.purged_at is not None for v in versions] == [v.purged for v in expected.versions]
        for version, made in zip(versions, expected.versions, strict=True):
            assert version.weights == self.digests.setdefault(made.weights, version.weights)
        assert len(set(self.digests.values())) == len(self.digests)
        # Nobody runs but those whose lease ran out; whoever does not run holds none.
        assert all((r.lease_owner is not None) == (r.state is RequestState.RUNNING) for r in requests)
        assert doomed == []
        assert {v.weights for v in versions if v.purged_at is None} <= objects
        for digest in objects:
            self.ledger.objects.get(digest)
        # A worker may have computed the very same bytes again and died with them.
        for digest in {v.weights for v in versions if v.purged_at is not None} - objects - leased:
            assert digest not in self.ledger.objects

    def _check_history(self) -> None:
        """Verify the history as a continuation of the one before, and replay the new entries."""
        with self.ledger.database.read() as tx:
            # Against the head noted a step ago: nothing that was written may change later.
            head = tx.audit.verify(self.head if self.head.size else None)
            events = list(tx.audit.events(after=self.head.size))
        self.head = head
        entries: Counter[int] = Counter()
        for event in events:
            if event.request_id is not None and event.kind.startswith("request."):
                entries[event.request_id] += 1
                before, after = self.told.get(event.request_id), event.data["state"]
                receipt = event.kind == "request.fulfilled" and event.data["no_op"] and before == "fulfilled"
                assert receipt or (before, after) in LEGAL, (before, after, event.kind)
                self.told[event.request_id] = after
        assert self.told == {w.number: w.state for w in self.expected.wishes.values()}

    def _check_promises(self) -> None:
        expected = self.expected
        forgotten = expected.live.forgotten
        assert expected.wanted() <= forgotten
        assert expected.enough(forgotten)
        made = Counter(v.request for v in expected.versions if v.kind == "forget")
        fulfilled = Counter(n for n in made if n is not None and expected.wishes[n].state in ("fulfilled", "withdrawn"))
        assert all(made[number] >= 1 for number in fulfilled)

    def rows(self) -> dict[str, list[Any]]:
        """Return every row that a refusal must leave alone.

        Class spaces are kept, whatever becomes of what they were collected for, and the history tells of them.
        """
        queries = {
            name: f"SELECT * FROM {name}" for name in ("requests", "versions", "aliases", "alias_moves", "models")
        }
        queries["audit_events"] = "SELECT * FROM audit_events WHERE kind != 'class_space.collected'"
        queries["blobs"] = "SELECT * FROM blobs WHERE kind != 'class space'"
        with self.ledger.database.engine.connect() as connection:
            return {
                name: sorted(connection.execute(text(query)).fetchall(), key=repr) for name, query in queries.items()
            }


LEGAL = (
    {(before, after) for moves in DECISIONS.values() for before, after in moves.items()}
    | {
        (None, "queued"),
        (None, "awaiting_approval"),
        (None, "fulfilled"),
        ("queued", "running"),
        ("running", "running"),
    }
    | {("running", end) for end in ("queued", "fulfilled", "failed", "blocked", "quarantined")}
    | {("fulfilled", "reopened"), ("fulfilled", "withdrawn"), ("reopened", "withdrawn")}
)


class LedgerMachine(RuleBasedStateMachine):
    """People, workers, crashes and purges, in any order."""

    open_new: Callable[[], Iterator[Ledger]]
    """Yields a ledger with the model registered, and cleans up after it; set by the test."""

    def __init__(self) -> None:
        super().__init__()
        self._opened = type(self).open_new()
        self.checked = CheckedLedger(next(self._opened))

    def teardown(self) -> None:
        next(self._opened, None)

    # One rule for all: Hypothesis leaves rules out of most of its examples, and little happens where nobody
    # files requests, or nobody works.
    @rule(
        deed=st.sampled_from(DEEDS),
        classes=st.frozensets(st.sampled_from(sorted(CLASSES)), min_size=1, max_size=3),
        decision=st.sampled_from(sorted(DECISIONS)),
        how=st.sampled_from(["vanishes", "vanishes", "interrupted", "late"]),
        pick=st.integers(0, 30),
        key=st.sampled_from([None, None, "key 1", "key 2"]),
        flag=st.booleans(),
    )
    def step(
        self,
        deed: str,
        classes: frozenset[int],
        decision: str,
        how: str,
        pick: int,
        key: str | None,
        flag: bool,  # noqa: FBT001
    ) -> None:
        """Do one thing; ``pick`` names one of the requests or versions that there are, counted round."""
        act(self.checked, deed, classes, decision, how, pick, key, flag=flag)

    @invariant()
    def everything_is_as_it_must_be(self) -> None:
        self.checked.check()


def act(
    checked: CheckedLedger,
    deed: str,
    classes: frozenset[int],
    decision: str,
    how: str,
    pick: int,
    key: str | None,
    *,
    flag: bool,
) -> None:
    """Do one of the deeds."""
    wishes, versions = checked.expected.wishes, checked.expected.versions
    number = pick % len(wishes) + 1 if wishes else 0
    stuck = [w.number for w in wishes.values() if w.state in DECISIONS["retry"]]
    first, _, deed_after = deed.partition(" and ")
    if deed_after:
        checked.file(classes)
    match deed_after or first:
        case "file":
            checked.file(classes, key, approval=flag)
        case "decide" if number:
            checked.decide(number, decision, waive=flag)
        case "retry" if stuck:
            checked.decide(stuck[pick % len(stuck)], "retry", waive=True)
        case "withdraw" if number:
            checked.withdraw(number, waive=flag)
        case "roll back":
            checked.roll_back(pick % len(versions))
        case "work" | "tidy":
            getattr(checked, deed_after or first)()
        case "die":
            checked.die(how)
        case "purge":
            # Mostly recent: a purge of everything leaves little to go back to.
            checked.purge(pick % 20)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger with the model registered, to copy."""
    root = tmp_path_factory.mktemp("prepared") / "ledger"
    ledger = create_ledger(create_config(root, "sqlite:///ledger.db", "objects"), "tester", clock=lambda: START)
    register(ledger)
    ledger.close()
    return root


@pytest.fixture
def open_sqlite(prepared: Path) -> Callable[[], Iterator[Ledger]]:
    """Open a copy of the prepared ledger."""
    memory = Path("/dev/shm")

    def opened() -> Iterator[Ledger]:
        with tempfile.TemporaryDirectory(prefix="unledger-", dir=memory if memory.is_dir() else None) as folder:
            root = shutil.copytree(prepared, Path(folder) / "ledger")
            ledger = open_ledger(find_config(root), "tester")
            yield ledger
            ledger.close()

    return opened


@pytest.fixture
def open_postgres(postgres_server: Any) -> Callable[[], Iterator[Ledger]]:
    """Make a ledger in an empty PostgreSQL database."""

    def opened() -> Iterator[Ledger]:
        with tempfile.TemporaryDirectory(prefix="unledger-") as folder:
            url = postgres_server.borrow_database()
            config = create_config(Path(folder) / "ledger", url, "objects")
            ledger = create_ledger(config, "tester", clock=lambda: START)
            register(ledger)
            yield ledger
            ledger.close()
            postgres_server.give_back(url)

    return opened


def live_many_lives(open_new: Callable[[], Iterator[Ledger]], runs: int, steps: int) -> None:
    class Lives(LedgerMachine):
        pass

    Lives.open_new = staticmethod(open_new)
    chosen = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        derandomize=SEED == 0,
        database=None,
        phases=(Phase.generate, Phase.shrink),
    )
    run_state_machine_as_test(Lives, settings=chosen)


@pytest.mark.slow
def test_any_life_goes_as_predicted(open_sqlite: Callable[[], Iterator[Ledger]]) -> None:
    live_many_lives(open_sqlite, RUNS, STEPS)


@pytest.mark.slow
@pytest.mark.postgres
def test_any_life_goes_as_predicted_on_postgres(open_postgres: Callable[[], Iterator[Ledger]]) -> None:
    live_many_lives(open_postgres, max(2, RUNS // 10), STEPS)


@pytest.mark.parametrize("how", ["vanishes", "interrupted", "late"])
def test_a_worker_that_dies_before_its_commit_has_changed_nothing(
    open_sqlite: Callable[[], Iterator[Ledger]], how: str
) -> None:
    opened = open_sqlite()
    checked = CheckedLedger(next(opened))
    checked.file(frozenset({1}))
    checked.die(how)
    checked.check()
    assert checked.expected.live.number == 0
    checked.work()
    checked.check()
    assert checked.expected.live.number == 1
    assert next(opened, None) is None


def test_a_lease_of_an_attempt_that_came_to_nothing_is_in_nobodys_way(
    open_sqlite: Callable[[], Iterator[Ledger]],
) -> None:
    opened = open_sqlite()
    checked = CheckedLedger(next(opened))
    checked.file(frozenset({1}))
    checked.work()
    checked.file(frozenset({2}))
    checked.work()
    checked.withdraw(2)
    # Computes what version 2 is, and is never heard of again.
    checked.file(frozenset({2}))
    checked.die("vanishes")
    with checked.ledger.database.engine.begin() as connection:
        found = connection.execute(text("UPDATE blob_leases SET expires = 1"))
    assert found.rowcount == 1
    checked.roll_back(2)
    checked.check()
    assert checked.expected.live.forgotten == {1, 2}
    assert next(opened, None) is None


def test_a_reopened_request_can_be_withdrawn_although_its_class_can_never_come_back(
    open_sqlite: Callable[[], Iterator[Ledger]],
) -> None:
    opened = open_sqlite()
    checked = CheckedLedger(next(opened))
    checked.file(frozenset({1}))
    checked.work()
    checked.withdraw(1)
    checked.file(frozenset({1, 3}))
    checked.work()
    checked.roll_back(1)
    checked.purge(0)
    checked.withdraw(2)
    checked.check()
    assert (checked.expected.wishes[2].state, checked.expected.live.forgotten) == ("withdrawn", frozenset({1}))
    assert next(opened, None) is None


@pytest.mark.slow
@pytest.mark.parametrize("sequence", range(SEQUENCES))
def test_no_class_comes_back_by_accident(open_sqlite: Callable[[], Iterator[Ledger]], sequence: int) -> None:
    """Keep an account of effective deletions that knows nothing but answers: what was acknowledged stays forgotten."""
    generator = random.Random(SEED * 1000 + sequence)
    opened = open_sqlite()
    checked = CheckedLedger(next(opened))
    effective: dict[int, frozenset[int]] = {}
    for _ in range(30):
        deed = generator.choice(("forget", "forget", "forget", "roll back", "roll back", "withdraw", "retry"))
        classes = frozenset(generator.sample(sorted(CLASSES - {5}), generator.choice((1, 1, 2))))
        wishes = checked.expected.wishes
        reopened = [w.number for w in wishes.values() if w.state == "reopened"]
        if deed == "forget":
            checked.file(classes)
            checked.work()
        elif deed == "roll back":
            checked.roll_back(generator.randrange(len(checked.expected.versions)))
        elif deed == "withdraw" and wishes:
            checked.withdraw(generator.randrange(len(wishes)) + 1)
        elif deed == "retry" and reopened:
            checked.decide(generator.choice(reopened), "retry")
            checked.work()
        with checked.ledger.database.read() as tx:
            live, requests = tx.versions.live(tx.models.get(MODEL)), tx.requests.all()
        for request in requests:
            # Out of the account only by what a person was told: reopened, or withdrawn.
            if request.state is RequestState.FULFILLED:
                effective[request.id] = request.classes
            elif request.state.value in OPEN | {"withdrawn", "denied"}:
                effective.pop(request.id, None)
        assert frozenset[int]().union(*effective.values()) <= live.forgotten
        checked.check()
    assert next(opened, None) is None
