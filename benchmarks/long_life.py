"""A long simulated life: many models, many requests, several workers over PostgreSQL, some of them killed at random.

    python benchmarks/long_life.py [--models 200] [--requests 1000] [--workers 4] [--kills 40] [--seed 0]

Real requests on tiny networks: filed by one process, so that some always wait; carried out by daemons as
``unledger work --forever`` runs them, each of which may be killed (SIGKILL) at any moment and is then replaced. The
audit log tells afterwards whether every request was fulfilled once, whether a later request overtook anybody, and
whether models with the same classes forgotten have the same bytes. Then it says what became of the workers' time. Exits
with 1 if anything was lost, doubled or overtaken.
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audit_scale import postgresql

from ledger.audit.events import AuditEvent
from ledger.config import create_config, find_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.states import RequestState
from ledger.images.loading import load_images
from ledger.plugin_manager import build_plugins
from ledger.service.computation.compute import Compute
from ledger.service.evidence.gating import open_gated
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Progress, Silent
from ledger.service.requests.daemon import run_daemon
from ledger.service.requests.filing import enqueue
from ledger.service.versions.proposal import Proposal
from ledger.weights import tensor_files

CLASSES = 8
MOST_FORGOTTEN = CLASSES - 2
ARCHITECTURE = Architecture(f"{Path(__file__).with_name('long_life_net.py')}:mlp", {})
PREPROCESSING = Preprocessing(channels=1, height=8, width=8, mean=(0.5,), std=(0.3,))
# Gates off and few candidates: the point is the queue, not the accuracy of a network this small.
SETTINGS = Settings(
    max_rank=8, retain_samples=8, forget_samples=12, calibration_samples=8, rows_per_class=16,
    alpha_r=(100.0,), alpha_f=(1.0, 100.0), max_forgotten_accuracy=1.0, max_retained_drop=1.0,
)  # fmt: skip
PATIENCE = 3600.0
ENDS = {"request.fulfilled", "request.failed", "request.blocked", "request.quarantined"}


@dataclass(frozen=True)
class Plan:
    """What happens in this life.

    Args:
        models: Number of models.
        requests: Number of requests.
        workers: Number of workers at any time.
        kills: How many of them are killed on the way.
        lease: Seconds after which the request of a killed worker is taken over.
        waiting: About how many requests wait at any time, until the last was filed.
        seed: Of everything that is random.
    """

    models: int
    requests: int
    workers: int
    kills: int
    lease: float
    waiting: int
    seed: int

    def asks(self) -> list[tuple[str, int]]:
        """Return model and class of each request, in order: no model is asked for a class twice, nor for too many."""
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        possible = [(model, k) for model in range(self.models) for k in chance.sample(range(CLASSES), MOST_FORGOTTEN)]
        if self.requests > len(possible):
            raise SystemExit(f"{self.models} models can be asked for {len(possible)} classes at most")
        return [(name_of(model), k) for model, k in chance.sample(possible, self.requests)]


def name_of(model: int) -> str:
    """Return a model's name."""
    return f"model-{model:03}"


# -- what is there at the beginning -------------------------------------------------------------------


def found(root: Path, url: str, plan: Plan) -> None:
    """Make a ledger in which every model is registered: the same network under as many names."""
    generator = np.random.default_rng(plan.seed)
    patterns = generator.uniform(size=(CLASSES, 8, 8))
    arrays: dict[str, Any] = {}
    for split, count in (("train", 20), ("test", 6)):
        labels = np.repeat(np.arange(CLASSES), count)
        noisy = np.clip(patterns[labels] + generator.normal(0, 0.1, (len(labels), 8, 8)), 0, 1)
        arrays |= {f"x_{split}": (255 * noisy).astype(np.uint8), f"y_{split}": labels}
    root.mkdir(parents=True)
    np.savez(root / "images.npz", **arrays)
    spec, weights = f"npz:{root / 'images.npz'}", root / "weights.safetensors"
    plugins = build_plugins()
    torch.manual_seed(plan.seed)
    module = plugins.load_model(ARCHITECTURE.spec, {}, CLASSES).module
    source = plugins.data_source(spec)
    images = load_images(source.train, range(len(source.train.labels)), PREPROCESSING)
    wanted = torch.tensor(source.train.labels)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(images), wanted, label_smoothing=0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    weights.write_bytes(tensor_files.serialise(module.eval().state_dict()))
    ledger = create_ledger(create_config(root / "ledger", url, "objects"), "bench")
    for number in range(plan.models):
        what = Registration(name_of(number), ARCHITECTURE, weights, spec, None, vars(PREPROCESSING), SETTINGS)
        register(ledger, what)
    ledger.close()


