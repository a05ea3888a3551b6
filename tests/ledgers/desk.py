"""A desk to work at: an opened ledger with the trained digits network in it, and the use cases in short form."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ledger.config import create_config, find_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version
from ledger.service.computation.compute import open_unlearning
from ledger.service.evidence.evaluation import evaluate
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.listing import show_request
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.versions.rollback import plan_rollback, roll_back
from tests.ledgers.contents import ledger_contents, unchanged_contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ledger.audit.events import AuditEvent
    from ledger.domain.models import Model
    from ledger.domain.requests import Request
    from ledger.domain.settings import Settings
    from ledger.service.ledger import Ledger
    from ledger.service.requests.claim_end import Outcome
    from tests.fixtures.trained_digits import TrainedDigits

MODEL = "digits"
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass
class Desk:
    """An opened ledger whose clock the test turns."""

    root: Path
    digits: TrainedDigits
    now: datetime = START
    ledger: Ledger = field(init=False)
    _opened: list[Ledger] = field(default_factory=list)
    open_model: ClassVar[Any] = staticmethod(open_unlearning)
    """What lays a model out for computation."""

    def __post_init__(self) -> None:
        self.ledger = self.open_again()

    @classmethod
    def create(cls, root: Path, digits: TrainedDigits) -> Self:
        """Create a ledger without models in a new folder, and open it."""
        create_ledger(create_config(root, "sqlite:///ledger.db", "objects"), "tester", clock=lambda: START).close()
        return cls(root, digits)

    def open_again(self) -> Ledger:
        """Open the same ledger once more, as another process would."""
        self._opened.append(open_ledger(find_config(self.root), "tester", clock=lambda: self.now))
        return self._opened[-1]

    def close(self) -> None:
        """Close every connection."""
        for ledger in self._opened:
            ledger.close()

    def later(self, days: float = 1) -> datetime:
        """Let time pass, and say what time it is then."""
        self.now += timedelta(days=days)
        return self.now

    # -- acts -------------------------------------------------------------------------------------

    def register(self, name: str, settings: Settings | None = None, **changes: Any) -> Model:
        """Register the digits network under another name, or something else, which need not be trained."""
        said: dict[str, Any] = {
            "architecture": Architecture(self.digits.architecture, {}),
            "weights": self.digits.weights,
            "data_spec": "digits",
            "labels": None,
            "preprocessing": vars(self.digits.preprocessing),
            "settings": settings or self.digits.settings,
            "accept_accuracy": "weights" in changes,
        }
        return register(self.ledger, Registration(name=name, **{**said, **changes}))

    def file(self, *classes: int, model: str = MODEL, **changes: Any) -> Request:
        """File a request."""
        return enqueue(self.ledger, model, [NewRequest(frozenset(classes), "tester", **changes)])[0].request

    def work(self, model: str | None = None) -> list[Outcome]:
        """Work the queue off."""
        return list(work(self.ledger, Silent(), model_name=model, open_model=self.open_model))

    def forget(self, *classes: int, model: str = MODEL) -> Version:
        """File a request, carry it out, and return the version that did it."""
        filed = self.file(*classes, model=model)
        [done] = self.work(model)
        assert (done.request.id, done.request.state, done.error) == (filed.id, RequestState.FULFILLED, None)
        assert done.version is not None
        return done.version

    def withdraw(self, number: int, **options: Any) -> Version | None:
        """Withdraw a request."""
        return withdraw(self.ledger, number, "asked to", Silent(), open_model=self.open_model, **options)[1]

    def decide(self, number: int, action: Action, **options: Any) -> Request:
        """Decide about a request."""
        return decide(self.ledger, number, action, "looked at it", **options)

    def retry(self, number: int, **options: Any) -> Version | None:
        """Retry a request and carry it out."""
        self.decide(number, Action.RETRY, **options)
        [done] = self.work()
        assert (done.request.id, done.request.state) == (number, RequestState.FULFILLED)
        return done.version

    def roll_back(self, number: int) -> Version:
        """Roll back."""
        return roll_back(self.ledger, plan_rollback(self.ledger, MODEL, number), "second thoughts")

    # -- looks ------------------------------------------------------------------------------------

    def model(self, name: str = MODEL) -> Model:
        """Return a registered model."""
        with self.ledger.database.read() as tx:
            return tx.models.get(name)

    def versions(self, model: str = MODEL) -> list[Version]:
        """Return every version."""
        with self.ledger.database.read() as tx:
            return tx.versions.all(tx.models.get(model))

    def live(self, model: str = MODEL) -> Version:
        """Return the live version."""
        with self.ledger.database.read() as tx:
            return tx.versions.live(tx.models.get(model))

    def request(self, number: int) -> Request:
        """Return a request."""
        return show_request(self.ledger, number)[1]

    def state(self, number: int) -> RequestState:
        """Return where a request stands."""
        return self.request(number).state

    def events(self, kind: str) -> list[AuditEvent]:
        """Return the audit events of one kind."""
        with self.ledger.database.read() as tx:
            tx.audit.verify()
            return [event for event in tx.audit.events() if event.kind == kind]

    def test_accuracy(self, number: int | None = None) -> list[float]:
        """Measure every class's test accuracy in a version."""
        measured = evaluate(self.ledger, MODEL, number, Silent(), only=["accuracy"], train_per_class=1)
        each: list[float] = measured.evidence["accuracy"].metrics["test"]["per_class"]
        return each

    def everything(self) -> dict[str, Any]:
        """Return all rows and objects."""
        return ledger_contents(self.root)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that the block leaves every row and object as it is, and a history that verifies."""
        with unchanged_contents(self.root):
            yield
        with self.ledger.database.read() as tx:
            tx.audit.verify()

    # -- accidents --------------------------------------------------------------------------------

    def expire(self, number: int) -> None:
        """Let a request's lease run out, as if its worker had stopped minutes ago."""
        with closing(sqlite3.connect(self.root / "ledger.db")) as connection:
            connection.execute("UPDATE requests SET lease_expires = 1 WHERE id = ?", (number,))
            connection.commit()
