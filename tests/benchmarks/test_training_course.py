"""The training of reference networks: the demonstration's own, step for step, and what it does with images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from ledger.domain.settings import Preprocessing
from ledger.images.loading import load_images
from ledger.plugin_manager import build_plugins
from ledger.testing.training import train_classifier

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def courses(script: Callable[[str], Any]) -> Any:
    return script("training_course")


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_the_demonstrations_course_is_what_the_demonstration_does(courses: Any) -> None:
    source, taken = build_plugins().data_source("digits"), Preprocessing(1, 8, 8, (0.3,), (0.35,))
    images = load_images(source.train, range(len(source.train.labels)), taken)
    ours, theirs = linear(), linear()
    courses.train(ours, images, torch.tensor(source.train.labels), courses.demonstration(2), seed=5)
    train_classifier(theirs, source, taken, seed=5, epochs=2)
    assert not ours.training
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=0)
    other = linear()
    courses.train(other, images, torch.tensor(source.train.labels), courses.demonstration(2), seed=6)
    assert not torch.equal(other.state_dict()["1.weight"], ours.state_dict()["1.weight"])


def test_the_last_rate_is_the_schedules_own(courses: Any) -> None:
    course, steps = courses.demonstration(16), 300
    optimiser = torch.optim.SGD(linear().parameters(), lr=course.peak)
    schedule = OneCycleLR(optimiser, course.peak, epochs=course.epochs, steps_per_epoch=steps, cycle_momentum=False)
    for _ in range((course.epochs - 1) * steps):
        optimiser.step()
        schedule.step()
    # The schedule counts steps from the first to the last, one fewer than there are.
    assert course.last_rate == pytest.approx(schedule.get_last_lr()[0], rel=0.02)
    assert 0 < course.last_rate < course.peak / 20


def test_one_more_epoch_learns_at_the_rate_that_is_given(courses: Any) -> None:
    torch.manual_seed(1)
    images, labels = torch.randn(40, 1, 8, 8), torch.arange(40) % 10
    moved = {}
    for rate in (None, 0.0, 0.1):
        module = linear()
        before = module.state_dict()["1.weight"].clone()
        courses.train_on(module, images, labels, courses.photographs(10), seed=0, rate=rate)
        assert not module.training
        moved[rate] = float((module.state_dict()["1.weight"] - before).norm())
    assert moved[0.0] == 0
    assert 0 < moved[None] < moved[0.1]


def test_a_photograph_is_cropped_from_itself_with_a_margin_and_perhaps_flipped(courses: Any) -> None:
    images = torch.rand(60, 2, 5, 6) + 1
    found = courses.cropped_and_flipped(images, torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    flips, places = 0, set()
    for image, crop in zip(images, found, strict=True):
        padded = nn.functional.pad(image, (courses.MARGIN,) * 4)
        matches = [
            (top, left, flipped)
            for top in range(9)
            for left in range(9)
            for flipped in (False, True)
            if torch.equal(crop, (padded[:, top : top + 5, left : left + 6]).flip((2,) if flipped else ()))
        ]
        [(top, left, flipped)] = matches
        flips += flipped
        places.add((top, left))
    assert 15 < flips < 45
    assert len(places) > 30


def test_batches_of_scans_are_shifted_around_the_edges(courses: Any) -> None:
    images = torch.rand(3, 1, 8, 8)
    found = [courses.shifted(images, torch.Generator().manual_seed(seed)) for seed in range(5)]
    assert any(not torch.equal(one, images) for one in found)
    assert all(torch.equal(one.flatten(1).sort().values, images.flatten(1).sort().values) for one in found)


def test_a_course_knows_how_its_images_are_changed(courses: Any) -> None:
    for course in (courses.demonstration(3), courses.photographs(3)):
        assert course.augmentation in courses.AUGMENTATIONS
    assert replace(courses.demonstration(3), epochs=1).last_rate == courses.demonstration(1).peak
