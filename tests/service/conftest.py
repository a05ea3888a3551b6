"""A desk to work at: an opened ledger with the trained digits network in it, and the use cases in short form."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.config import create_config, find_config
from ledger.domain.class_spaces import BasisTerm, NewClassSpace, Role
from ledger.domain.events.models import ModelPurged
from ledger.domain.models import Architecture, NewModel
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version, VersionKind
from ledger.service.evidence.evaluation import evaluate
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.objects import store_object
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.listing import show_request
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.versions.commit import append_model, append_version
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger.audit.events import AuditEvent
    from ledger.domain.models import Model
    from ledger.domain.requests import Request
    from ledger.domain.settings import Settings
    from ledger.service.ledger import Ledger
    from ledger.service.requests.claim_end import Outcome
    from ledger.store.unit_of_work import Transaction
    from tests.fixtures.ledger_contents import Contents
    from tests.fixtures.trained_digits import TrainedDigits

MODEL = "digits"
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass
class Desk:
    """An opened ledger whose clock the test turns."""

    root: Path
    digits: TrainedDigits
    contents: Contents
    now: datetime = START
    ledger: Ledger = field(init=False)
    _opened: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = self.open_again()

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
        """Register the digits network under another name, or something else."""
        said: dict[str, Any] = {
            "architecture": Architecture(self.digits.architecture, {}),
            "weights": self.digits.weights,
            "data_spec": "digits",
            "labels": None,
            "preprocessing": vars(self.digits.preprocessing),
            "settings": settings or self.digits.settings,
        }
        return register(self.ledger, Registration(name=name, **{**said, **changes}))

    def file(self, *classes: int, model: str = MODEL, **changes: Any) -> Request:
        """File a request."""
        return enqueue(self.ledger, model, [NewRequest(frozenset(classes), "tester", **changes)])[0].request

    def work(self, model: str | None = None) -> list[Outcome]:
        """Work the queue off."""
        return list(work(self.ledger, Silent(), model_name=model))

    def forget(self, *classes: int, model: str = MODEL) -> Version:
        """File a request, carry it out, and return the version that did it."""
        filed = self.file(*classes, model=model)
        [done] = self.work(model)
        assert (done.request.id, done.request.state, done.error) == (filed.id, RequestState.FULFILLED, None)
        assert done.version is not None
        return done.version

    def withdraw(self, number: int, **options: Any) -> Version | None:
        """Withdraw a request."""
        return withdraw(self.ledger, number, "asked to", Silent(), **options)[1]

    def decide(self, number: int, action: Action, **options: Any) -> Request:
        """Decide about a request."""
        return decide(self.ledger, number, action, "", **options)

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
        return self.contents(self.root)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that the block leaves every row and object as it is, and a history that verifies."""
        before = self.everything()
        yield
        assert self.everything() == before
        with self.ledger.database.read() as tx:
            tx.audit.verify()

    # -- accidents --------------------------------------------------------------------------------

    def expire(self, number: int) -> None:
        """Let a request's lease run out, as if its worker had stopped minutes ago."""
        with closing(sqlite3.connect(self.root / "ledger.db")) as connection:
            connection.execute("UPDATE requests SET lease_expires = 1 WHERE id = ?", (number,))
            connection.commit()


@pytest.fixture(scope="session")
def _registered(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits, contents: Contents) -> Path:
    """A ledger with the digits network in it, from which each test starts."""
    root = tmp_path_factory.mktemp("registered")
    create_ledger(create_config(root, "sqlite:///ledger.db", "objects"), "tester", clock=lambda: START).close()
    desk = Desk(root, trained_digits, contents)
    desk.register(MODEL)
    desk.close()
    return root


@pytest.fixture(scope="session")
def _two_forgotten(
    tmp_path_factory: pytest.TempPathFactory, _registered: Path, trained_digits: TrainedDigits, contents: Contents
) -> Path:
    """The same after two requests were carried out: version 1 has forgotten 3, version 2 also 7."""
    root = tmp_path_factory.mktemp("forgotten") / "ledger"
    shutil.copytree(_registered, root)
    desk = Desk(root, trained_digits, contents)
    for digit in (3, 7):
        desk.forget(digit)
    desk.close()
    return root


@pytest.fixture
def open_desk(tmp_path: Path, trained_digits: TrainedDigits, contents: Contents) -> Iterator[Callable[[Path], Desk]]:
    """Copy a prepared folder and open the ledger in it."""
    desks: list[Desk] = []

    def build(prepared: Path) -> Desk:
        root = tmp_path / f"ledger{len(desks)}"
        shutil.copytree(prepared, root)
        desks.append(Desk(root, trained_digits, contents))
        return desks[-1]

    yield build
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(open_desk: Callable[[Path], Desk], _registered: Path) -> Desk:
    """A desk with the digits network registered and nothing asked of it."""
    return open_desk(_registered)


@pytest.fixture
def second_desk(open_desk: Callable[[Path], Desk], _registered: Path) -> Desk:
    """Another one, to compare with: nothing that happens at the first is seen here."""
    return open_desk(_registered)


@pytest.fixture
def two_forgotten(open_desk: Callable[[Path], Desk], _two_forgotten: Path) -> Desk:
    """A desk where request 1 made version 1 forget 3, and request 2 made version 2 forget 7 as well."""
    return open_desk(_two_forgotten)