# -- workers ------------------------------------------------------------------------------------------


class Leaving:
    """Tells a worker to leave at SIGTERM. Whoever waits is woken by news or looks again soon."""

    def __init__(self) -> None:
        self.wanted = False
        self._turn = False
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, *_: object) -> None:
        self.wanted = True

    def wait(self, seconds: float, *, wakeful: bool = False) -> None:
        """Wait in small steps."""
        end = time.monotonic() + seconds
        while not (self.wanted or (wakeful and self._turn)) and time.monotonic() < end:
            time.sleep(0.005)
        self._turn = self._turn and not wakeful

    def wake(self) -> None:
        """End the wait."""
        self._turn = True


class Fleet:
    """Worker processes: daemons as ``unledger work --forever`` runs them, which note what they spend their time on.

    Args:
        root: Folder of :func:`found`.
        plan: How many, and their leases.
    """

    def __init__(self, root: Path, plan: Plan) -> None:
        self._root = root
        self._plan = plan
        self._hired = 0
        self.notes = root / "notes"
        self.pids = [self._hire() for _ in range(plan.workers)]

    def _hire(self) -> int:
        self._hired += 1
        number = self._hired
        pid = os.fork()
        if pid == 0:
            try:
                self._serve(number)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - a forked process must not go on as its parent
                print(f"worker {number}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
        return pid

    def _serve(self, number: int) -> None:
        stop = Leaving()
        with open(f"{self.notes}-{number}", "a", buffering=1) as notes:  # noqa: PTH123 - a line at a time

            def note(what: str) -> None:
                notes.write(f"{json.dumps([os.getpid(), what, time.monotonic()])}\n")

            note("hired")
            ledger = open_ledger(find_config(self._root / "ledger"), f"worker {number}")
            options: Any = {"open_model": noting(note), "lease": self._plan.lease, "poll": 5.0}
            for _ in run_daemon(ledger, Silent(), stop, **options):
                """What came of it is in the audit log."""
            note("left")

    def kill(self, chance: random.Random) -> tuple[int, float]:
        """Kill a worker, put another one in its place, and return who it was and when."""
        slot = chance.randrange(len(self.pids))
        pid, when = self.pids[slot], time.monotonic()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.pids[slot] = self._hire()
        return pid, when

    def dismiss(self) -> None:
        """Ask all to leave, and wait until they did."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self.pids:
            os.waitpid(pid, 0)
        self.pids.clear()


def noting(note: Callable[[str], None]) -> Callable[[Ledger, str], Compute]:
    """Return what lays models out as a worker does, and notes when it computes."""

    def opened(ledger: Ledger, name: str) -> Compute:
        inner: list[Compute] = []

        def compute(forgotten: frozenset[int], progress: Progress, solvers: tuple[str, ...]) -> Proposal:
            note("begins")
            if not inner:
                inner.append(open_gated(ledger, name))
            proposal = inner[0](forgotten, progress, solvers)
            note("ends")
            return proposal

        return compute

    return opened


# -- a life -------------------------------------------------------------------------------------------


def live(root: Path, plan: Plan) -> dict[str, Any]:
    """Let people file and workers work until everything is done, and return what was seen."""
    chance = random.Random(plan.seed + 1)  # noqa: S311 - repeatable, not secret
    asks = plan.asks()
    kill_at = sorted(chance.sample(range(1, plan.requests), min(plan.kills, plan.requests - 1)))
    ledger = open_ledger(find_config(root / "ledger"), "people")
    for name, k in asks[: plan.waiting]:
        enqueue(ledger, name, [NewRequest(frozenset({k}), "people")])
    filed, killed = min(plan.waiting, plan.requests), []
    began = time.monotonic()
    fleet = Fleet(root, plan)
    try:
        while (done := finished(ledger)) < plan.requests:
            if time.monotonic() - began > PATIENCE:
                raise SystemExit(f"{plan.requests - done} requests are still open")
            # Some at a time, as people do: the queue grows and shrinks, and is not empty before the end.
            while filed < plan.requests and filed - done < plan.waiting + chance.randint(-5, 5):
                name, k = asks[filed]
                enqueue(ledger, name, [NewRequest(frozenset({k}), "people")])
                filed += 1
            if kill_at and done >= kill_at[0]:
                kill_at.pop(0)
                # Not just after something ended, but at any moment of what follows.
                time.sleep(chance.uniform(0, 0.3))
                killed.append(fleet.kill(chance))
            time.sleep(0.1)
        seconds = time.monotonic() - began
    finally:
        fleet.dismiss()
    seen = {**examined(ledger, plan), **spent(fleet.notes, killed, seconds, plan.workers)}
    ledger.close()
    return {"kills": len(killed), **seen}


def finished(ledger: Ledger) -> int:
    """Return how many requests are fulfilled, or need a person."""
    with ledger.database.read() as tx:
        ended = [RequestState.FULFILLED, RequestState.FAILED, RequestState.BLOCKED, RequestState.QUARANTINED]
        return tx.requests.count(None, ended, after=0)


def examined(ledger: Ledger, plan: Plan) -> dict[str, Any]:
    """Return what the audit log, which is verified first, says about the requests."""
    with ledger.database.read() as tx:
        head = tx.audit.verify()
        tx.trusted.catch_up()
        events = list(tx.audit.events())
        states = Counter(request.state for request in tx.requests.all())
        live_versions = [tx.versions.live(model) for model in tx.models.all()]
    fulfilled = Counter(event.request_id for event in events if event.kind == "request.fulfilled")
    digests: dict[frozenset[int], set[str]] = defaultdict(set)
    for version in live_versions:
        digests[version.forgotten].add(version.weights)
    overtaken, waits = waited(events)
    return {
        "entries": head.size,
        "requests": sum(states.values()),
        "fulfilled": states[RequestState.FULFILLED],
        "lost": plan.requests - len(fulfilled),
        "doubled": sum(count > 1 for count in fulfilled.values()),
        "taken over": sum(event.kind == "request.claimed" for event in events) - len(fulfilled),
        "overtaken": overtaken,
        "sets of classes": len(digests),
        "sets with different bytes": sum(len(found) > 1 for found in digests.values()),
        "median wait": statistics.median(waits),
        "longest wait": max(waits),
    }


def waited(events: Sequence[AuditEvent]) -> tuple[int, list[float]]:
    """Return how often a request was overtaken, and how many seconds each waited for its first claim.

    A request can be claimed from the moment on at which it is the oldest of its model and none of that model runs.
    Whoever filed later and is claimed between that moment and its own claim has overtaken it: then it would have waited
    for more than the queue before it.
    """
    free: dict[str, list[int]] = defaultdict(list)
    running: dict[str, int | None] = defaultdict(lambda: None)
    received: dict[int, AuditEvent] = {}
    overtaken, waits = 0, []
    for event in events:
        model, number = event.model or "", event.request_id or 0
        if event.kind == "request.received":
            received[number] = event
            free[model].append(number)
        elif event.kind == "request.claimed":
            if number in free[model]:
                waits.append((event.at - received[number].at).total_seconds())
                offered = (queue[0] for name, queue in free.items() if queue and running[name] is None)
                overtaken += sum(other < number for other in offered)
                free[model].remove(number)
            running[model] = number
        elif event.kind in ENDS:
            running[model] = None
        elif event.kind == "request.interrupted":
            running[model] = None
            free[model].insert(0, number)
    return overtaken, waits


def spent(notes: Path, killed: Sequence[tuple[int, float]], seconds: float, workers: int) -> dict[str, float]:
    """Return what became of the workers' time, in seconds.

    Args:
        notes: Where they noted what they did.
        killed: Who was killed, and when.
        seconds: How long the life lasted.
        workers: How many there were at any time.
    """
    deaths = dict(killed)
    computing = lost = starting = 0.0
    for file in notes.parent.glob(f"{notes.name}-*"):
        pid, since, hired = 0, None, None
        for line in file.read_text().splitlines():
            pid, what, when = json.loads(line)
            if what == "hired":
                hired = when
            elif what == "begins":
                if hired is not None:
                    starting, hired = starting + when - hired, None
                since = when
            elif what == "ends" and since is not None:
                computing, since = computing + when - since, None
        if since is not None and pid in deaths:
            lost += deaths[pid] - since
    whole = workers * seconds
    return {
        "seconds": seconds,
        "workers' seconds": whole,
        "computing": computing,
        "lost with those killed": lost,
        "starting": starting,
        "queue": whole - computing - lost - starting,
        "of the sum of the work": (computing + lost + starting) / whole,
    }


def is_clean(seen: Mapping[str, Any]) -> bool:
    """Return whether nothing was lost, doubled or overtaken, and equal sets have equal bytes."""
    return not (seen["lost"] or seen["doubled"] or seen["overtaken"] or seen["sets with different bytes"])


# -- how soon an idle worker begins -------------------------------------------------------------------


def woken(root: Path, plan: Plan, count: int) -> list[float]:
    """File requests while a worker is idle, and return the seconds from each receipt to its claim."""
    ledger = open_ledger(find_config(root / "ledger"), "people")
    before = finished(ledger)
    fleet = Fleet(root, plan)
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
    try:
        for number in range(count):
            # Until the workers have been idle for a while.
            time.sleep(chance.uniform(1, 2))
            enqueue(ledger, name_of(number), [NewRequest(frozenset({0}), "people")])
            while finished(ledger) <= before + number:
                time.sleep(0.02)
    finally:
        fleet.dismiss()
    with ledger.database.read() as tx:
        events = list(tx.audit.events())
    ledger.close()
    return waited(events)[1]


@contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """Yield a folder: a new one that is removed afterwards, unless one is given."""
    with tempfile.TemporaryDirectory(prefix="unledger-") if folder is None else nullcontext(folder) as found_at:
        yield Path(found_at)


def main() -> int:
    """Live, and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--lease", type=float, default=60.0, help="seconds")
    parser.add_argument("--waiting", type=int, default=40, help="requests that wait at any time")
    parser.add_argument(
        "--idle", type=int, default=0, help="instead: file so many requests one by one, for idle workers"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="an empty database; default: a PostgreSQL server of its own")
    parser.add_argument("--folder", type=Path, help="where everything is kept; default: a temporary folder")
    said = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(said.models, said.requests, said.workers, said.kills, said.lease, said.waiting, said.seed)
    # The server has a folder of its own right below the temporary one: its account enters no folder of ours.
    with (
        place(said.folder) as folder,
        place(None) as base,
        nullcontext(said.url) if said.url else postgresql(base) as url,
    ):
        found(folder / "life", url, plan)
        print(f"{plan}; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
        if said.idle:
            waits = woken(folder / "life", plan, said.idle)
            print(f"seconds from receipt to claim: median {statistics.median(waits):.3f}, most {max(waits):.3f}")
            return 0
        seen = live(folder / "life", plan)
    for what, value in seen.items():
        print(f"  {what:28} {value:12,.1f}" if isinstance(value, float) else f"  {what:28} {value:12,}")
    return 0 if is_clean(seen) else 1


if __name__ == "__main__":
    sys.exit(main())
