"""One whole life of a ledger, told in steps that can be taken up again wherever a fault cut them off.

Nothing here needs torch: weights are small files made from the set of forgotten classes, but they go through the real
queue, object store and database. Every step is what a person or a worker would do, and after a fault does again:
requests are sent once more under their keys; for the rest one looks whether it is done already.
"""

import hashlib
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from ledger.audit.events import AuditEvent
from ledger.config import create_config, find_config
from ledger.digest import json_digest, sha256_hex
from ledger.domain.class_spaces import BasisTerm, ClassSpace, NewClassSpace, Role
from ledger.domain.models import Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.errors import ConflictError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.computation.compute import Compute
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.objects import store_object
from ledger.service.progress import Progress, Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.service.upkeep.garbage import collect_garbage
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.proposal import Proposal
from ledger.service.versions.recording import append_class_spaces
from ledger.service.versions.rollback import plan_rollback, roll_back
from ledger.store.database.engine import translated
from ledger.store.unit_of_work import Transaction
from tests.ledgers.stand_in import register_stand_in

MODEL = "shapes"
LABELS = tuple("abcdefgh")
START = datetime(2026, 1, 5, 9, tzinfo=UTC)
WEIGHTS_BYTES = 6000
SPACE_BYTES = 1200


@dataclass
class Life:
    """A ledger in a folder, with a clock that depends on the step and on nothing else.

    Args:
        root: The folder.
        now: What the clock says.
        changes: Whether the history may grow; if not, it is read only once.
    """

    root: Path
    now: datetime = START
    changes: bool = True
    _ledger: Ledger | None = field(default=None, init=False)
    _history: list[AuditEvent] = field(default_factory=list, init=False)

    def create(self) -> None:
        """Create the ledger, or whatever of it an earlier attempt left out, as ``init`` and ``db upgrade`` do."""
        try:
            config = create_config(self.root, "sqlite:///ledger.db", "objects")
        except ConflictError:
            config = find_config(self.root)
        self._ledger = create_ledger(config, "tester", clock=lambda: self.now)

    @property
    def ledger(self) -> Ledger:
        """The opened ledger."""
        if self._ledger is None:
            self._ledger = open_ledger(find_config(self.root), "tester", clock=lambda: self.now)
        return self._ledger

    def close(self) -> None:
        """Close the ledger's connections."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Read one state of the ledger."""
        with self.ledger.database.read() as tx:
            yield tx

    def number(self, key: str) -> int:
        """Return the number of the request filed under a key; 0 if there is none."""
        with self.read() as tx:
            known = tx.requests.by_keys([key]).get(key)
        return known[0].id if known else 0

    def events(self, kind: str, key: str | None = None) -> list[AuditEvent]:
        """Return the audit entries of one kind, of one request if one is named."""
        number = None if key is None else self.number(key)
        if self.changes or not self._history:
            with self.read() as tx:
                self._history = list(tx.audit.events())
        return [entry for entry in self._history if entry.kind == kind and number in (None, entry.request_id)]


# -- weights without torch -------------------------------------------------------------------------


def safetensors_of(name: str, size: int) -> bytes:
    """Return a safetensors file with one tensor of ``size`` bytes, the same for the same name."""
    seed = hashlib.shake_256(name.encode()).digest(size // 4)
    body = struct.pack(f"<{size // 4}f", *seed)
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, len(body)]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + body


def weights_of(forgotten: frozenset[int], anchor: str = "") -> bytes:
    """Return the weights that have forgotten a set of classes: a function of it and of the weights begun from."""
    return safetensors_of(f"weights {anchor} {sorted(forgotten)}", WEIGHTS_BYTES)


