"""How far a forgotten class comes back without its images: batch statistics anew, one epoch on retained images.

    python benchmarks/undo.py FOLDER [--network digits] [--classes each] [--solvers default redirect] [--json FILE]

Whoever holds an edited network and retained images may go on training, or let BatchNorm take its statistics anew. If
the class comes back, it was hidden, not forgotten. The same is done to a network that never saw the class, and both are
asked for the class's test images. Bar: the edited network gains at most two points more than the other has afterwards.

The epoch is one of the training course, at the learning rate at which its last epoch began; ``--rate`` tries another.
With ``cifar10-vgg11-bn`` give the same files as to ``never_seen.py``.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from accuracy import class_accuracies
from digit_pairs import ROUNDING, say
from forgetting import Story, arguments
from ledger.plugins.evaluators.batch_statistics import reestimate
from references import training_images
from tables import markdown
from torch import Tensor
from training_course import train_on

from ledger.images.loading import iterate
from ledger.networks.network import Network

MOST_BACK = 0.02
"""How much more of a forgotten class the edited network may know than the retrained one, as a difference of shares."""
SEED = 0
"""Of the order of images in the epoch."""
BATCH = 256
RETRAINED = "retrained"
COLUMNS = (
    *("forgotten", "weights", "forgotten %", "after statistics %", "after an epoch %"),
    *("retained %", "after statistics %", "after an epoch %"),
)


@dataclass(frozen=True)
class Figures:
    """Accuracy on test images, as shares."""

    forgotten: float
    """Largest of a forgotten class."""
    retained: float
    """Mean of the other classes."""


@dataclass(frozen=True)
class Row:
    """Some weights, before and after."""

    forgotten: str
    made: str
    """The solvers asked for, or ``retrained``."""
    seed: int | None
    """Of the samples; None for a retrained network."""
    before: Figures
    statistics: Figures
    """After BatchNorm took its statistics anew; as before if the network has none."""
    epoch: Figures
    """After an epoch on retained images."""


class Trial:
    """What is done to networks that do not know some classes.

    Args:
        story: Which network, and from where.
        forgotten: The classes.
        limit: Most retained training images of a class; None: all.
        rate: Learning rate of the epoch; None: that of the course's last one.
    """

    def __init__(
        self, story: Story, forgotten: frozenset[int], limit: int | None = None, rate: float | None = None
    ) -> None:
        self.story, self.forgotten, self.rate = story, forgotten, rate
        self.reference = story.shelf.reference
        source = story.shelf.source
        self.images, self.labels = training_images(source, forgotten, replace(self.reference, limit=limit))
        self.asked = torch.tensor(source.test.labels)
        self.classes = len(source.labels)

    def row(self, made: str, seed: int | None, state: Mapping[str, Tensor]) -> Row:
        """Return what becomes of some weights; they are not changed."""
        return Row(
            *(self.story.names(self.forgotten), made, seed),
            before=self._figures(self._network(state)),
            statistics=self._figures(self._with_statistics(state)),
            epoch=self._figures(self._after_epoch(state)),
        )

    def _with_statistics(self, state: Mapping[str, Tensor]) -> Network:
        network = self._network(state)
        reestimate(network.module, self.images.split(BATCH))  # type: ignore[no-untyped-call]
        return network

    def _after_epoch(self, state: Mapping[str, Tensor]) -> Network:
        network = self._network(state)
        # Dropout, where there is any, draws from torch's global generator.
        torch.manual_seed(SEED)
        train_on(network.module, self.images, self.labels, self.reference.course, seed=SEED, rate=self.rate)
        return network

    def _network(self, state: Mapping[str, Tensor]) -> Network:
        network = self.story.shelf.network()
        network.load(state, "a reference")
        return network

    def _figures(self, network: Network) -> Figures:
        split = self.story.shelf.source.test
        batches = iterate(split, range(len(split.labels)), self.reference.preprocessing, BATCH)
        found = class_accuracies(network, network.state(), batches, self.asked, self.classes).tolist()
        return Figures(
            forgotten=max(share for k, share in enumerate(found) if k in self.forgotten),
            retained=mean(share for k, share in enumerate(found) if k not in self.forgotten),
        )


def missed_bars(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every edit after which a class comes back further than it does to retrained networks."""
    missed = []
    for row in rows:
        if row.made == RETRAINED:
            continue
        peers = [other for other in rows if (other.forgotten, other.made) == (row.forgotten, RETRAINED)]
        for what in ("statistics", "epoch"):
            allowed = mean(getattr(peer, what).forgotten for peer in peers) + MOST_BACK
            back = getattr(row, what).forgotten
            if back > allowed + ROUNDING:
                who = f"{row.forgotten}, {row.made}, seed {row.seed}"
                missed.append(f"{who}: {back:.1%} after the {what}, more than {allowed:.1%}")
    return missed


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = []
    for row in rows:
        stages = (row.before, row.statistics, row.epoch)
        made = row.made if row.seed is None else f"{row.made}, seed {row.seed}"
        shares = [*(stage.forgotten for stage in stages), *(stage.retained for stage in stages)]
        lines.append((row.forgotten, made, *(f"{100 * share:.1f}" for share in shares)))
    return markdown(COLUMNS, lines)


def main() -> int:
    """Try to bring classes back; return 1 if the bar is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--limit", type=int, help="only the first so many retained training images of a class")
    parser.add_argument("--rate", type=float, help="learning rate of the epoch; default: that of the last one")
    options = parser.parse_args()
    story = Story.of(options)
    rows: list[Row] = []

    def told(row: Row) -> None:
        say(table([row]).splitlines()[-1])
        rows.append(row)

    def trial(forgotten: frozenset[int]) -> Trial:
        # One at a time: each holds the retained training images.
        return Trial(story, forgotten, options.limit, options.rate)

    for forgotten in story.classes:
        tried = trial(forgotten)
        for state in story.retrained(forgotten):
            told(tried.row(RETRAINED, None, state))
        del tried
    with tempfile.TemporaryDirectory() as scratch:
        for edit in story.edits(Path(scratch)):
            told(trial(edit.forgotten).row(edit.solvers, edit.seed, edit.state))
    missed = story.refused + missed_bars(rows)
    print(table(rows))
    print("\nMissed: " + "; ".join(missed) if missed else "\nThe bar was met.")
    if options.json:
        options.json.write_text(json.dumps({"rows": [asdict(row) for row in rows], "missed": missed}, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
