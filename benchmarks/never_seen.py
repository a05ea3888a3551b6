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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import probe
import torch
from digit_pairs import ROUNDING, say
from features import Seen, look, mean_prediction, nearest_means, pairwise_variations, total_variation, widest
from forgetting import Story, arguments, read
from tables import markdown
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
REGISTERED, MASKED, RETRAINED = "registered", "registered, masked", "retrained"
POINT = 0.01


@dataclass(frozen=True)
class Bars:
    """What edits of a network are held to, in the words of :func:`gaps`; infinite where there is no bar."""

    forgotten: float
    against_mask: float
    """In the mean."""
    worst_against_mask: float
    probe: float = math.inf
    """In the mean, or the spread of the retrained networks if that is larger."""
    nearest: float = math.inf
    variation: float = math.inf


ANY_CLASSES = Bars(forgotten=POINT, against_mask=math.inf, worst_against_mask=1.5 * POINT)
BARS: Mapping[str, Bars] = {
    "digits": replace(ANY_CLASSES, probe=3 * POINT, variation=0.15),
    # `cat` alone, for which there is a network that never saw it.
    "cifar10-vgg11-bn": Bars(POINT, 0.7 * POINT, 0.7 * POINT, probe=8 * POINT, nearest=5 * POINT, variation=0.12),
}
COLUMNS = (
    *("forgotten", "weights", "retained %", "against the mask", "against plain", "forgotten %", "probe %"),
    *("nearest mean %", "TV", "middle: probe %", "nearest mean %"),
)
GAP_COLUMNS = (
    *("weights", "probe gap", "nearest mean gap", "middle: probe gap", "nearest mean gap", "TV", "worst forgotten %"),
    *("against the mask: mean", "worst"),
)


@dataclass(frozen=True)
class Figures:
    """What some weights do, as shares of test images."""

    retained: float
    """Mean accuracy of the classes that are not forgotten."""
    forgotten: float
    """Largest accuracy of a forgotten class."""
    probe: float
    """Mean accuracy of a probe on forgotten classes."""
    nearest: float
    """The same of the nearest class mean."""
    middle_probe: float
    middle_nearest: float


@dataclass(frozen=True)
class Reading:
    """What some weights make of the test images, whichever classes are asked about."""

    answers: Tensor
    """Logits (n, classes)."""
    guesses: Mapping[str, np.ndarray]
    """Class of every test image (n,) by ``probe``, ``nearest``, ``middle_probe`` and ``middle_nearest``."""
    labels: np.ndarray
    """True classes (n,)."""

    @classmethod
    def of(cls, train: Seen, train_labels: np.ndarray, test: Seen, labels: np.ndarray) -> "Reading":
        """Let probes and class means learn from training images, and guess the test images."""
        guesses = {}
        for prefix, learnt, asked in (("", train.last, test.last), ("middle_", train.middle, test.middle)):
            guesses[f"{prefix}probe"] = probe.fit(learnt, train_labels).predict(asked)
            guesses[f"{prefix}nearest"] = nearest_means(learnt, train_labels, asked)
        return cls(test.logits, guesses, labels)

    def figures(self, forgotten: frozenset[int], *, masked: bool = False) -> Figures:
        """Return what the weights do on forgotten and on other classes.

        Args:
            forgotten: The classes.
            masked: Whether to answer with the others only.
        """
        answers = self.answers.clone()
        if masked:
            answers[:, list(forgotten)] = -torch.inf
        answered = class_shares(answers.argmax(1).numpy(), self.labels)
        guessed = {
            name: mean(share for k, share in class_shares(guess, self.labels).items() if k in forgotten)
            for name, guess in self.guesses.items()
        }
        return Figures(
            retained=mean(share for k, share in answered.items() if k not in forgotten),
            forgotten=max(share for k, share in answered.items() if k in forgotten),
            **guessed,
        )

    def prediction(self, forgotten: frozenset[int]) -> Tensor:
        """Return the mean prediction over retained classes for forgotten test images, float64 (classes,)."""
        asked = torch.from_numpy(np.isin(self.labels, list(forgotten)))
        return mean_prediction(self.answers[asked], sorted(forgotten))


@dataclass(frozen=True)
class Row:
    """Some weights beside the networks that never saw the classes."""

    forgotten: str
    made: str
    """The solvers asked for, or what else the weights are."""
    seed: int | None
    """Of the samples; None for weights that are not an edit."""
    how: str
    """What the search chose."""
    figures: Figures
    against_mask: float
    against_plain: float
    variation: float
    """Of retrained networks: mean over every two; 0 if there is only one."""