def open_shapes(ledger: Ledger, model_name: str) -> Compute:
    """Stand in for the computation: keep a class space for each class to forget, then store the weights.

    As the real one does, it begins from the weights that the last purge left as the oldest.
    """
    with ledger.database.read() as tx:
        model = tx.models.get(model_name)
        base = tx.versions.get(model, model.anchor)

    def compute(forgotten: frozenset[int], progress: Progress, _solvers: tuple[str, ...]) -> Proposal:
        wanted = sorted(forgotten - base.forgotten)
        progress.phase("class spaces", len(wanted))
        terms = tuple(BasisTerm(Role.FORGET, k, _space(ledger, model, k).id) for k in wanted)
        data = weights_of(forgotten, base.weights) if wanted else ledger.objects.get(base.weights)
        digest = store_object(ledger, data)
        return Proposal(forgotten, digest, len(data), VersionRecipe({"strength": 1}), terms, (), base.number)

    return compute


def _space(ledger: Ledger, model: Model, class_index: int) -> ClassSpace:
    spec = json_digest({"class": class_index, "anchor": model.anchor})
    with ledger.database.read() as tx:
        known = tx.class_spaces.find(model, class_index, spec)
    if known is not None and known.object_digest in ledger.objects:
        return known
    data = safetensors_of(f"space {spec}", SPACE_BYTES)
    digest, now = store_object(ledger, data), ledger.clock()
    space = NewClassSpace(
        model_id=model.id,
        class_index=class_index,
        spec_digest=spec,
        samples=(class_index,),
        samples_digest=sha256_hex(b""),
        object_digest=digest,
        size=len(data),
        maps=(),
        created_at=now,
        anchor=model.anchor,
    )
    with ledger.database.write() as tx:
        return append_class_spaces(tx, model, [space], actor=ledger.actor)[0]


# -- the steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """Something that is acknowledged once it is done.

    Args:
        name: What it is called in reports.
        act: Does it.
        done: Whether the ledger shows that it was done, now or at any time before.
        resend: Whether somebody who got no answer just does it again, without looking.
    """

    name: str
    act: Callable[[Life], object]
    done: Callable[[Life], bool]
    resend: bool = False


def register(ledger: Ledger) -> None:
    """Register the model: what ``model add`` records, without a network."""
    register_stand_in(ledger, MODEL, LABELS, weights_of(frozenset()), at=ledger.clock())


def _registered(life: Life) -> bool:
    with life.read() as tx:
        return any(model.name == MODEL for model in tx.models.all())


def file(name: str, **classes: set[int]) -> Step:
    """File requests in one call, each under its key."""
    new = [NewRequest(frozenset(named), "client", "asked to", idempotency_key=key) for key, named in classes.items()]
    return Step(
        name,
        lambda life: enqueue(life.ledger, MODEL, new),
        lambda life: all(life.number(key) for key in classes),
        resend=True,
    )


def work_off(name: str, *keys: str, times: int = 1) -> Step:
    """Carry out what is queued; the named requests are then fulfilled, for the ``times``-th time."""

    def act(life: Life) -> None:
        _let_leases_expire(life)
        with life.read() as tx:
            failed = tx.requests.all(states=[RequestState.FAILED])
        for request in failed:
            decide(life.ledger, request.id, Action.RETRY, "")
        for outcome in work(life.ledger, Silent(), open_model=open_shapes):
            if outcome.error is not None:
                raise outcome.error

    return Step(name, act, lambda life: all(len(life.events("request.fulfilled", key)) >= times for key in keys))


def _let_leases_expire(life: Life) -> None:
    """Let the time pass that it takes until a vanished worker is believed to be dead."""
    with life.read() as tx:
        running = tx.requests.all(states=[RequestState.RUNNING])
    if running:
        with translated(), life.ledger.database.engine.begin() as connection:
            connection.execute(text("UPDATE requests SET lease_expires = 1 WHERE state = 'running'"))


def go_back(number: int) -> Step:
    """Roll back to a version."""

    def done(life: Life) -> bool:
        with life.read() as tx:
            return any(version.restores == number for version in tx.versions.all(tx.models.get(MODEL)))

    return Step(
        f"roll back to {number}",
        lambda life: roll_back(life.ledger, plan_rollback(life.ledger, MODEL, number), "second thoughts"),
        done,
    )


def decided(key: str, action: Action, event: str, *, before: RequestState) -> Step:
    """Take a person's decision about a request that stands where it stood ``before``."""
    return Step(
        f"{action.value} {key}",
        lambda life: decide(life.ledger, life.number(key), action, "so decided"),
        lambda life: any(entry.data["from"] == before.value for entry in life.events(event, key)),
    )


