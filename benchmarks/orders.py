"""Exactness over time: permutations, groupings, withdrawals, and a thousand random operations on one ledger.

    python benchmarks/orders.py [--permutations 20] [--operations 1000] [--seed 0]

A small network on the bundled digits. Whatever the path, the weights of a forgotten set must have the same SHA-256 as
those that a fresh ledger computes for that set at once. Prints what was compared; exits with 1 if anything differs.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from ledger.config import create_config
from ledger.domain.models import Architecture
from ledger.domain.requests import NewRequest
from ledger.domain.settings import Preprocessing, Settings
from ledger.domain.states import RequestState
from ledger.domain.versions import Version
from ledger.plugin_manager import build_plugins
from ledger.service.computation.compute import open_unlearning_afresh
from ledger.service.ledger import create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.withdrawal import withdraw
from ledger.service.requests.worker import work
from ledger.testing.training import train_classifier
from ledger.weights import tensor_files

MODEL = "digits"
CLASSES = (0, 1, 3, 4, 7, 8)
"""Six of the ten, to be permuted."""
PREPROCESSING = Preprocessing(channels=1, height=16, width=16, mean=(0.3,), std=(0.35,))
# Gates off: the point is the bytes, not the accuracy of a network this small.
SETTINGS = Settings(max_rank=32, max_forgotten_accuracy=1.0, max_retained_drop=1.0, alpha_f=(1, 3, 10, 30, 100))
ARCHITECTURE = Architecture(f"{Path(__file__).with_name('orders_net.py')}:mlp", {})


class Desk:
    """A ledger whose requests are carried out at once; remembers nothing but what the ledger does.

    Args:
        folder: A new folder.
        weights: The trained network.
    """

    def __init__(self, folder: Path, weights: Path) -> None:
        self.ledger = create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "bench")
        what = Registration(MODEL, ARCHITECTURE, weights, "digits", None, vars(PREPROCESSING), SETTINGS)
        register(self.ledger, what)

    def forget(self, classes: Iterable[int]) -> None:
        """Ask to forget some classes, and carry it out."""
        enqueue(self.ledger, MODEL, [NewRequest(frozenset(classes), "bench")])
        for outcome in work(self.ledger, Silent(), open_model=open_unlearning_afresh):
            if outcome.error is not None:
                raise SystemExit(f"request {outcome.request.id}: {outcome.error.message}")

    def withdraw(self, class_index: int) -> None:
        """Withdraw every fulfilled request that names a class."""
        with self.ledger.database.read() as tx:
            fulfilled = tx.requests.all(tx.models.get(MODEL), [RequestState.FULFILLED])
        for request in fulfilled:
            if class_index in request.classes:
                withdraw(self.ledger, request.id, "", Silent(), waive_gates=True, open_model=open_unlearning_afresh)

    def live(self) -> Version:
        """Return the live version."""
        with self.ledger.database.read() as tx:
            return tx.versions.live(tx.models.get(MODEL))

    def close(self) -> None:
        """Close the database."""
        self.ledger.close()


def groupings(order: Sequence[int], chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Cut an order into requests of one or several classes."""
    rest = list(order)
    while rest:
        size = chance.randint(1, min(3, len(rest)))
        yield tuple(rest[:size])
        rest = rest[size:]


def permute(scratch: Path, weights: Path, count: int, chance: random.Random) -> set[str]:
    """Forget six classes along random paths, withdraw and re-admit one; return every digest that came out."""
    digests = set()
    for n in range(count):
        desk = Desk(scratch / f"order{n}", weights)
        order = chance.sample(CLASSES, len(CLASSES))
        for group in groupings(order, chance):
            desk.forget(group)
        digests.add(desk.live().weights)
        desk.forget([9])
        desk.withdraw(9)
        digests.add(desk.live().weights)
        desk.close()
    return digests


def operate(scratch: Path, weights: Path, count: int, chance: random.Random) -> tuple[str, str, int]:
    """Forget and withdraw at random; return the final digest, the same set's computed afresh, and how many versions."""
    desk = Desk(scratch / "random", weights)
    forgotten: set[int] = set()
    for _ in range(count):
        choices = [k for k in range(10) if k not in forgotten]
        if forgotten and (len(choices) <= 3 or chance.random() < 0.5):
            k = chance.choice(sorted(forgotten))
            desk.withdraw(k)
        else:
            k = chance.choice(choices)
            desk.forget([k])
        forgotten ^= {k}
        if desk.live().forgotten != forgotten:
            raise SystemExit(f"the live version forgets {sorted(desk.live().forgotten)}, not {sorted(forgotten)}")
    if not forgotten:
        desk.forget([5])
        forgotten = {5}
    fresh = Desk(scratch / "fresh", weights)
    fresh.forget(forgotten)
    result = desk.live().weights, fresh.live().weights, desk.live().number
    desk.close()
    fresh.close()
    return result


def main() -> int:
    """Run both studies; return 1 if any digest differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=20)
    parser.add_argument("--operations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - repeatable, not secret
    plugins = build_plugins()
    torch.manual_seed(0)
    module = plugins.load_model(ARCHITECTURE.spec, {}, 10).module
    accuracy = train_classifier(module, plugins.data_source("digits"), PREPROCESSING, seed=0)
    print(f"trained to {accuracy:.1%} test accuracy")
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "digits.safetensors"
        weights.write_bytes(tensor_files.serialise(module.state_dict()))
        began = time.perf_counter()
        digests = permute(Path(scratch), weights, options.permutations, chance)
        print(
            f"{options.permutations} paths to {CLASSES}, one more class forgotten and withdrawn: {len(digests)} digest"
        )
        final, fresh, versions = operate(Path(scratch), weights, options.operations, chance)
        verdict = "equal to" if final == fresh else "NOT equal to"
        print(f"{options.operations} operations, {versions} versions: {verdict} the same set computed afresh")
        print(f"{time.perf_counter() - began:.0f} s")
    return int(len(digests) != 1 or final != fresh)


if __name__ == "__main__":
    sys.exit(main())
