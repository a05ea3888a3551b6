"""What benchmarks of few images a class measure after each request, and what they call a miss."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.settings import Settings
    from ledger.service.computation.workbench import Workbench
    from tests.fixtures.trained_digits import TrainedDigits

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
REGISTERED = torch.tensor(
    [
        [3.0, 1.0, 0.0],  # right
        [3.0, 1.0, 0.0],  # right
        [1.0, 3.0, 0.0],  # right
        [3.0, 2.0, 0.0],  # taken for class 0: right where that is masked
        [0.0, 1.0, 3.0],  # right
        [0.0, 3.0, 1.0],  # wrong with and without the mask
    ]
)


@pytest.fixture(scope="module")
def bench(script: Callable[[str], Any]) -> Any:
    return script("one_by_one")


@pytest.fixture(scope="module")
def options(bench: Any) -> Callable[..., argparse.Namespace]:
    return lambda *words: bench.arguments("What it does.\n\nMore.", requests=10).parse_args(list(words))


def now(forgotten: float, fourth: float) -> torch.Tensor:
    """Answers after forgetting class 0: its logit on its own images, and that of class 1 on the fourth image."""
    answers = REGISTERED.clone()
    answers[:2, 0] = forgotten
    answers[3] = torch.tensor([0.0, fourth, 1.0])
    return answers


def test_a_forgotten_class_is_counted_image_by_image(bench: Any) -> None:
    seen = bench.look(now(-1.0, 2.0), REGISTERED, LABELS, {0})
    assert (seen.images, seen.known, seen.recognised) == ({0: 2}, {0: 2}, {0: 0})
    assert bench.look(now(3.0, 2.0), REGISTERED, LABELS, {0}).recognised == {0: 2}
    assert bench.look(now(3.0, 2.0), REGISTERED, LABELS, {0}).still() == "2 / 2 / 2"


def test_the_mask_takes_a_competitor_away_so_that_loss_and_drop_differ(bench: Any) -> None:
    as_the_mask = bench.look(now(-1.0, 2.0), REGISTERED, LABELS, {0})
    assert (as_the_mask.registered, as_the_mask.masked, as_the_mask.retained) == (0.5, 0.75, 0.75)
    assert (as_the_mask.loss, as_the_mask.drop) == (0.0, -0.25)
    worse = bench.look(now(-1.0, 0.0), REGISTERED, LABELS, {0})
    assert (worse.loss, worse.drop) == (0.25, 0.0)


def test_the_registered_answers_are_left_as_they_are(bench: Any) -> None:
    before = REGISTERED.clone()
    bench.look(REGISTERED, REGISTERED, LABELS, {0, 1})
    assert torch.equal(before, REGISTERED)


def step(bench: Any, seen: Any, error: str | None = None) -> Any:
    return bench.Step((0,), {"test": seen}, 1.0, 0.5, {"solver": "projection", "depth": 2, "layers": 6}, error)


def test_a_loss_of_just_the_bar_is_no_miss_and_everything_else_is_named(bench: Any) -> None:
    good = bench.look(now(-1.0, 2.0), REGISTERED, LABELS, {0})
    just = replace(good, masked=0.75, retained=0.74)
    assert bench.missed_bars([step(bench, good), step(bench, just)], "test", 0.01) == []
    bad = replace(good, masked=0.76, retained=0.74, recognised={0: 1})
    assert bench.missed_bars([step(bench, good), step(bench, bad, "blocked")], "test", 0.01) == [
        "request 2: blocked",
        "after request 2, 1 test images of forgotten classes are recognised",
        "after request 2, retained classes lose 2.00 points against the mask",
    ]


def test_the_table_shows_every_step(bench: Any) -> None:
    seen = bench.look(now(-1.0, 2.0), REGISTERED, LABELS, {0})
    head, rule, line = bench.table([step(bench, seen)], "test").splitlines()
    assert head.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| 1 | 0 / 2 / 2 | 75.00 | +0.00 | -25.00 | 1.0 | 0.5 | projection, 2 of 6 layers")


def test_a_longer_story_begins_as_a_shorter_one(bench: Any) -> None:
    assert bench.drawn(40, 10, 0)[:4] == bench.drawn(40, 4, 0)
    assert len(set(bench.drawn(40, 40, 1))) == 40
    assert bench.drawn(40, 10, 0) != bench.drawn(40, 10, 1)


def test_every_choice_of_solvers_is_run_with_every_seed(bench: Any, options: Any) -> None:
    every = bench.runs(options("--solvers", "projection,least-squares", "projection", "--seeds", "0", "2"))
    assert [(one.solvers, one.seed) for one in every] == [
        (("projection", "least-squares"), 0),
        (("projection", "least-squares"), 2),
        (("projection",), 0),
        (("projection",), 2),
    ]
    [plain] = bench.runs(options())
    assert plain == type(plain)()


def test_each_request_is_measured_on_all_classes_forgotten_so_far(
    bench: Any, trained_digits: TrainedDigits, open_bench: Callable[[Settings], Workbench]
) -> None:
    work = open_bench(trained_digits.settings)
    split = work.source.test
    view = bench.View(split, [i for i, label in enumerate(split.labels) if label in {3, 5, 8}])
    story = bench.OneByOne(work.ledger, work.model.name, {"test": view})
    first, second = bench.run(story, (3, 5))
    assert (first.forgotten, second.forgotten) == ((3,), (3, 5))
    assert second.seen["test"].images.keys() == {3, 5}
    assert min(second.seen["test"].known.values()) > 20
    assert sum(second.seen["test"].recognised.values()) == 0
    assert second.error is None
    assert abs(second.seen["test"].loss) < 0.1
    assert second.chosen["solver"] in work.model.settings.solvers
