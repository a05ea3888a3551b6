"""A ledger with a random but honest life, made through the real service; only the weights are made up."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger.config import create_config, find_config
from ledger.domain.events.versions import VersionExported
from ledger.domain.missed_gates import MissedGate
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.errors import LedgerError, RefusedError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.audit.copies import witness
from ledger.service.computation.compute import Compute
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.progress import Progress, Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.versions.proposal import Proposal
from ledger.service.versions.rollback import plan_rollback, roll_back
from tests.ledgers.stand_in import register_stand_in

CLASSES = 6
MODELS = ("cars", "birds")
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
DECISIONS = (Action.HOLD, Action.RELEASE, Action.DENY, Action.CANCEL, Action.RETRY, Action.APPROVE)


@dataclass
class Story:
    """A ledger in a folder whose clock moves with each act.

    Args:
        root: Where it lives, or shall live: a ledger that is there is opened.
        choice: What decides.
        now: What its clock says at first.
    """

    root: Path
    choice: random.Random
    now: datetime = START
    url: str = "sqlite:///ledger.db"
    """Where a new ledger keeps its rows."""
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        if (self.root / "unledger.toml").exists():
            self.ledger = open_ledger(find_config(self.root), "tester", clock=self.tick)
            return
        config = create_config(self.root, self.url, "objects")
        self.ledger = create_ledger(config, "tester", clock=self.tick)
        for name in MODELS:
            self._register(name)

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.root / "ledger.db"

    @property
    def witness_file(self) -> Path:
        """What a witness keeps of this ledger."""
        return self.root / "witness"

    @property
    def size(self) -> int:
        """How many entries the history has."""
        with self.ledger.database.read() as tx:
            return tx.audit.head().size

    def tick(self) -> datetime:
        """Return the time, a little later at every call."""
        self.now += timedelta(minutes=7)
        return self.now

    def live(self, acts: int) -> None:
        """Let some things happen; what the ledger refuses does not."""
        for _ in range(acts):
            act = self.choice.choice([self.file, self.file, self._work, self._decide, self._withdraw, self._roll_back])
            try:
                act()
            except LedgerError:
                continue

    def chat(self, count: int, *, guarded: bool = True) -> None:
        """Append entries of no consequence, some with a note, in one transaction."""
        with self.ledger.database.write(guarded=guarded) as tx:
            for number in range(count):
                note = f"remark {number}" if number % 5 == 0 else ""
                event = VersionExported(version=number, weights="0" * 64)
                tx.audit.append(event, at=self.tick(), actor="tester", note=note)

    def checkpoint(self) -> str:
        """Sign the history and return the note."""
        return issue_checkpoint(self.ledger).note

    def witness(self) -> None:
        """Let the witness visit."""
        witness(self.ledger, self.witness_file)

    def close(self) -> None:
        """Close the database."""
        self.ledger.close()

    def _register(self, name: str) -> None:
        labels = tuple(f"class {k}" for k in range(CLASSES))
        register_stand_in(self.ledger, name, labels, f"weights of {name}".encode(), at=self.tick())

    def file(self) -> None:
        """File a request for one class or two."""
        classes = frozenset(self.choice.sample(range(CLASSES), self.choice.randint(1, 2)))
        request = NewRequest(
            classes,
            self.choice.choice(["alice", "bob"]),
            reason=self.choice.choice(["", "asked to"]),
            external_id=f"T-{self.choice.randrange(1000)}",
            received_at=self.choice.choice([None, self.now - timedelta(days=3)]),
        )
        enqueue(self.ledger, self.choice.choice(MODELS), [request], approval=self.choice.random() < 0.2)

    def file_for(self, *classes: int, model: str = MODELS[0], approval: bool = False) -> int:
        """File a request for some classes and return its number."""
        return enqueue(self.ledger, model, [NewRequest(frozenset(classes), "alice")], approval=approval)[0].request.id

    def _work(self) -> None:
        list(work(self.ledger, Silent(), open_model=self._open_model))

    def _open_model(self, ledger: Ledger, name: str) -> Compute:
        def compute(forgotten: frozenset[int], _progress: Progress, _solvers: tuple[str, ...]) -> Proposal:
            if self.choice.random() < 0.15:
                raise RefusedError("the images cannot be read")
            missed = (MissedGate("gate", "class 0 is still recognised"),) if self.choice.random() < 0.15 else ()
            data = f"weights of {name} without {sorted(forgotten)}".encode()
            recipe = VersionRecipe({"alpha_r": 30.0, "seed": 7})
            return Proposal(forgotten, ledger.objects.put(data), len(data), recipe, (), missed, anchor)

        anchor = _anchor(ledger, name)
        return compute

    def _decide(self) -> None:
        with self.ledger.database.read() as tx:
            numbers = [r.id for r in tx.requests.all() if r.state is not RequestState.FULFILLED]
        if numbers:
            action = self.choice.choice(DECISIONS)
            waive = action is Action.RETRY and self.choice.random() < 0.5
            decide(self.ledger, self.choice.choice(numbers), action, "thought about it", waive_gates=waive)

    def _withdraw(self) -> None:
        with self.ledger.database.read() as tx:
            numbers = [r.id for r in tx.requests.all(states=[RequestState.FULFILLED])]
        if numbers:
            withdraw(self.ledger, self.choice.choice(numbers), "mind changed", Silent(), open_model=self._open_model)

    def _roll_back(self) -> None:
        name = self.choice.choice(MODELS)
        with self.ledger.database.read() as tx:
            versions = tx.versions.all(tx.models.get(name))
        plan = plan_rollback(self.ledger, name, self.choice.choice(versions).number)
        roll_back(self.ledger, plan, "second thoughts")


def forgotten(ledger: Ledger) -> dict[str, frozenset[int]]:
    """Return what each model has forgotten."""
    with ledger.database.read() as tx:
        return {name: tx.versions.live(tx.models.get(name)).forgotten for name in MODELS}


def steady(ledger: Ledger, name: str) -> Compute:
    """Stand in for a computation that always succeeds."""

    def compute(classes: frozenset[int], _progress: Progress, _solvers: tuple[str, ...]) -> Proposal:
        data = f"weights of {name} without {sorted(classes)}".encode()
        return Proposal(classes, ledger.objects.put(data), len(data), VersionRecipe({"seed": 7}), (), (), anchor)

    anchor = _anchor(ledger, name)
    return compute


def _anchor(ledger: Ledger, name: str) -> int:
    with ledger.database.read() as tx:
        return tx.models.get(name).anchor
