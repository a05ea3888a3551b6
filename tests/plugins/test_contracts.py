"""The contracts of solvers, evaluators and data sources: built-in ones keep them, and each breach is found."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.domain.settings import Preprocessing
from ledger.evaluator_input import EvaluationInput
from ledger.plugin_manager import build_plugins
from ledger.testing.data_contract import check_data_source
from ledger.testing.evaluator_contract import check_evaluator
from ledger.testing.solver_contract import check_solver

PLUGINS = build_plugins()
QUICK = ("accuracy", "confusion", "divergence", "membership", "nearest_mean", "neighbours", "similarity", "statistics")


@pytest.mark.parametrize("name", ["redirect", "projection", "least-squares"])
def test_built_in_solvers_keep_it(name: str) -> None:
    check_solver(PLUGINS.solvers([name])[name])


@pytest.mark.parametrize("name", QUICK)
def test_built_in_evaluators_keep_it(name: str) -> None:
    check_evaluator(PLUGINS.evaluators()[name][0])


@pytest.mark.parametrize("spec", ["digits", "digit-pairs"])
def test_built_in_data_sources_keep_it(spec: str) -> None:
    check_data_source(lambda: PLUGINS.data_source(spec), [Preprocessing(1, 32, 32, (0.5,), (0.5,))])


class Nothing:
    """A solver that changes nothing, and keeps the contract."""

    name = "nothing"

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.zeros_like(factors.weight)


class Remembers(Nothing):
    def __init__(self) -> None:
        self._count = itertools.count()

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.full_like(factors.weight, next(self._count))


class Draws(Nothing):
    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.randn_like(factors.weight)


class Changes(Nothing):
    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        factors.weight.mul_(2)
        return torch.zeros_like(factors.weight)


class Doubles(Nothing):
    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.zeros_like(factors.weight, dtype=torch.float64)


class Turned(Nothing):
    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.zeros_like(factors.weight).mT


class Infinite(Nothing):
    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return factors.weight / 0


class Mixes(Nothing):
    batched = True

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return factors.weight * factors.weight.sum()


class Weightless(Nothing):
    strengths: Sequence[tuple[float, float]] = ((1.0, 1.0),)


class Nameless(Nothing):
    name = ""


def test_a_solver_that_does_nothing_keeps_it() -> None:
    check_solver(Nothing())


@pytest.mark.parametrize(
    "kind",
    [Remembers, Draws, Changes, Doubles, Turned, Infinite, Mixes, Weightless, Nameless],
    ids=lambda k: k.__name__,
)
def test_a_solver_that_breaks_it(kind: type[Nothing]) -> None:
    with pytest.raises(AssertionError, match="the solver breaks its contract"):
        check_solver(kind())


class Says:
    """An evaluator that returns what a test says."""

    name = "says"

    def __init__(self, value: Any) -> None:
        self._value = value

    def evaluate(self, data: EvaluationInput) -> Any:
        return self._value() if callable(self._value) else self._value


def test_an_evaluator_that_says_little_keeps_it() -> None:
    check_evaluator(Says({"share": 0.5, "unknown": None}))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"x": float("nan")},
        {"x": np.float32(1)},
        {"x": (1, 2)},
        {1: 2},
        lambda: {"x": np.random.default_rng().random()},
    ],
    ids=["none", "nan", "numpy", "tuple", "number as key", "chance"],
)
def test_an_evaluator_that_breaks_it(value: Any) -> None:
    with pytest.raises(AssertionError, match="the evaluator breaks its contract"):
        check_evaluator(Says(value))


class Grey:
    """A data source of grey squares, which keeps the contract unless a test changes it."""

    labels: Sequence[str] = ("dark", "light")
    digest = "0" * 64

    def __init__(self) -> None:
        self.train: GreySplit = GreySplit()
        self.test = GreySplit()


class GreySplit:
    labels: Sequence[int] = (0, 1, 0, 1)

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        shape = preprocessing.channels, preprocessing.height, preprocessing.width
        return torch.stack([torch.full(shape, 0.2 + 0.5 * self.labels[index]) for index in indices])


def test_a_grey_source_keeps_it() -> None:
    check_data_source(Grey)


class Spoilt(GreySplit):
    """A split that returns what a test says for a shape."""

    def __init__(self, made: Callable[..., Tensor]) -> None:
        self._made = made

    def pixels(self, indices: Sequence[int], preprocessing: Preprocessing) -> Tensor:
        return self._made(len(indices), preprocessing.channels, preprocessing.height, preprocessing.width)


def shuffled(source: Grey) -> None:
    source.train = Spoilt(torch.rand)


def bright(source: Grey) -> None:
    source.train = Spoilt(lambda *shape: torch.full(shape, 255.0))


def small(source: Grey) -> None:
    source.train = Spoilt(lambda n, *_: torch.zeros(n, 1, 2, 2))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda source: setattr(source, "labels", ("one", "one")),
        lambda source: setattr(source, "labels", ("one", "two", "three")),
        lambda source: setattr(source, "digest", "new"),
        lambda source: setattr(source, "digest", torch.randint(9, (64,)).tolist()),
        shuffled,
        bright,
        small,
    ],
    ids=["alike", "empty class", "no digest", "other digest", "chance", "bright", "small"],
)
def test_a_source_that_breaks_it(spoil: Any) -> None:
    def opened() -> Any:
        source = Grey()
        spoil(source)
        return source

    with pytest.raises((AssertionError, TypeError)):
        check_data_source(opened)
