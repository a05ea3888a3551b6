"""What forgetting costs on CIFAR-10: each class alone, eight in a row, few samples, and uncompressed class spaces.

    python benchmarks/classes.py path/to/cifar10-images.zip path/to/models [--only alone,sequence,samples,rank]

Test images are looked at here and nowhere else: the search sees training images only.
"""

import sys
import tempfile
from pathlib import Path

from cifar import Cifar, arguments, describe, unpack, worst_and_drop

from ledger.domain.settings import Settings

ORDER = (3, 5, 0, 8, 2, 4, 6, 1)
"""Classes of the sequence: cat, dog, airplane, ship, bird, deer, frog, automobile."""
UNCOMPRESSED = {"max_rank": 1024, "space_tolerance": 0.0}
FEW = {"retain_samples": 20, "forget_samples": 100}
HEADER = "| forgotten | worst forgotten % | retained drop | how |\n|---|---|---|---|"


class Study:
    """Runs requests on fresh ledgers and prints a table row for each.

    Args:
        folder: For ledgers.
        data: The images as npz.
        models: The trained network.
    """

    def __init__(self, folder: Path, data: Path, models: Path) -> None:
        self.folder, self.data, self.models = folder, data, models
        self.ledgers = 0
        self.missed: list[str] = []

    def ledger(self, settings: Settings) -> Cifar:
        """Return a fresh ledger."""
        self.ledgers += 1
        return Cifar(self.folder / f"ledger{self.ledgers}", self.data, self.models, settings)

    def alone(self, settings: Settings, classes: tuple[int, ...] = tuple(range(10))) -> list[tuple[float, float]]:
        """Forget each class alone; return worst forgotten accuracy and retained drop of each."""
        figures = []
        print(HEADER)
        cifar = self.ledger(settings)
        before = cifar.accuracies(cifar.bench.anchor_state)
        for k in classes:
            version = cifar.forget([k])
            figures.append(worst_and_drop(before, cifar.accuracies_of(version), [k]))
            print(f"| {k} | {figures[-1][0]:.1f} | {figures[-1][1]:+.2f} | {describe(version)} |", flush=True)
            cifar.withdraw_last()
        mean = sum(drop for _, drop in figures) / len(figures)
        worst_forgotten, worst_drop = (max(column) for column in zip(*figures, strict=True))
        print(f"mean drop {mean:+.2f}, worst {worst_drop:+.2f}, worst forgotten {worst_forgotten:.1f}")
        return figures

    def sequence(self) -> None:
        """Forget eight classes one request at a time."""
        print(HEADER)
        cifar = self.ledger(Settings())
        before = cifar.accuracies(cifar.bench.anchor_state)
        for step in range(1, len(ORDER) + 1):
            version = cifar.forget(ORDER[step - 1 : step])
            worst, drop = worst_and_drop(before, cifar.accuracies_of(version), ORDER[:step])
            print(f"| {ORDER[:step]} | {worst:.1f} | {drop:+.2f} | {describe(version)} |", flush=True)
            self.require(f"sequence step {step}", worst <= 1.0, drop <= 1.5)

    def require(self, what: str, *held: bool) -> None:
        """Note a bar that was missed."""
        if not all(held):
            self.missed.append(what)


def main() -> int:
    """Run the studies asked for; return 1 if a bar is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="alone,sequence,samples,rank", help="comma-separated studies")
    options = parser.parse_args()
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        data = unpack(options.images, options.work or Path(scratch))
        study = Study(Path(scratch), data, options.models)
        usual: list[tuple[float, float]] = []
        if {"alone", "samples", "rank"} & set(wanted):
            print("\nEach class alone, default settings")
            usual = study.alone(Settings())
            drops = [drop for _, drop in usual]
            study.require("alone", max(f for f, _ in usual) <= 1.0, sum(drops) <= 5.0, max(drops) <= 1.5)
        if "sequence" in wanted:
            print("\nEight classes, one request each")
            study.sequence()
        for name, changes, allowed in (("samples", FEW, 0.5), ("rank", UNCOMPRESSED, 0.1)):
            if name in wanted:
                print(f"\nEach class alone, {changes}")
                other = study.alone(Settings(**changes))
                lost = sum(b - a for (_, a), (_, b) in zip(usual, other, strict=True)) / 10
                lost = lost if name == "samples" else -lost
                print(f"the smaller setting loses {lost:+.2f} points on retained classes; allowed {allowed}")
                study.require(name, lost <= allowed, max(f for f, _ in other) <= 1.0)
    print(f"missed: {study.missed}" if study.missed else "every bar was met")
    return int(bool(study.missed))


if __name__ == "__main__":
    sys.exit(main())