@dataclass
class Shelf:
    """A ledger without a network: three versions, the last with the weights of the first, and two class spaces."""

    root: Path
    url: str
    model: Callable[..., NewModel]
    ledger: Ledger = field(init=False)
    weights: list[str] = field(init=False)
    space: str = ""
    now: datetime = START
    _opened: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = create_config(self.root, self.url, "objects")
        self.ledger = create_ledger(config, "tester", clock=lambda: self.now)
        self._opened.append(self.ledger)
        first = self.add_model("shelf")
        second = store_object(self.ledger, weights_of(1))
        self.weights = [first, second, first]
        with self.ledger.database.write() as tx:
            model = tx.models.get("shelf")
            terms = tuple(self._add_space(tx, model, k) for k in (1, 2))
            kinds = (VersionKind.FORGET, VersionKind.ROLLBACK)
            for number, kind in enumerate(kinds, start=1):
                restores = 0 if kind is VersionKind.ROLLBACK else None
                forgotten = frozenset({1}) if restores is None else frozenset[int]()
                version = Version(
                    *(model.id, number, number - 1, kind, None, restores),
                    forgotten=forgotten,
                    weights=self.weights[number],
                    recipe={},
                    created_at=self.now,
                )
                append_version(tx, model, version, size=len(weights_of(1)), terms=terms, actor="tester", at=self.now)

    def note_purged(self, number: int) -> None:
        """Promise that a version's weights go, as a purge does."""
        with self.ledger.database.write() as tx:
            model = tx.models.get("shelf")
            tx.versions.note_purged(tx.versions.get(model, number), at=self.now)
            purged = ModelPurged(anchor=0, versions=(number,), final=())
            tx.audit.append(purged, at=self.now, actor="tester", model=model.name)

    def add_model(self, name: str) -> str:
        """Register a model and return the digest of its weights."""
        data = weights_of(sum(name.encode()))
        digest = store_object(self.ledger, data)
        with self.ledger.database.write() as tx:
            model = append_model(tx, self.model(name), actor="tester", weights=digest)
            base = Version(model.id, 0, None, VersionKind.BASE, None, None, frozenset(), digest, {}, self.now)
            append_version(tx, model, base, size=len(data), terms=(), actor="tester", at=self.now)
        return digest

    def _add_space(self, tx: Transaction, model: Model, class_index: int) -> BasisTerm:
        data = weights_of(100 + class_index)
        # Within the transaction: this stands for one that was committed long ago.
        digest = self.ledger.objects.put(data)
        tx.objects.add(digest, len(data), "class space", at=self.now)
        space = NewClassSpace(
            *(model.id, class_index, str(class_index) * 64, (1, 2), "e" * 64),
            object_digest=digest,
            size=len(data),
            maps=(),
            created_at=self.now,
        )
        stored = tx.class_spaces.add(space)
        if class_index == 1:
            self.space = digest
        return BasisTerm(Role.RETAIN, class_index, stored.id)

    def open_again(self) -> Ledger:
        """Open the same ledger once more, as another process would."""
        self._opened.append(open_ledger(find_config(self.root), "somebody", clock=lambda: self.now))
        return self._opened[-1]

    def close(self) -> None:
        """Close every connection."""
        for ledger in self._opened:
            ledger.close()

    def path(self, digest: str) -> Path:
        """Return an object's file."""
        return self.root / "objects" / digest[:2] / digest[2:]

    def key(self, digest: str) -> Path:
        """Return an object's key."""
        return self.root / "keys" / "objects" / digest

    def cut(self, digest: str, size: int) -> None:
        """Cut an object's file."""
        self.path(digest).chmod(0o644)
        self.path(digest).write_bytes(self.path(digest).read_bytes()[:size])

    def versions(self) -> list[Version]:
        """Return every version."""
        with self.ledger.database.read() as tx:
            return tx.versions.all(tx.models.get("shelf"))

    def events(self, kind: str) -> list[AuditEvent]:
        """Return the audit events of one kind."""
        with self.ledger.database.read() as tx:
            tx.audit.verify()
            return [event for event in tx.audit.events() if event.kind == kind]

    def size(self) -> int:
        """Return the length of the history."""
        with self.ledger.database.read() as tx:
            return tx.audit.head().size

    @property
    def file(self) -> Path | None:
        """The database's file; None if it has none."""
        return self.root / "ledger.db" if self.url.startswith("sqlite") else None

    def execute(self, statement: str) -> None:
        """Change a row behind the ledger's back."""
        with self.ledger.database.engine.connect() as connection:
            connection.exec_driver_sql(statement)
            connection.commit()

    def forge_history(self) -> None:
        """Change an entry of the history as somebody would who owns the database."""
        drop, table = "DROP TRIGGER {} {}", "ON audit_events"
        named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_events'"
        if self.file is None:
            named = (
                "SELECT DISTINCT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'audit_events'::regclass"
            )
        with self.ledger.database.engine.connect() as connection:
            names = [name for (name,) in connection.exec_driver_sql(named).fetchall()]
            for name in names:
                connection.exec_driver_sql(drop.format(name, "" if self.file else table))
            connection.exec_driver_sql("UPDATE audit_events SET leaf = replace(leaf, 'tester', 'nobody') WHERE seq = 2")
            connection.commit()


def weights_of(seed: int) -> bytes:
    """Return some weights."""
    return tensor_files.serialise({"w": torch.full((40,), float(seed)), "b": torch.arange(10.0) + seed})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shelf(tmp_path: Path, request: pytest.FixtureRequest, new_model: Callable[..., NewModel]) -> Iterator[Shelf]:
    """A small ledger, once for each kind of database."""
    url = "sqlite:///ledger.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    shelf = Shelf(tmp_path / "ledger", url, new_model)
    yield shelf
    shelf.close()
