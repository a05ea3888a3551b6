"""What engines cost beside two processes, and whether their results have the same bytes while workers are killed.

    python benchmarks/executors.py cost [--arch vit_tiny_patch16_224] [--rounds 3] [--once]
    python benchmarks/executors.py kills [--runs 20] [--engines ray dask processes]

*cost*: seconds until an engine answers, seconds of a call that does nothing and of one that carries 15 MB, and wall and
processor time of collecting ten class spaces, with every executor in turns; with ``--once``, for large networks, no
collection goes before the one that is measured, and ``local`` is left out. *kills*: one request on a small network
again and again, collection, candidates and all, while workers are killed at random moments; all results are compared
with those of this process by SHA-256.

Weights and images are random: neither cost nor identity depends on them. Needs the dependency group ``engines``.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psutil
from clusters import CLUSTERS, Cluster, killing
from collection import FORGOTTEN, bench, random_images

from ledger.config import find_config
from ledger.digest import json_digest
from ledger.domain.settings import Settings
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.unlearning import propose
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.progress import Silent

SMALL, SMALL_SIZE = "test_resnet", 64
FEW = Settings(retain_samples=20, forget_samples=60, rows_per_class=100, calibration_samples=15, batch_size=16)
CARRIED = 15 * 10**6
"""Bytes of a hundred images of 224 x 224 pixels."""
KILLS, KILL_SECONDS = 2, (0.5, 10.0)
PROCESSES = "processes:2"


def collected(ledger: Ledger) -> str:
    """Collect all class spaces into a ledger that has none; return a digest of all of their bytes."""
    spaces = ClassSpaceCache(open_workbench(ledger, "any")).collect_and_store(frozenset({FORGOTTEN}), Silent())
    return json_digest([one.record.object_digest for one in spaces])


def computed(ledger: Ledger) -> str:
    """Carry one request out; return a digest of the class spaces, the search, and the weights."""
    proposal = propose(open_workbench(ledger, "any"), frozenset({FORGOTTEN}), Silent())
    return json_digest([proposal.weights, repr(proposal.recipe.document["search"])])


def opened(root: Path, copy: Path, spec: str) -> Ledger:
    """Copy a ledger and open it for an executor."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    return replace(open_ledger(find_config(copy), "bench"), executor=spec)


def processor_seconds(cluster: Cluster | None) -> dict[int, float]:
    """Return the processor time, by number, of this process, of those that it started, and of a cluster's."""
    own = psutil.Process()
    found = {one.pid: one for one in (own, *own.children(recursive=True), *(cluster.everything if cluster else ()))}
    seconds = {}
    for number, one in found.items():
        with suppress(psutil.Error):
            times = one.cpu_times()
            seconds[number] = times.user + times.system
    return seconds


def between(before: dict[int, float], after: dict[int, float]) -> float:
    """Return what processes took that are still there; those of an executor before this one may have ended since."""
    return sum(seconds - before.get(number, 0.0) for number, seconds in after.items())


def calls(ledger: Ledger) -> dict[str, float]:
    """Return the seconds of opening an executor, of an empty call, and of one that carries bytes."""
    began = time.perf_counter()
    executor = ledger.engine.executor
    executor.submit(len, b"").result()
    start = time.perf_counter() - began
    began = time.perf_counter()
    for future in [executor.submit(len, b"") for _ in range(200)]:
        future.result()
    empty = (time.perf_counter() - began) / 200
    data = os.urandom(CARRIED)
    began = time.perf_counter()
    for future in [executor.submit(len, data) for _ in range(10)]:
        future.result()
    return {"start": start, "empty call": empty, "call with 15 MB": (time.perf_counter() - began) / 10}