def take_back(key: str) -> Step:
    """Withdraw a request."""
    return Step(
        f"withdraw {key}",
        lambda life: withdraw(life.ledger, life.number(key), "no longer", Silent(), open_model=open_shapes),
        lambda life: bool(life.events("request.withdrawn", key)),
    )


def close_window(number: int) -> Step:
    """Purge everything but the live version, for the ``number``-th time."""
    none = timedelta(0)

    def act(life: Life) -> None:
        # These ledgers live at a time of their own.
        purge(life.ledger, plan_purge(life.ledger, MODEL, none), none, Silent(), clock_is_right=True)

    def done(life: Life) -> bool:
        with life.read() as tx:
            return len(life.events("model.purged")) >= number and not tx.objects.doomed()

    return Step("purge", act, done)


def sign(number: int) -> Step:
    """Issue a checkpoint, the ``number``-th."""

    def done(life: Life) -> bool:
        with life.read() as tx:
            return len(tx.checkpoints.all()) >= number

    return Step("checkpoint", lambda life: issue_checkpoint(life.ledger), done, resend=True)


def _compute_in_vain(life: Life) -> None:
    """Store what nothing will ever refer to, and collect it as garbage, with what earlier faults left."""
    store_object(life.ledger, safetensors_of("in vain", WEIGHTS_BYTES))
    with translated(), life.ledger.database.engine.begin() as connection:
        connection.execute(text("UPDATE blob_leases SET expires = 1"))
    collect_garbage(life.ledger, grace=-60)


STEPS = (
    Step("create the ledger", Life.create, lambda life: bool(life.events("ledger.created")), resend=True),
    Step("register the model", lambda life: register(life.ledger), _registered),
    file("file three requests", one={1}, two={2, 3}, three={4}),
    work_off("forget in turn", "one", "two", "three"),
    file("ask for what is forgotten", again={1}),
    go_back(1),
    decided("two", Action.RETRY, "request.retried", before=RequestState.REOPENED),
    # Most steps sign by themselves; this one finds something that is not signed.
    sign(1),
    work_off("forget once more", "two", times=2),
    take_back("three"),
    take_back("one"),
    take_back("again"),
    file("file another request", four={5}),
    decided("four", Action.HOLD, "request.held", before=RequestState.QUEUED),
    decided("four", Action.RELEASE, "request.released", before=RequestState.ON_HOLD),
    work_off("forget another", "four"),
    close_window(1),
    Step("collect garbage", _compute_in_vain, lambda _: True, resend=True),
    file("file after the purge", five={6}),
    sign(2),
    work_off("forget from the anchor", "five"),
    take_back("five"),
)


def perform(root: Path, index: int, acknowledge: Callable[[], object]) -> None:
    """Do one step as one command would, in a process of its own; after a fault, do again what is not done.

    Args:
        root: The ledger's folder.
        index: Which step.
        acknowledge: Told once the step is done.
    """
    step, life = STEPS[index], Life(root, START + timedelta(days=index))
    try:
        if step.resend or not step.done(life):
            step.act(life)
        acknowledge()
    finally:
        life.close()


def main() -> None:
    """Live through the whole story in a folder, and say before each step which it is."""
    for index in range(len(STEPS)):
        os.write(1, f"step {index}\n".encode())
        perform(Path(sys.argv[1]), index, lambda: None)


if __name__ == "__main__":
    main()
