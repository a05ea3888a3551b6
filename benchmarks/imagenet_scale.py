"""A network of ImageNet's size, one image a class: what registering it and forgetting a class takes, phase by phase.

    python benchmarks/imagenet_scale.py [--arch vit_base_patch16_224 ...] [--classes 1000] [--collection] [--work DIR]

Images are made by seed: noise with the spectrum of photographs, over a texture of each class; JPEG files in one folder
per class, two for training and one for testing. Weights are random but for the classifier, which is fitted to the
training images in closed form: a network that recognises nothing makes a search go through every candidate, so cost
does depend on it. Each architecture runs in a process of its own: ``model add``, a request to forget class 0, a
request to forget class 1. Nothing is evaluated on test images (level 0 of the gates), since that takes as long as a
policy wants. Peak memory is the process's, images and weights included. ``--classes`` below 1,000 makes a network with
fewer outputs: whoever wants 1,000 extrapolates.

Seconds are given by the clock and, in brackets, of processor time, all threads together: with ``OMP_NUM_THREADS=1``
and on a machine shared with other work, the second is what an idle core would take. The ratio compares collecting
spaces (images to stored form, without storing) with a plain forward pass over the same images in batches of 32: rounds
taking turns, and their median. *Passes* is the later request's processor time in such passes over an image of each
class, which is what it must look at. With ``--collection`` that is all that is measured.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fitted_network import fitted_network
from PIL import Image
from tables import markdown

from ledger.config import create_config
from ledger.domain.gate_policy import GatePolicies, GatePolicy
from ledger.domain.levels import EvidenceLevel
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Settings
from ledger.errors import GateError
from ledger.service.computation.class_space_collection import collect_class_space
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.weights import tensor_files

ARCHITECTURES = ("vit_base_patch16_224", "resnet50", "convnext_base")
PIXELS, TILE, SEED, TRAIN, TEST, BATCH, ROUNDS = 256, 16, 0, 2, 1, 32, 3
MODEL = "any"
MOST_COLLECTION = 3.0
"""Times a plain forward pass that collection may take."""


Seconds = tuple[float, float]
"""By the clock, and of processor time."""


def now() -> Seconds:
    """Return both clocks."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """Return what passed on both clocks."""
    wall, processor = now()
    return wall - began[0], processor - began[1]


class Stopwatch:
    """Progress that notes the seconds of every phase, and says so."""

    def __init__(self) -> None:
        self.phases: dict[str, Seconds] = {}
        self._name, self._began, self._steps = "", now(), 0

    def phase(self, name: str, total: int | None = None) -> None:  # noqa: ARG002 - part of the contract
        """Begin a phase."""
        self.end()
        self._name, self._began, self._steps = name, now(), 0

    def step(self) -> None:
        """Count one step."""
        self._steps += 1

    def end(self) -> None:
        """End the last phase."""
        if self._name:
            self.phases[self._name] = since(self._began)
            print(f"{self._name}: {self._steps} steps, {shown(self.phases[self._name])} s", file=sys.stderr, flush=True)
        self._name = ""


def make_images(root: Path, classes: int) -> Path:
    """Write the folders of JPEG files, unless they are there."""
    if (root / "done").exists():
        return root
    rng = np.random.default_rng(SEED)
    rows, columns = np.fft.fftfreq(PIXELS) * PIXELS, np.fft.rfftfreq(PIXELS) * PIXELS
    falling = 1 / np.maximum(1, np.hypot(rows[:, None], columns))
    for k in range(classes):
        tint = rng.uniform(64, 192, (1, 1, 3))
        tile = rng.uniform(-48, 48, (TILE // 4, TILE // 4, 3)).repeat(4, 0).repeat(4, 1)
        texture = np.tile(tile, (PIXELS // TILE, PIXELS // TILE, 1)) + tint
        for n in range(TRAIN + TEST):
            noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, PIXELS, PIXELS))) * falling)
            pixels = noise.transpose(1, 2, 0) / noise.std() * 40 + texture
            folder = root / ("train" if n < TRAIN else "test") / f"{k:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{n}.jpg", quality=90)
    (root / "done").touch()
    return root


def bare_ledger(folder: Path) -> Ledger:
    """Create a ledger whose gates have nothing evaluated: what a request computes is measured, and no policy."""
    config = create_config(folder, "sqlite:///ledger.db", "objects")
    gates = GatePolicies(GatePolicy(level=EvidenceLevel.APPLIED))
    return create_ledger(replace(config, gates=gates), "bench")


def registered(ledger: Ledger, arch: str, images: Path, weights: Path) -> None:
    """Register a network."""
    if not weights.exists():
        network = fitted_network(arch, images / "train", SEED)
        weights.write_bytes(tensor_files.serialise(network.state_dict()))
    settings = Settings(retain_samples=1, forget_samples=1)
    registration = Registration(
        name=MODEL,
        architecture=Architecture(f"timm/{arch}", {}),
        weights=weights,
        data_spec=f"folder:{images}",
        labels=None,
        preprocessing={},
        settings=settings,
    )
    register(ledger, registration)


def forget(ledger: Ledger, label: str, name: str = MODEL) -> tuple[Stopwatch, Seconds]:
    """Carry out one request; a missed gate is no failure here: one test image of a class says little."""
    model = open_workbench(ledger, name).model
    enqueue(ledger, name, [NewRequest(classes=model.labels.resolve_all([label]), actor="bench")])
    watch, began = Stopwatch(), now()
    for outcome in work(ledger, watch, model_name=name):
        if outcome.error is not None and not isinstance(outcome.error, GateError):
            raise outcome.error
    watch.end()
    return watch, since(began)


def plain_pass(bench: Workbench, indices: Sequence[int]) -> Seconds:
    """Return the seconds of a plain forward pass over training images."""
    began = now()
    with torch.inference_mode():
        for start in range(0, len(indices), BATCH):
            for batch in bench.batches(bench.source.train, indices[start : start + BATCH]):
                bench.network.module(bench.network.prepare_images(batch))
    return since(began)


def ratios(bench: Workbench, classes: int) -> list[tuple[Seconds, Seconds]]:
    """Return seconds of collection and of a plain forward pass over the same images, round by round."""
    wanted = {k: bench.samples(k).retain for k in range(classes)}
    every = [index for indices in wanted.values() for index in indices]
    found = []
    for _ in range(ROUNDS):
        plain, began = plain_pass(bench, every), now()
        for k, indices in wanted.items():
            collect_class_space(bench, k, indices, "benchmark")
        found.append((since(began), plain))
    return found


def shown(seconds: Seconds) -> str:
    """Return both clocks as text."""
    return f"{seconds[0]:.0f} ({seconds[1]:.0f})"


def peak_memory() -> float:
    """Return this process's peak memory in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(folder: Path, arch: str, classes: int, compared: int, *, requests: bool) -> dict[str, Any]:
    """Do everything once with one architecture, in this process."""
    ledger = bare_ledger(folder / f"{arch}-{classes}")
    weights = folder / f"{arch}-{classes}.safetensors"
    began = now()
    registered(ledger, arch, folder / f"images-{classes}", weights)
    compared = min(compared, classes)
    found: dict[str, Any] = {"arch": arch, "classes": classes, "compared": compared, "registration": since(began)}
    bench = open_workbench(ledger, MODEL)
    rounds = ratios(bench, compared)
    found["rounds"] = rounds
    found["ratio"], found["processor ratio"] = (
        statistics.median(mine[clock] / theirs[clock] for mine, theirs in rounds) for clock in (0, 1)
    )
    if not requests:
        found["bytes"] = collect_class_space(bench, 0, bench.samples(0).retain, "benchmark")[0].size
        return found
    shown, passes = [bench.samples(k).retain[0] for k in range(compared)], []
    del bench  # its weights would count as memory of requests
    for name, label in (("first", "0000"), ("later", "0001")):
        watch, found[name] = forget(ledger, label)
        found[f"{name} phases"] = watch.phases
        bench = open_workbench(ledger, MODEL)
        plain_pass(bench, shown)  # what a network does in its first pass alone is none of a pass
        passes.append(plain_pass(bench, shown)[1])
        del bench
    # As slow as the machine was then: one before the later request, and one after it.
    found["pass"] = statistics.mean(passes) / compared * classes
    with ledger.database.read() as tx:
        sizes = [space.size for space in tx.class_spaces.all(tx.models.get(MODEL))]
    found["bytes"] = statistics.mean(sizes)
    found["memory"] = peak_memory()
    ledger.close()
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table of all architectures."""
    rows = [
        (
            r["arch"],
            str(r["classes"]),
            shown(r["registration"]),
            *(shown(r[f"{which} phases"].get(phase, (0.0, 0.0))) for which, phase in COLUMNS),
            shown(r["first"]),
            shown(r["later"]),
            f"{r['later'][1] / r['pass']:.2f}",
            f"{r['memory']:.1f}",
            f"{r['bytes'] / 1e6:.1f}",
            f"{r['ratio']:.2f} ({r['processor ratio']:.2f})",
        )
        for r in results
    ]
    phases = [f"{which}: {phase}" for which, phase in COLUMNS]
    heads = ["network", "classes", "model add", *phases, "first request", "later request"]
    return markdown([*heads, "passes", "peak GB", "MB a class", "ratio"], rows)


def collection_table(results: list[dict[str, Any]]) -> str:
    """Return the Markdown table of collection alone: seconds of processor time an image, medians."""
    rows = [
        (
            r["arch"],
            *(f"{statistics.median(one[side][1] for one in r['rounds']) / r['compared']:.3f}" for side in (1, 0)),
            f"{r['processor ratio']:.2f}",
            f"{r['bytes'] / 1e6:.1f}",
        )
        for r in results
    ]
    return markdown(["network", "pass, s an image", "collection, s an image", "ratio", "MB a class"], rows)


COLUMNS = (
    ("first", "collect"),
    ("first", "class spaces"),
    ("first", "calibration"),
    ("first", "alpha search"),
    ("later", "class spaces"),
    ("later", "calibration"),
    ("later", "alpha search"),
)


def main() -> int:
    """Measure; return 1 if collecting costs more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=64, help="classes whose collection is compared with a pass")
    parser.add_argument("--collection", action="store_true", help="only compare collection with a pass")
    parser.add_argument("--work", type=Path, help="keep images, weights and ledgers here")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        found = measure(
            options.work, options.arch[0], options.classes, options.compared, requests=not options.collection
        )
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        make_images(folder / f"images-{options.classes}", options.classes)
        results = []
        for arch in options.arch:
            command = [sys.executable, __file__, "--alone", "--arch", arch, "--work", str(folder)]
            command += ["--classes", str(options.classes), "--compared", str(options.compared)]
            command += ["--collection"] if options.collection else []
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - ourselves
            results.append(json.loads(answer.splitlines()[-1]))
            print(json.dumps(results[-1]), file=sys.stderr)
    print(collection_table(results) if options.collection else table(results))
    return int(any(r["ratio"] > MOST_COLLECTION for r in results if r["arch"] == ARCHITECTURES[0]))


if __name__ == "__main__":
    sys.exit(main())