def cost(options: argparse.Namespace, scratch: Path) -> int:
    """Measure what engines cost."""
    random_images(scratch / "images.npz", options.size)
    bench(scratch, options.arch, options.size, Settings()).ledger.close()
    rows: dict[str, list[dict[str, float]]] = {}
    digests = set()
    with ExitStack() as stack:
        clusters = {name: stack.enter_context(CLUSTERS[name]()) for name in options.engines if name in CLUSTERS}
        specs: dict[str, Cluster | None] = {PROCESSES: None} if options.once else {"local": None, PROCESSES: None}
        specs |= {cluster.spec: cluster for cluster in clusters.values()}
        for _ in range(options.rounds):
            for spec, cluster in specs.items():
                ledger = opened(scratch / "ledger", scratch / "copy", spec)
                row = calls(ledger) if spec != "local" else {}
                if not options.once:
                    collected(ledger)  # every worker has opened the network now
                ledger.engine.close()
                ledger.close()
                ledger = opened(scratch / "ledger", scratch / "copy", spec)
                ledger.engine.require()
                wall, work = time.perf_counter(), processor_seconds(cluster)
                digests.add(collected(ledger))
                row |= {
                    "wall": time.perf_counter() - wall,
                    "processor": between(work, processor_seconds(cluster)),
                    "load": os.getloadavg()[0],
                }
                ledger.close()
                rows.setdefault(spec.partition(":")[0], []).append(row)
                print(
                    spec.partition(":")[0],
                    json.dumps({name: round(value, 4) for name, value in row.items()}),
                    flush=True,
                )
    print(f"{len(digests)} digest(s) of all class spaces")
    for name, each in rows.items():
        told = {key: statistics.median(row[key] for row in each) for key in each[0]}
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in told.items()))
    for name in ("ray", "dask"):
        if name in rows:
            ratios = {
                key: statistics.median(a[key] / b[key] for a, b in zip(rows[name], rows["processes"], strict=True))
                for key in ("wall", "processor")
            }
            print(f"{name} beside {PROCESSES}: wall {ratios['wall']:.2f}, processor time {ratios['processor']:.2f}")
    return int(len(digests) != 1)


def kills(options: argparse.Namespace, scratch: Path) -> int:
    """Compare results while workers are killed."""
    random_images(scratch / "images.npz", SMALL_SIZE, 60, 120)
    bench(scratch, SMALL, SMALL_SIZE, FEW).ledger.close()
    local = opened(scratch / "ledger", scratch / "copy", "local")
    expected = computed(local)
    local.close()
    print(f"local: {expected[:16]}", flush=True)
    draw, wrong = random.Random(options.seed), 0  # noqa: S311 - moments of accidents
    for name in options.engines:
        with ExitStack() as stack:
            cluster = stack.enter_context(CLUSTERS[name]()) if name in CLUSTERS else None
            same = redone = deaths = 0
            began = time.monotonic()
            for _ in range(options.runs):
                ledger = opened(scratch / "ledger", scratch / "copy", cluster.spec if cluster else PROCESSES)
                target = cluster or Own(ledger)
                before = len(target.killed)
                with killing(target, draw, KILLS, KILL_SECONDS):
                    found = computed(ledger)
                same += found == expected
                redone += ledger.engine.redone
                deaths += len(target.killed) - before
                ledger.close()
                print(f"{name}: {found[:16]}, {deaths} workers killed so far", flush=True)
            wrong += options.runs - same
            print(
                f"{name}: {same} of {options.runs} runs gave the same bytes as local; {deaths} workers killed, "
                f"{redone} units handed out again by us; {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return int(wrong > 0)


class Own:
    """The worker processes of a ledger's own executor.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.killed: list[int] = []

    def kill_one(self, draw: random.Random) -> None:
        """Kill one of them, if there is one."""
        pids = getattr(self._ledger.engine.executor, "pids", ())
        if pids:
            self.killed.append(draw.choice(pids))
            os.kill(self.killed[-1], 9)


def main() -> int:
    """Measure or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("cost", "kills"))
    parser.add_argument("--arch", default="vit_tiny_patch16_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--once", action="store_true", help="one collection each, in which workers open the network")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engines", nargs="+", default=["ray", "dask"], choices=("ray", "dask", "processes"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return {"cost": cost, "kills": kills}[options.what](options, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
