"""A fleet of worker processes on one ledger, and the accounts that must hold whatever happened to them.

Nothing here imports torch. Weights are a few bytes made from the forgotten set, stored in the real object store; the
queue, the database and the worker are the real ones. Workers are forked, so that one more costs milliseconds.
"""

import hashlib
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ledger.cli.signals import SIGNALS, StopSignals
from sqlalchemy import event

from ledger.audit.events import AuditEvent
from ledger.config import create_config, find_config
from ledger.domain.models import Model
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import NewRequest, Request
from ledger.domain.states import Action, RequestState
from ledger.domain.versions import Version
from ledger.service.computation.compute import Compute
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.progress import Progress, Silent
from ledger.service.requests.daemon import Trouble, run_daemon
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.versions.commit import append_model, append_version
from ledger.service.versions.proposal import Proposal
from tests.ledgers.stand_in import base_version, stand_in

POISON = 0
"""A class whose computation kills the process that tries."""
STEPS = 4


def weights_of(model: str, forgotten: frozenset[int]) -> bytes:
    """Return the stand-in for weights: a function of the model and the set alone."""
    seed = f"{model}:{sorted(forgotten)}".encode()
    return b"".join(hashlib.sha256(seed + bytes([block])).digest() for block in range(32))


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds."""

    lease: float = 0.6
    compute: float = 0.05
    """Longest time of a computation; the shortest is none."""
    poll: float = 0.05


def opener(pace: Pace) -> Callable[[Ledger, str], Compute]:
    """Return what lays out a model for the stand-in computation."""
    chance = random.Random(os.getpid())

    def open_model(ledger: Ledger, name: str) -> Compute:
        def compute(forgotten: frozenset[int], progress: Progress, _solvers: tuple[str, ...]) -> Proposal:
            if POISON in forgotten:
                os.kill(os.getpid(), signal.SIGKILL)
            progress.phase("stand-in", STEPS)
            for _ in range(STEPS):
                time.sleep(chance.uniform(0, pace.compute / STEPS))
                progress.step()
            data = weights_of(name, forgotten)
            return Proposal(forgotten, ledger.objects.put(data), len(data), VersionRecipe({"stand-in": True}), (), ())

        return compute

    return open_model


def found_ledger(root: Path, url: str, models: tuple[str, ...], classes: int) -> None:
    """Create a ledger with models that have forgotten nothing."""
    ledger = create_ledger(create_config(root, url, "objects"), "founder")
    now = datetime.now(UTC)
    with ledger.database.write() as tx:
        for name in models:
            data = weights_of(name, frozenset())
            digest = ledger.objects.put(data)
            value = stand_in(name, tuple(f"class {k}" for k in range(classes)), at=now)
            model = append_model(tx, value, actor="founder", weights=digest)
            base = base_version(model, digest, at=now)
            append_version(tx, model, base, size=len(data), terms=(), actor="founder", at=now)
    ledger.close()


def look_at(root: Path, *, patience_ms: int = 30_000) -> Ledger:
    """Open a ledger to look at; a frozen process may hold a lock, for which it waits no longer than told."""
    ledger = open_ledger(find_config(root), "onlooker")
    if ledger.database.engine.dialect.name == "sqlite":
        ledger.database.engine.dispose()
        event.listen(
            ledger.database.engine,
            "connect",
            lambda connection, _record: connection.execute(f"PRAGMA busy_timeout = {patience_ms}"),
        )
    return ledger


def fork(act: Callable[[], None]) -> int:
    """Run something in a child process; it exits with 0, or with 1 and a traceback if that raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        act()
        code = 0
    except BaseException:  # noqa: BLE001 - a child must not run on in its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@dataclass
class Fleet:
    """Worker processes, each in a slot in which another follows it when it dies."""

    root: Path
    pace: Pace
    size: int = 3
    pids: list[int] = field(default_factory=list)
    troubles: Path = field(init=False)
    """Where workers write the troubles that they outlived, a line each."""

    def __post_init__(self) -> None:
        self.troubles = self.root / "troubles"
        self.pids = [self.hire() for _ in range(self.size)]

    def hire(self) -> int:
        """Start a worker and return its process number."""
        # Asked to leave before it can listen, it must not just die: until then, the signal waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        child = fork(self._serve)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return child

    def _serve(self) -> None:
        assert not {"torch", "timm"} & sys.modules.keys(), "a worker without weights to compute needs no torch"
        options: Any = {"open_model": opener(self.pace), "poll": self.pace.poll, "lease": self.pace.lease}
        with StopSignals() as stop:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            ledger = open_ledger(find_config(self.root), f"worker {os.getpid()}")
            for happened in run_daemon(ledger, Silent(), stop, **options):
                if isinstance(happened, Trouble):
                    with self.troubles.open("a") as file:
                        file.write(f"{type(happened.error).__name__}: {happened.error}\n")
            ledger.close()

    def kill(self, slot: int) -> None:
        """SIGKILL a worker and put another in its place."""
        os.kill(self.pids[slot], signal.SIGKILL)
        os.waitpid(self.pids[slot], 0)
        self.pids[slot] = self.hire()

    def replace_dead(self) -> int:
        """Put others in the place of workers that died; return how many."""
        dead = [slot for slot, pid in enumerate(self.pids) if os.waitpid(pid, os.WNOHANG)[0]]
        for slot in dead:
            self.pids[slot] = self.hire()
        return len(dead)

    def dismiss(self) -> list[int]:
        """Ask every worker to leave and return their exit codes."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return [os.waitstatus_to_exitcode(os.waitpid(self.pids.pop(0), 0)[1]) for _ in range(len(self.pids))]

    def abandon(self) -> None:
        """Kill everybody that is left."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.pids.clear()


