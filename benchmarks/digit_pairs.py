"""Fifty requests, one class at a time, on a hundred entangled classes: what holds up, and what wears out.

    python benchmarks/digit_pairs.py [--requests 50] [--work DIR] [--json FILE]

Trains a small network on the ``digit-pairs`` source, registers it, and has it forget seeded random classes one request
after another. After each, on all test images with the live version's weights: every class forgotten so far, and the
retained ones against the registered weights. In the end, what a linear probe still reads from the features, compared
with a network trained from scratch without the forgotten classes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import class_accuracies
from left_out import Without
from probe import probe
from tables import markdown
from torch import Tensor, nn

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.versions import Version
from ledger.hookspecs import DataSource, Split
from ledger.images.loading import load_images
from ledger.networks.opening import build_network
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files

MODEL, DATA, CLASSES = "pairs", "digit-pairs", 100
ARCHITECTURE = Architecture(f"{Path(__file__).with_name('digit_pairs_net.py')}:small_cnn", {})
PREPROCESSING = Preprocessing(channels=1, height=8, width=16, mean=(0.3,), std=(0.35,))
SEED, EPOCHS = 0, 24

SHOWN = (1, 2, 5, 10, 20, 30, 40, 50)
COLUMNS = ("forgotten so far", "worst forgotten %", "retained % (drop)", "seconds", "chosen")
CHOSEN = ("solver", "depth", "alpha_r", "alpha_f")
MOST_FORGOTTEN, MOST_DROP, MOST_GROWTH = 0.02, 0.015, 1.2
ROUNDING = 1e-9
"""One image in fifty is exactly the bar, and must not miss it by the last bit of a mean."""


@dataclass(frozen=True)
class Step:
    """What one request did."""

    forgotten: tuple[int, ...]
    """Every class asked for so far, the newest last."""
    worst: float
    """Largest test accuracy of any of them."""
    retained: float
    """Mean test accuracy of the other classes."""
    drop: float
    """From what the registered weights reach on those same classes."""
    seconds: float
    """Of carrying out this request, from claim to commit."""
    chosen: dict[str, Any]
    """What the live version's recipe says was chosen."""
    error: str | None
    """Why the request brought no version, if it did not."""


class Bench:
    """A ledger with the trained network in it, and all images at hand.

    Args:
        folder: Where to create the ledger.
    """

    def __init__(self, folder: Path) -> None:
        self.ledger: Ledger = create_ledger(create_config(folder / "ledger", "sqlite:///ledger.db", "objects"), "bench")
        self.source = self.ledger.plugins.data_source(DATA)
        self.train, self.test = (self._images(split) for split in (self.source.train, self.source.test))
        began = time.perf_counter()
        module, accuracy = self.train_network(self.source)
        say(f"trained to {accuracy:.2%} test accuracy in {time.perf_counter() - began:.0f} s")
        weights = folder / "pairs.safetensors"
        weights.write_bytes(tensor_files.serialise(module.state_dict()))
        register(
            self.ledger,
            Registration(
                name=MODEL,
                architecture=ARCHITECTURE,
                weights=weights,
                data_spec=DATA,
                labels=None,
                preprocessing=vars(PREPROCESSING),
                settings=Settings(),
            ),
        )
        self.network = build_network(self.ledger.plugins, ARCHITECTURE, CLASSES)
        self.base = self.state(self.live())

    def train_network(self, source: DataSource) -> tuple[nn.Module, float]:
        """Train a network from the same start on a source; return it and its accuracy on the source's test images."""
        torch.manual_seed(SEED)
        module = self.ledger.plugins.load_model(ARCHITECTURE.spec, {}, CLASSES).module
        return module, train_classifier(module, source, PREPROCESSING, seed=SEED, epochs=EPOCHS)

    def live(self) -> Version:
        """Return the live version."""
        with self.ledger.database.read() as tx:
            return tx.versions.live(tx.models.get(MODEL))

    def state(self, version: Version) -> dict[str, Tensor]:
        """Return a version's weights."""
        return tensor_files.parse(self.ledger.objects.get(version.weights), f"version {version.number}")

    def accuracies(self, state: dict[str, Tensor]) -> Tensor:
        """Return the test accuracy of every class under some weights, float64."""
        images, labels = self.test
        return class_accuracies(self.network, state, [images], labels, CLASSES)

    def forget(self, forgotten: tuple[int, ...]) -> Step:
        """File a request for the last of some classes, carry it out, and measure all of them."""
        enqueue(self.ledger, MODEL, [NewRequest(frozenset(forgotten[-1:]), "bench")])
        began = time.perf_counter()
        [outcome] = work(self.ledger, Silent())
        seconds = time.perf_counter() - began
        live = self.live()
        retained = [k for k in range(CLASSES) if k not in forgotten]
        before, now = self.accuracies(self.base), self.accuracies(self.state(live))
        return Step(
            forgotten=forgotten,
            worst=float(now[list(forgotten)].max()),
            retained=float(now[retained].mean()),
            drop=float((before - now)[retained].mean()),
            seconds=seconds,
            chosen={key: live.recipe.document[key] for key in CHOSEN if key in live.recipe.document},
            error=outcome.error.message if outcome.error else None,
        )

    def probes(self, forgotten: tuple[int, ...]) -> dict[str, float]:
        """Return a linear probe's accuracy on forgotten classes, for registered, final and retrained weights."""
        retrained, accuracy = self.train_network(Without(self.source, frozenset(forgotten)))
        say(f"retrained without them to {accuracy:.2%} test accuracy")
        states = {"registered": self.base, "final": self.state(self.live()), "retrained": retrained.state_dict()}
        images, labels = self.test
        asked = torch.isin(labels, torch.tensor(forgotten))
        return {
            name: statistics.mean(
                probe(self.network.module, state, self.train, (images[asked], labels[asked])).values()
            )
            for name, state in states.items()
        }

    @staticmethod
    def _images(split: Split) -> tuple[Tensor, Tensor]:
        return load_images(split, range(len(split.labels)), PREPROCESSING), torch.tensor(split.labels)


