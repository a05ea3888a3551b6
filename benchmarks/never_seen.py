"""How near an edited network is to networks that never saw the class: features, answers, and what it cost.

    python benchmarks/never_seen.py FOLDER [--network digits] [--classes each] [--solvers default redirect] [--json F]
    python benchmarks/never_seen.py FOLDER --network cifar10-vgg11-bn --images ZIP --work DIR --models DIR --classes cat
        --registered DIR/cifar10_vgg11_bn.safetensors --never-saw DIR/cifar10_vgg11_bn_without_cat.safetensors

Each class is forgotten alone, by a request to a ledger, with several seeds of the samples, and then compared with the
networks that ``retrain.py`` left in the folder. ``--solvers`` takes several choices, for a table side by side.

Protocol (see ``features.py`` for the words). Probe and class means learn from 1,000 seeded training images of every
class, on the digits from all of them, the same for all weights; everything is scored on all test images. The figures of
a probe differ by up to three points between draws of 1,000 images of CIFAR-10, so gaps are taken within one.

*Against the mask*: retained accuracy of the registered network with the forgotten outputs masked, minus that of the
weights; what forgetting cost. *Against plain*: without the mask; it flatters, since fewer answers compete. *TV*: total
variation between the mean predictions for forgotten test images and a retrained network's, mean over the retrained
ones. A spread, behind the sign, is the largest difference of two: between retrained networks it is the noise that every
gap has, between edits it comes from the samples.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from comparison import (
    MASKED,
    REGISTERED,
    RETRAINED,
    Bars,
    Figures,
    Reading,
    Row,
    Target,
    gap_table,
    gaps,
    missed_bars,
    table,
)
from digit_pairs import say
from features import look, total_variation
from forgetting import Story, arguments, read
from torch import Tensor

from ledger.hookspecs import Split
from ledger.images.loading import iterate
from ledger.images.sampling import evaluation_samples
from ledger.networks.network import Network
from ledger.networks.opening import open_network

LEARNT_EACH = 1000
"""Training images of a class that probes and class means learn from."""
LEARNT_SEED = 0
BATCH = 250
POINT = 0.01


ANY_CLASSES = Bars(forgotten=POINT, against_mask=math.inf, worst_against_mask=1.5 * POINT)
BARS: Mapping[str, Bars] = {
    "digits": replace(ANY_CLASSES, probe=3 * POINT, variation=0.15),
    # `cat` alone, for which there is a network that never saw it.
    "cifar10-vgg11-bn": Bars(POINT, 0.7 * POINT, 0.7 * POINT, probe=8 * POINT, nearest=5 * POINT, variation=0.12),
}


class Subject:
    """The images of a network, and what weights make of them.

    Args:
        story: Which network.
    """

    def __init__(self, story: Story) -> None:
        self.story = story
        self.source, self.reference = story.shelf.source, story.shelf.reference
        self.learnt = evaluation_samples(self.source.train.labels, LEARNT_EACH, LEARNT_SEED)
        self.learnt_labels = np.asarray(self.source.train.labels)[self.learnt]
        self.labels = np.asarray(self.source.test.labels)
        base = read(story.registered)
        self.network: Network = open_network(
            story.shelf.plugins,
            self.reference.architecture,
            len(self.source.labels),
            base,
            lambda _: next(iterate(self.source.train, [0], self.reference.preprocessing, 1)),
            source=str(story.registered),
        )
        self.base = self.read(base)

    def read(self, state: Mapping[str, Tensor]) -> Reading:
        """Return what some weights make of the test images."""
        train = look(self.network, state, self._batches(self.source.train, self.learnt))
        test = look(self.network, state, self._batches(self.source.test, range(len(self.labels))))
        return Reading.of(train, self.learnt_labels, test, self.labels)

    def target(self, forgotten: frozenset[int]) -> Target:
        """Return the networks that never saw some classes."""
        readings = [self.read(state) for state in self.story.retrained(forgotten)]
        return Target([r.figures(forgotten) for r in readings], [r.prediction(forgotten) for r in readings])

    def row(
        self, forgotten: frozenset[int], made: str, reading: Reading, target: Target, seed: int | None, how: str
    ) -> Row:
        """Return the line of some weights."""
        prediction = target.variation(reading.prediction(forgotten))
        return self._line(forgotten, made, reading.figures(forgotten, masked=made == MASKED), prediction, seed, how)

    def fixed_rows(self, forgotten: frozenset[int], target: Target) -> list[Row]:
        """Return the lines of what is not an edit: the registered weights, masked too, and the retrained ones."""
        rows = [self.row(forgotten, made, self.base, target, None, "") for made in (REGISTERED, MASKED)]
        apart = [max(total_variation(one, other) for other in target.predictions) for one in target.predictions]
        both = zip(target.figures, apart, strict=True)
        return rows + [self._line(forgotten, RETRAINED, figures, most, None, "") for figures, most in both]

    def _line(
        self, forgotten: frozenset[int], made: str, figures: Figures, variation: float, seed: int | None, how: str
    ) -> Row:
        plain, masked = (self.base.figures(forgotten, masked=masked).retained for masked in (False, True))
        return Row(
            *(self.story.names(forgotten), made, seed, how, figures),
            *(masked - figures.retained, plain - figures.retained, variation),
        )

    def _batches(self, split: Split, indices: Sequence[int]) -> Iterator[Tensor]:
        return iterate(split, indices, self.reference.preprocessing, BATCH)


def main() -> int:
    """Forget, compare, print; return 1 if a bar is missed."""
    options = arguments(__doc__).parse_args()
    story = Story.of(options)
    subject = Subject(story)
    targets = {forgotten: subject.target(forgotten) for forgotten in story.classes}
    rows = [row for forgotten, target in targets.items() for row in subject.fixed_rows(forgotten, target)]
    say(table(rows))
    with tempfile.TemporaryDirectory() as scratch:
        for edit in story.edits(Path(scratch)):
            reading = subject.read(edit.state)
            target = targets[edit.forgotten]
            rows.append(subject.row(edit.forgotten, edit.solvers, reading, target, edit.seed, edit.how))
            say(table(rows[-1:]).splitlines()[-1])
    # Classes together, in the order asked for.
    order = {story.names(forgotten): n for n, forgotten in enumerate(story.classes)}
    rows.sort(key=lambda row: order[row.forgotten])
    found = gaps(rows)
    missed = story.refused + missed_bars(found, BARS.get(story.shelf.reference.name, ANY_CLASSES))
    print(f"{table(rows)}\n\n{gap_table(found)}\n")
    if any(len(target.figures) == 1 for target in targets.values()):
        print("With one network that never saw a class, no spread is known.")
    print("Missed: " + "; ".join(missed) if missed else "Every bar was met.")
    if options.json:
        figures = {"rows": [asdict(row) for row in rows], "gaps": found, "missed": missed}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
