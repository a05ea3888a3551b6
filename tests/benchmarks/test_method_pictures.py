"""The pictures of ``docs/method.md``: they are what the script draws, and the toy shows what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWN = Path(__file__).parents[2] / "docs" / "pictures"
ALPHA_F = 100.0
CLASSES, FORGOTTEN, RETAINED = 4, 3, [0, 1, 2]


@pytest.fixture(scope="module")
def pictures(script: Callable[[str], Any]) -> Any:
    return script("method_pictures")


@pytest.fixture(scope="module")
def toy(script: Callable[[str], Any]) -> Any:
    return script("method_toy")


class Case:
    """The toy's networks, seen as the pictures see them."""

    def __init__(self, toy: Any, pictures: Any) -> None:
        self.toy, self.pictures = toy, pictures
        self.images = toy.images()
        self.before = toy.train(self.images, CLASSES)
        self.never_saw = toy.never_saw(self.images)

    def edited(self, *, groups: bool = True) -> Any:
        return self.toy.edited(self.before, self.images, ALPHA_F, groups=groups)

    def accuracy(self, network: Any, class_index: int) -> float:
        answers = network.answer(network.see(self.images.of(class_index))).argmax(1)
        return float((answers == class_index).double().mean())

    def view(self, network: Any) -> Any:
        return self.pictures.View.of(self.pictures.class_means(network, self.images))

    def means(self, network: Any, view: Any) -> torch.Tensor:
        found: torch.Tensor = view.coordinates(self.pictures.class_means(network, self.images))
        return found

    def apart(self, network: Any, view: Any) -> float:
        """Return how far the images of S that resemble A lie from those that resemble B."""
        along = view.coordinates(network.see(self.images.of(FORGOTTEN)))[:, 0]
        kinds = int(self.toy.RESEMBLE_A * self.toy.IMAGES)
        return float(along[kinds:].mean() - along[:kinds].mean())


@pytest.fixture(scope="module")
def case(toy: Any, pictures: Any) -> Case:
    return Case(toy, pictures)


def test_committed_pictures_are_what_the_script_draws(pictures: Any) -> None:
    drawn = pictures.pictures(json.loads((DRAWN / pictures.MEASURED).read_text()))
    assert {path.name for path in DRAWN.glob("*.svg")} == set(drawn)
    for name, text in drawn.items():
        assert (DRAWN / name).read_text() == text, f"{name}: run benchmarks/method_pictures.py"
        ET.fromstring(text)
        assert "prefers-color-scheme: dark" in text


def test_the_toy_knows_all_classes_and_then_all_but_one(case: Case) -> None:
    assert min(case.accuracy(case.before, k) for k in range(CLASSES)) > 0.95
    after = case.edited()
    assert case.accuracy(after, FORGOTTEN) == 0
    assert min(case.accuracy(after, k) for k in RETAINED) > 0.95


def test_the_forgotten_mean_comes_down_and_the_retained_ones_stay(case: Case) -> None:
    view = case.view(case.before)
    before, after = case.means(case.before, view), case.means(case.edited(), view)
    assert float(before[FORGOTTEN, 2]) > 0.5
    assert abs(float(after[FORGOTTEN, 2])) < 0.01
    assert float((after - before)[RETAINED].norm(dim=1).max()) < 0.02
    assert abs(float(case.means(case.never_saw, case.view(case.never_saw))[FORGOTTEN, 2])) < 0.05


def test_look_alike_groups_part_a_class_as_a_network_does_that_never_saw_it(case: Case) -> None:
    view = case.view(case.before)
    before, one, groups = (
        case.apart(network, view) for network in (case.before, case.edited(groups=False), case.edited())
    )
    assert one == pytest.approx(before, abs=0.05)
    assert one + 0.1 < groups < case.apart(case.never_saw, case.view(case.never_saw))


def test_the_toy_does_not_depend_on_the_order_of_images(case: Case) -> None:
    order = torch.randperm(len(case.images.labels), generator=torch.Generator().manual_seed(0))
    shuffled = case.toy.Images(case.images.rows[order], case.images.labels[order])
    ours, theirs = case.edited(), case.toy.edited(case.before, shuffled, ALPHA_F)
    torch.testing.assert_close(ours.features, theirs.features)
    torch.testing.assert_close(ours.outputs, theirs.outputs)


def test_what_was_measured_has_every_depth_and_strength_and_both_levels(pictures: Any) -> None:
    rows = json.loads((DRAWN / pictures.MEASURED).read_text())
    registered, never_saw, *edits = rows
    assert (registered["weights"], never_saw["weights"]) == ("registered", "never saw it")
    assert registered["separability"] > never_saw["separability"]
    depths, solvers = ({row[name] for row in edits} for name in ("depth", "weights"))
    assert depths == set(range(1, 12))
    assert solvers == {"redirect"}
    assert len(edits) == 4 * len(depths)