def say(text: str) -> None:
    """Talk to stderr; stdout is for the figures."""
    print(text, file=sys.stderr, flush=True)


def table(steps: Sequence[Step]) -> str:
    """Return some of the steps, the last included, as a Markdown table."""
    lines = []
    for step in (steps[n - 1] for n in sorted({*SHOWN, len(steps)}) if n <= len(steps)):
        chosen = [
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in step.chosen.items()
        ]
        cells = (
            str(len(step.forgotten)),
            f"{100 * step.worst:.0f}",
            f"{100 * step.retained:.2f} ({100 * step.drop:+.2f})",
            f"{step.seconds:.1f}",
            step.error or ", ".join(chosen),
        )
        lines.append(cells)
    return markdown(COLUMNS, lines)


def growth(steps: Sequence[Step]) -> float | None:
    """Return the median seconds of the last five requests over those of requests 2 to 6, or None with too few.

    The first is left out: it collects the class spaces of all classes.
    """
    seconds = [step.seconds for step in steps]
    return statistics.median(seconds[-5:]) / statistics.median(seconds[1:6]) if len(seconds) >= 11 else None


def missed_bars(steps: Sequence[Step], ratio: float | None) -> list[str]:
    """Return a sentence for every bar that is missed."""
    worst, drop = max(step.worst for step in steps), max(step.drop for step in steps)
    missed = [f"request {n}: {step.error}" for n, step in enumerate(steps, 1) if step.error]
    if worst > MOST_FORGOTTEN + ROUNDING:
        missed.append(f"a forgotten class is at {worst:.0%} at some step, more than {MOST_FORGOTTEN:.0%}")
    if drop > MOST_DROP + ROUNDING:
        missed.append(f"retained classes lose {100 * drop:.2f} points at some step, more than {100 * MOST_DROP:.1f}")
    if ratio is not None and ratio > MOST_GROWTH:
        missed.append(f"the last requests take {ratio:.2f} times as long as the first, more than {MOST_GROWTH}")
    return missed


def main() -> int:
    """Run the whole story; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50, choices=range(1, 99), metavar="N", help="1 to 98")
    parser.add_argument("--work", type=Path, help="folder for weights and ledger; default: a temporary one")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    drawn = [int(k) for k in np.random.default_rng(SEED).permutation(CLASSES)[: options.requests]]
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder)
        steps: list[Step] = []
        for n, label in enumerate(drawn, 1):
            step = bench.forget(tuple(drawn[:n]))
            say(f"{n}: {label:02d} in {step.seconds:.1f} s, worst {step.worst:.0%}, drop {step.drop:+.2%}")
            steps.append(step)
        probes = bench.probes(tuple(drawn))
        bench.ledger.close()
    ratio = growth(steps)
    missed = missed_bars(steps, ratio)
    print(table(steps))
    print("\nProbe on forgotten classes:", ", ".join(f"{name} {100 * share:.1f} %" for name, share in probes.items()))
    print("Last five requests over requests 2 to 6:", "needs 11 requests" if ratio is None else f"{ratio:.2f}")
    print("Missed: " + "; ".join(missed) if missed else "Every bar was met.")
    if options.json:
        figures = {"steps": [asdict(step) for step in steps], "probes": probes, "growth": ratio, "missed": missed}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
