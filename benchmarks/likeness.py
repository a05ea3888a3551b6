"""Whether the score by which edits are chosen ranks them as their distance to networks that never saw the class does.

    python benchmarks/likeness.py FOLDER [--network digits] [--classes 3] [--depths 1 2 4 8] [--json FILE]
    python benchmarks/likeness.py FOLDER --network cifar10-vgg11-bn --images ZIP --work FOLDER --models DIR --classes
        cat --registered DIR/cifar10_vgg11_bn.safetensors --never-saw DIR/cifar10_vgg11_bn_without_cat.safetensors

Every depth and strength of the solver ``redirect`` is made into a version of its own, whatever it costs. Its
*unlikeness* (``ledger/candidates/likeness.py``) is read from the version's recipe: training images alone made it. The
*gap* is the mean of three differences to retrained networks on test images, in points: of the probe, of the nearest
class mean, and of the mean prediction (total variation). The figure is Spearman's rank correlation between the two
over all candidates.
Bar: at least 0.7.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from digit_pairs import say
from forgetting import Story, arguments
from never_seen import Subject
from registered import Refused
from scipy.stats import spearmanr
from tables import markdown

from ledger.candidates.likeness import Likeness
from ledger.domain.settings import Settings

SOLVER = "redirect"
STRENGTHS = ((100.0, 1.0), (100.0, 10.0), (100.0, 100.0), (100.0, 1000.0))
LEAST_CORRELATION = 0.7
COLUMNS = ("forgotten", "layers", "alpha_f", "separability", "divergence", "unlikeness", "gap", "probe gap")


def candidates(depths: Sequence[int], seed: int) -> Iterator[Settings]:
    """Yield settings that leave the search one candidate each."""
    for depth in depths:
        for alpha_r, alpha_f in STRENGTHS:
            yield Settings(
                seed=seed, solvers=(SOLVER,), depths=(depth,), alpha_r=(alpha_r,), alpha_f=(alpha_f,), retained_bar=1.0
            )


def measure(story: Story, subject: Subject, depths: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Return what is known of every candidate, for every set of classes."""
    rows: list[dict[str, Any]] = []
    targets = {forgotten: subject.target(forgotten) for forgotten in story.classes}
    for n, settings in enumerate(candidates(depths, story.seeds[0])):
        bench = story.open(folder / str(n), settings)
        for forgotten in story.classes:
            try:
                version = bench.forget(forgotten)
            except Refused as error:
                say(f"{story.names(forgotten)}, {settings.depths}, {settings.alpha_f}: {error}")
                continue
            likeness, target = version.recipe.likeness, targets[forgotten]
            reading = subject.read(bench.state(version))
            figures = reading.figures(forgotten)
            apart = [100 * abs(figures.probe - mean(one.probe for one in target.figures))]
            apart.append(100 * abs(figures.nearest - mean(one.nearest for one in target.figures)))
            apart.append(100 * target.variation(reading.prediction(forgotten)))
            rows.append(
                {
                    "forgotten": story.names(forgotten),
                    "layers": settings.depths[0],
                    "alpha_f": settings.alpha_f[0],
                    "separability": likeness.separability,
                    "divergence": likeness.divergence,
                    "unlikeness": Likeness(likeness.separability, likeness.divergence or 0.0).unlikeness,
                    "gap": mean(apart),
                    "probe gap": apart[0],
                }
            )
            say(" ".join(cells(rows[-1])))
            bench.withdraw_last()
        bench.close()
    return rows


def cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a table's row."""
    return [f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in COLUMNS]


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return rank correlations with the gap, for each set of classes: of unlikeness, and of each of its parts."""
    found = {}
    for forgotten in dict.fromkeys(row["forgotten"] for row in rows):
        own = [row for row in rows if row["forgotten"] == forgotten]
        gap = [row["gap"] for row in own]
        found[forgotten] = {
            name: float(spearmanr([row[name] for row in own], gap).statistic)
            for name in ("unlikeness", "separability", "divergence")
        }
    return found


def main() -> int:
    """Make every candidate, measure it, print the table; return 1 if the bar is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--depths", nargs="+", type=int, default=[1, 2, 3, 4, 6, 8], help="layers, from the output")
    options = parser.parse_args()
    story = Story.of(options)
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(story, Subject(story), options.depths, Path(scratch))
    print(markdown(COLUMNS, [cells(row) for row in rows]), "\n")
    found = correlations(rows)
    for forgotten, one in found.items():
        print(f"{forgotten}: " + ", ".join(f"{name} {value:.2f}" for name, value in one.items()))
    overall = mean(one["unlikeness"] for one in found.values())
    print(f"rank correlation of unlikeness with the gap: {overall:.2f}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "correlations": found}, indent=2) + "\n")
    return int(overall < LEAST_CORRELATION)


if __name__ == "__main__":
    sys.exit(main())