def file_requests(ledger: Ledger, models: tuple[str, ...], each: int, *, first: int = 1) -> list[int]:
    """File requests for one class each, the models in turn; return their numbers."""
    numbers = []
    for k in range(first, first + each):
        for name in models:
            [receipt] = enqueue(ledger, name, [NewRequest(frozenset({k}), "people")])
            numbers.append(receipt.request.id)
    return numbers


def states(ledger: Ledger) -> dict[int, RequestState]:
    """Return where each request stands."""
    with ledger.database.read() as tx:
        return {request.id: request.state for request in tx.requests.all()}


def retry_quarantined(ledger: Ledger) -> int:
    """Do what a person does about requests that were set aside because their workers were killed."""
    aside = [number for number, state in states(ledger).items() if state is RequestState.QUARANTINED]
    for number in aside:
        decide(ledger, number, Action.RETRY, "its workers were killed on purpose")
    return len(aside)


@dataclass
class History:
    """What the audit history says about requests, in its own order."""

    epochs: dict[int, int] = field(default_factory=dict)
    """The last epoch that each request was claimed under."""
    fulfilled: dict[int, int] = field(default_factory=dict)
    """How often each request was fulfilled."""
    stale: int = 0
    """How often that was under another epoch than the last one claimed."""
    wrong: list[str] = field(default_factory=list)

    def read(self, entry: AuditEvent) -> None:
        """Take in the next entry."""
        number = entry.request_id or 0
        if entry.kind == "request.claimed":
            before, epoch = self.epochs.get(number, 0), entry.data["epoch"]
            if epoch != before + 1:
                self.wrong.append(f"request {number} was claimed under epoch {epoch} after {before}")
            self.epochs[number] = epoch
        elif entry.kind == "request.fulfilled":
            self.fulfilled[number] = self.fulfilled.get(number, 0) + 1
            self.stale += entry.data["epoch"] != self.epochs[number]


def faults_of(
    ledger: Ledger, model: Model, versions: list[Version], live: Version, requests: dict[int, Request]
) -> Iterator[str]:
    """Yield what is wrong with a model: numbers, parents, sets, bytes, or what is live."""
    if [version.number for version in versions] != list(range(len(versions))):
        yield f"{model.name} has gaps between its versions"
    for parent, version in pairwise(versions):
        asked = requests[version.request_id or 0]
        if version.parent != parent.number or version.forgotten != parent.forgotten | asked.classes:
            yield f"version {version.number} of {model.name} is not made of its parent and its request"
    for version in versions:
        if ledger.objects.get(version.weights) != weights_of(model.name, version.forgotten):
            yield f"version {version.number} of {model.name} has other bytes than its set makes"
    done = (r.classes for r in requests.values() if r.model_id == model.id and r.state is RequestState.FULFILLED)
    if live != versions[-1] or live.forgotten != frozenset[int]().union(*done):
        yield f"what is live of {model.name} is not what was fulfilled"


def accounts(root: Path, expected: int) -> dict[str, Any]:
    """Return what is wrong with a ledger after its requests were carried out, and what happened on the way.

    Lost: requests that were not fulfilled. Doubled: fulfilled or made a version more than once. Stale: fulfilled under
    another epoch than the last one claimed. Wrong: anything else that is not what the requests ask for.
    """
    ledger = open_ledger(find_config(root), "auditor")
    history = History()
    with ledger.database.read() as tx:
        head = tx.audit.verify()
        entries = list(tx.audit.events())
        requests = {request.id: request for request in tx.requests.all()}
        models = [(model, tx.versions.all(model), tx.versions.live(model)) for model in tx.models.all()]
    if [entry.seq for entry in entries] != list(range(1, head.size + 1)):
        history.wrong.append("the audit history has gaps")
    for entry in entries:
        history.read(entry)
    makers: Counter[int | None] = Counter()
    for model, versions, live in models:
        makers.update(version.request_id for version in versions[1:])
        history.wrong.extend(faults_of(ledger, model, versions, live, requests))
    ledger.close()
    claims = sum(history.epochs.values())
    return {
        "requests": len(requests),
        "lost": expected - sum(request.state is RequestState.FULFILLED for request in requests.values()),
        "doubled": sum(count != 1 for count in (*history.fulfilled.values(), *makers.values())),
        "stale": history.stale,
        "wrong": history.wrong,
        "entries": head.size,
        "claims": claims,
        "taken over": claims - len(history.epochs),
    }