@dataclass(frozen=True)
class Target:
    """The networks that never saw some classes."""

    figures: list[Figures]
    predictions: list[Tensor]

    def variation(self, prediction: Tensor) -> float:
        """Return the mean total variation between a mean prediction and theirs."""
        return mean(total_variation(prediction, theirs) for theirs in self.predictions)


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
        variations = pairwise_variations(target.predictions)
        between = mean(variations) if variations else 0.0
        return rows + [self._line(forgotten, RETRAINED, one, between, None, "") for one in target.figures]

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


def class_shares(answered: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Return the accuracy of every class that has images."""
    return {int(k): float(np.mean(answered[labels == k] == k)) for k in np.unique(labels)}


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table: those of one kind of weights together, as mean and spread."""
    lines = []
    for forgotten, made in dict.fromkeys((row.forgotten, row.made) for row in rows):
        own = [row for row in rows if (row.forgotten, row.made) == (forgotten, made)]
        name = f"{made} ({len(own)})" if len(own) > 1 else made
        cells = (
            percent(row.figures.retained for row in own),
            percent((row.against_mask for row in own), sign="+", digits=2),
            percent((row.against_plain for row in own), sign="+", digits=2),
            *(percent(getattr(row.figures, part) for row in own) for part in ("forgotten", "probe", "nearest")),
            with_spread([row.variation for row in own], ".2f"),
            *(percent(getattr(row.figures, part) for row in own) for part in ("middle_probe", "middle_nearest")),
        )
        lines.append((forgotten, name, *cells))
    return markdown(COLUMNS, lines)


def gaps(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return how far each kind of edit is from the retrained networks, over all classes and seeds.

    Returns:
        For each kind: mean absolute gaps of the four guesses, mean TV, worst forgotten accuracy, mean and worst loss
        against the mask. For the retrained networks themselves: the mean over classes of the spread, and of TV.
    """
    found: dict[str, dict[str, float]] = {}
    names = ("probe", "nearest", "middle_probe", "middle_nearest")
    never = {}
    for forgotten in dict.fromkeys(row.forgotten for row in rows):
        never[forgotten] = [row.figures for row in rows if (row.forgotten, row.made) == (forgotten, RETRAINED)]
    for made in dict.fromkeys(row.made for row in rows):
        own = [row for row in rows if row.made == made]
        if made == RETRAINED:
            away = {n: mean(widest(getattr(f, n) for f in figures) for figures in never.values()) for n in names}
        else:
            away = {
                n: mean(abs(getattr(r.figures, n) - mean(getattr(f, n) for f in never[r.forgotten])) for r in own)
                for n in names
            }
        found[made] = {
            **away,
            "variation": mean(row.variation for row in own),
            "forgotten": max(row.figures.forgotten for row in own),
            "against_mask": mean(row.against_mask for row in own),
            "worst_against_mask": max(row.against_mask for row in own),
        }
    return found


def missed_bars(found: Mapping[str, Mapping[str, float]], bars: Bars) -> list[str]:
    """Return a sentence for every bar that a kind of edit misses.

    Args:
        found: As :func:`gaps` returns it.
        bars: What is allowed.
    """
    missed = []
    for made, values in found.items():
        if made in {REGISTERED, MASKED, RETRAINED}:
            continue
        for name, bar in asdict(bars).items():
            allowed = max(bar, found[RETRAINED][name]) if name == "probe" else bar
            if values[name] > allowed + ROUNDING:
                missed.append(f"{made}: {name} at {values[name]:.4f}, more than {allowed:.4f}")
    return missed


def gap_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the gaps as a Markdown table, in points; for the retrained networks their own spread."""
    lines = []
    for made, values in found.items():
        points = [f"{100 * values[n]:.1f}" for n in ("probe", "nearest", "middle_probe", "middle_nearest")]
        lost = [f"{100 * values[n]:+.2f}" for n in ("against_mask", "worst_against_mask")]
        name = f"{made} (spread)" if made == RETRAINED else made
        lines.append((name, *points, f"{values['variation']:.2f}", f"{100 * values['forgotten']:.1f}", *lost))
    return markdown(GAP_COLUMNS, lines)


def percent(shares: Iterable[float], sign: str = "", digits: int = 1) -> str:
    """Return shares in per cent, as mean and spread."""
    return with_spread([100 * share for share in shares], f"{sign}.{digits}f")


def with_spread(values: Sequence[float], form: str) -> str:
    """Return the mean of some values, and their spread if there are several."""
    text = format(mean(values), form)
    return f"{text} ±{format(widest(values), form.removeprefix('+'))}" if len(values) > 1 else text


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
    print("Missed: " + "; ".join(missed) if missed else "Every bar was met.")
    if options.json:
        figures = {"rows": [asdict(row) for row in rows], "gaps": found, "missed": missed}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
