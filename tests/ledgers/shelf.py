"""A ledger whose versions and class spaces are a few made-up bytes: enough for upkeep, quick to make."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from ledger.config import create_config, find_config
from ledger.digest import sha256_hex
from ledger.domain.class_spaces import BasisTerm, NewClassSpace, Role
from ledger.domain.events.ledgers import ObjectDestroyed
from ledger.domain.events.models import ModelPurged
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.objects import store_object
from ledger.service.versions.commit import append_version
from ledger.service.versions.recording import append_class_spaces
from ledger.weights import tensor_files
from tests.ledgers.stand_in import model_value, register_value

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.audit.events import AuditEvent
    from ledger.domain.models import Model
    from ledger.service.ledger import Ledger
    from ledger.store.unit_of_work import Transaction


START = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass
class Shelf:
    """A ledger without a network: three versions, the last with the weights of the first, and two class spaces."""

    root: Path
    url: str
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
                    recipe=VersionRecipe(),
                    created_at=self.now,
                )
                append_version(tx, model, version, size=len(weights_of(1)), terms=terms, actor="tester", at=self.now)

    def note_destroyed(self, digest: str) -> None:
        """Note that an object was destroyed, as a purge does."""
        with self.ledger.database.write() as tx:
            tx.objects.note_destroyed(digest, at=self.now)
            tx.audit.append(ObjectDestroyed(object=digest), at=self.now, actor="tester")

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
        register_value(self.ledger, model_value(name), data, at=self.now)
        return sha256_hex(data)

    def _add_space(self, tx: Transaction, model: Model, class_index: int) -> BasisTerm:
        data = weights_of(100 + class_index)
        # Within the transaction: this stands for one that was committed long ago.
        digest = self.ledger.objects.put(data)
        space = NewClassSpace(
            *(model.id, class_index, str(class_index) * 64, (1, 2), "e" * 64),
            object_digest=digest,
            size=len(data),
            maps=(),
            created_at=self.now,
        )
        stored = append_class_spaces(tx, model, [space], actor="tester")[0]
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
