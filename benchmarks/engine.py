"""Speed and memory beside the paper's procedure: same weights, images and threads, in one process, taking turns.

    python benchmarks/engine.py path/to/cifar10-images.zip path/to/models [--rounds 3] [--work DIR]

Each round runs ``reference.unlearn`` (one fixed pair of alphas, 900 + 900 images, nothing written) and then, on a fresh
ledger, a first request (all classes collected, 900 forget samples, search, weights and records written), two later
ones, the same later ones again with every class space already stored, one pair from stored factors, and collection
beside a plain forward pass. Medians and ratios over the rounds. Peak memory is measured in processes of their own.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from cifar import MODEL, Cifar, arguments, unpack
from reference import unlearn
from torch import Tensor

from ledger.algebra.strength import Strength
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.domain.settings import Settings
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.class_space_collection import collect_class_space
from ledger.service.computation.unlearning import propose
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.progress import Silent

FIRST, SECOND, THIRD = 3, 5, 0
"""Classes: cat, dog, airplane."""
PAIR = Strength(100.0, 3.0)
BARS = {"first request": 20, "later request, spaces stored": 40, "one pair": 300}
MOST_MEMORY, MOST_COLLECTION = 0.25, 2.0


def timed(call: Callable[[], object]) -> float:
    """Return the wall-clock seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def images(bench: Workbench, forgotten: int) -> tuple[Tensor, Tensor]:
    """Return the retain images (900 = 100 per class) and forget images (900) that the ledger itself samples."""
    retain = [i for k in range(10) if k != forgotten for i in bench.samples(k).retain]
    split = bench.source.train
    return torch.cat(list(bench.batches(split, retain))), torch.cat(
        list(bench.batches(split, bench.samples(forgotten).forget))
    )


def run_reference(bench: Workbench) -> None:
    """Run the paper's procedure on the registered weights."""
    module = bench.network.module.to(memory_format=torch.contiguous_format)
    unlearn(module, *images(bench, FIRST))
    bench.network.move(bench.device)


def one_pair(bench: Workbench) -> float:
    """Return the seconds of one pair of alphas from stored class spaces: factors, projection, weights written back."""
    collected = list(ClassSpaceCache(bench).collect_and_store(frozenset({FIRST}), Silent()))
    inside = [c.spaces for c in collected if c.record.class_index == FIRST]
    outside = [c.spaces for c in collected if c.record.class_index != FIRST]
    builder = CandidateBuilder(
        bench.anchor_state,
        [layer.maps for layer in bench.network.layers],
        retain=lambda key: [spaces[key] for spaces in outside],
        forget=lambda key: [spaces[key] for spaces in inside],
        solvers=bench.ledger.plugins.solvers(["projection"]),
    )
    return timed(lambda: builder.build(Recipe("projection", len(bench.network.layers), PAIR)))


def collection(bench: Workbench) -> tuple[float, float]:
    """Return seconds of collecting every class of the first request, and of a plain forward pass of the same images."""
    wanted = {k: bench.samples(k).forget if k == FIRST else bench.samples(k).retain for k in range(10)}

    def plain() -> None:
        with torch.inference_mode():
            for indices in wanted.values():
                for batch in bench.batches(bench.source.train, indices):
                    bench.network.module(bench.network.prepare_images(batch))

    def collect() -> None:
        for k, indices in wanted.items():
            collect_class_space(bench, k, indices, "benchmark")

    return timed(collect), timed(plain)


def one_round(folder: Path, data: Path, models: Path) -> dict[str, float]:
    """Return the seconds of everything, once."""
    cifar = Cifar(folder, data, models, Settings())
    seconds = {"reference": timed(partial(run_reference, cifar.bench))}
    seconds["first request"] = timed(lambda: cifar.forget([FIRST]))
    later = [timed(partial(cifar.forget, [k])) for k in (SECOND, THIRD)]
    seconds["later request, its class collected"] = statistics.mean(later)
    for _ in later:
        cifar.withdraw_last()
    seconds["later request, spaces stored"] = statistics.mean(
        timed(partial(cifar.forget, [k])) for k in (SECOND, THIRD)
    )
    seconds["one pair"] = one_pair(cifar.bench)
    seconds["collection"], seconds["plain forward"] = collection(cifar.bench)
    return seconds


def peak_memory(what: str, folder: Path, data: Path, models: Path) -> float:
    """Return the MB that a computation needs at its peak, above the model and the data that lie ready for it."""
    cifar = Cifar(folder, data, models, Settings())
    bench = open_workbench(cifar.ledger, MODEL)
    kept = images(bench, FIRST) if what == "reference" else None
    with torch.inference_mode():
        bench.network.module(bench.network.prepare_images(next(iter(bench.batches(bench.source.train, range(2))))))
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    if kept is not None:
        unlearn(bench.network.module, *kept)
    else:
        propose(bench, frozenset({FIRST}), Silent())
    return (_status("VmHWM") - before) / 1e3


def _status(field: str) -> int:
    """Return a figure of this process in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


def main() -> int:
    """Measure; return 1 if a bar is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", choices=("ours", "reference"), help="only measure this one's peak memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = unpack(options.images, options.work or folder)
        if options.memory:
            print(json.dumps(peak_memory(options.memory, folder / "memory", data, options.models)))
            return 0
        rounds = []
        for n in range(options.rounds):
            rounds.append(one_round(folder / f"round{n}", data, options.models))
            print(json.dumps({k: round(v, 3) for k, v in rounds[-1].items()}), file=sys.stderr, flush=True)
        command = [sys.executable, __file__, str(options.images), str(options.models), "--work", str(data.parent)]
        memory = {
            what: float(subprocess.run([*command, "--memory", what], check=True, capture_output=True).stdout)  # noqa: S603 - our own command
            for what in ("reference", "ours")
        }
    median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    missed = []
    print("| | seconds (median) | times faster than the reference | bar |\n|---|---|---|---|")
    for name, seconds in median.items():
        ratio = statistics.median(r["reference"] / r[name] for r in rounds)
        print(f"| {name} | {seconds:.2f} | {ratio:.1f} | {BARS.get(name, '')} |")
        missed += [name] if ratio < BARS.get(name, 0) else []
    collected = statistics.median(r["collection"] / r["plain forward"] for r in rounds)
    share = memory["ours"] / memory["reference"]
    print(f"collection / plain forward: {collected:.2f} (bar {MOST_COLLECTION})")
    print(f"peak MB above model and data: {memory['ours']:.0f}, reference {memory['reference']:.0f}: {share:.0%}")
    missed += [*(["collection"] if collected > MOST_COLLECTION else []), *(["memory"] if share > MOST_MEMORY else [])]
    print(f"missed: {missed}" if missed else "every bar was met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
