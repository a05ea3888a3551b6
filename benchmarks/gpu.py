"""What the phases of a request cost on a GPU beside the processor, and how far their results lie apart.

    python benchmarks/gpu.py [--archs vit_base_patch16_224 resnet50 vgg11] [--size 224] [--devices cpu cuda]

A first and a later request on timm networks with random weights and images: the cost depends on neither. The class
spaces of both devices and the weights that come of them are compared: across kinds of devices the same bytes cannot be
had, so how much they differ is what can be said. Where there is no GPU, the processor is measured alone, and it is said
so: nothing is estimated.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
from collection import CLASSES, SEED, random_images
from torch import Tensor

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Settings
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.weights import tensor_files

MODEL = "any"
DEVICES = ("cpu", "cuda")


@dataclass
class Phases:
    """Follows the work, and notes how long each of its phases takes."""

    seconds: dict[str, float] = field(default_factory=dict)
    _name: str = ""
    _since: float = 0.0

    def phase(self, name: str, total: int | None = None) -> None:  # noqa: ARG002 - as every progress is told
        """Begin a phase."""
        self.end()
        self._name, self._since = name, time.perf_counter()

    def step(self) -> None:
        """Go on."""

    def end(self) -> None:
        """End the last phase."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if self._name:
            took = time.perf_counter() - self._since
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + took
        self._name = ""


@dataclass(frozen=True)
class Run:
    """What two requests took on a device, and what came of them."""

    first: Mapping[str, float]
    later: Mapping[str, float]
    """Seconds by phase."""
    weights: Mapping[str, Tensor]
    peak: float
    """Most bytes of GPU memory in use; 0 on the processor."""


def run(folder: Path, arch: str, weights: Path, size: int, device: str, settings: Settings) -> Run:
    """Register a network, let it forget two classes one after the other, and measure that.

    Args:
        folder: A new folder for the ledger, beside ``images.npz``.
        arch: Name of a timm architecture.
        weights: Its weights.
        size: Height and width of the images.
        device: Where to compute.
        settings: Of the model.
    """
    ledger = create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench")
    ledger.device = device
    shape = {"channels": 3, "height": size, "width": size}
    spec = f"npz:{folder.parent / 'images.npz'}"
    what = Registration(
        MODEL, Architecture(f"timm/{arch}", {}), weights, spec, None, shape, settings, accept_accuracy=True
    )
    register(ledger, what)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first, _ = request(ledger, 0)
    later, state = request(ledger, 1)
    peak = float(torch.cuda.max_memory_allocated()) if device == "cuda" else 0.0
    ledger.close()
    return Run(first, later, state, peak)


def request(ledger: Ledger, class_index: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Carry a request out; return the seconds by phase, and the weights that came of it."""
    enqueue(ledger, MODEL, [NewRequest(frozenset({class_index}), "bench")])
    phases = Phases()
    [outcome] = work(ledger, phases, open_model=open_unlearning_afresh)
    phases.end()
    if outcome.version is None:
        raise SystemExit(f"no version came of it: {outcome.detail}")
    return phases.seconds, tensor_files.parse(ledger.objects.get(outcome.version.weights), "the version")


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return how far two sets of weights lie apart: the norm of their difference divided by that of the first."""
    keys = [name for name, tensor in one.items() if tensor.is_floating_point()]
    difference = sum(float((one[name].double() - other[name].double()).square().sum()) for name in keys)
    whole = sum(float(one[name].double().square().sum()) for name in keys)
    return float((difference / whole) ** 0.5)


def show(arch: str, device: str, seen: Run) -> None:
    """Print what two requests took."""
    where = torch.cuda.get_device_name() if device == "cuda" else f"processor, {torch.get_num_threads()} threads"
    print(f"{arch} on {where}" + (f", at most {seen.peak / 2**30:.2f} GiB of its memory" if seen.peak else ""))
    for name in dict.fromkeys([*seen.first, *seen.later]):
        print(f"  {name:24} first {seen.first.get(name, 0.0):9.2f} s   later {seen.later.get(name, 0.0):9.2f} s")
    print(f"  {'together':24} first {sum(seen.first.values()):9.2f} s   later {sum(seen.later.values()):9.2f} s")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archs", nargs="+", default=["vit_base_patch16_224", "resnet50", "vgg11"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=200, help="of each class")
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=list(DEVICES))
    said = parser.parse_args()
    devices = [device for device in said.devices if device == "cpu" or torch.cuda.is_available()]
    if "cuda" in said.devices and "cuda" not in devices:
        print("there is no GPU on this machine: nothing below was measured on one")
    with tempfile.TemporaryDirectory(prefix="unledger-") as place:
        folder = Path(place)
        random_images(folder / "images.npz", said.size, said.images, said.images)
        for arch in said.archs:
            torch.manual_seed(SEED)
            weights = folder / f"{arch}.safetensors"
            weights.write_bytes(tensor_files.serialise(timm.create_model(arch, num_classes=CLASSES).state_dict()))
            # Gates off: a network with random weights knows nothing that it could forget.
            settings = Settings(max_forgotten_accuracy=1.0, max_retained_drop=1.0)
            runs = {d: run(folder / f"{arch}-{d}", arch, weights, said.size, d, settings) for d in devices}
            for device, seen in runs.items():
                show(arch, device, seen)
            if len(runs) == len(DEVICES):
                print(f"  the weights of both lie {apart(runs['cpu'].weights, runs['cuda'].weights):.1e} apart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
