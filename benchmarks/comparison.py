"""Figures of a network that forgot beside those of networks that never saw the class: rows, gaps, bars and tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np
import torch
from digit_pairs import ROUNDING
from features import Seen, mean_prediction, total_variation, widest
from ledger.plugins.evaluators.nearest_mean import nearest_means
from ledger.plugins.evaluators.probe import logistic_regression
from tables import markdown
from torch import Tensor

REGISTERED, MASKED, RETRAINED = "registered", "registered, masked", "retrained"
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
            guesses[f"{prefix}probe"] = logistic_regression(learnt, train_labels).predict(asked)
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
    """Of a retrained network: the largest to another one; 0 if there is only one."""


@dataclass(frozen=True)
class Target:
    """The networks that never saw some classes."""

    figures: list[Figures]
    predictions: list[Tensor]

    def variation(self, prediction: Tensor) -> float:
        """Return the mean total variation between a mean prediction and theirs."""
        return mean(total_variation(prediction, theirs) for theirs in self.predictions)


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
            f"to {max(row.variation for row in own):.2f}"
            if made == RETRAINED
            else with_spread([row.variation for row in own], ".2f"),
            *(percent(getattr(row.figures, part) for row in own) for part in ("middle_probe", "middle_nearest")),
        )
        lines.append((forgotten, name, *cells))
    return markdown(COLUMNS, lines)


def gaps(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return how far each kind of edit is from the retrained networks, over all classes and seeds.

    Returns:
        For each kind: mean absolute gaps of the four guesses, mean TV, worst forgotten accuracy, mean and worst loss
        against the mask. For the retrained networks themselves: the mean over classes of the spread, for TV of the
        largest one between two.
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
            away["variation"] = mean(max(r.variation for r in own if r.forgotten == forgotten) for forgotten in never)
        else:
            away = {
                n: mean(abs(getattr(r.figures, n) - mean(getattr(f, n) for f in never[r.forgotten])) for r in own)
                for n in names
            }
        found[made] = {
            "variation": mean(row.variation for row in own),
            **away,
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
