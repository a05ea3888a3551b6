"""Undoing: what is hidden by batch statistics comes back with them, and what was never known does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER, ALL = frozenset({3}), frozenset[int]()


@pytest.fixture(scope="module")
def undo(script: Callable[[str], Any]) -> Any:
    return script("undo")


@pytest.fixture(scope="module")
def story(script: Callable[[str], Any], shelf: Any) -> Any:
    shelf.get(NEVER, 0)
    return script("forgetting").Story(shelf, shelf.get(ALL, 0).weights, [], [NEVER], ["default"], [0])


@pytest.fixture(scope="module")
def trial(undo: Any, story: Any) -> Any:
    return undo.Trial(story, NEVER, limit=60)


def row(undo: Any, made: str, *, forgotten: str = "3", statistics: float = 0.0, epoch: float = 0.0) -> Any:
    before, after, last = (undo.Figures(share, 0.9) for share in (0.0, statistics, epoch))
    return undo.Row(forgotten, made, None if made == undo.RETRAINED else 0, before, after, last)


def test_statistics_are_the_mean_over_batches_and_nothing_else_changes(undo: Any) -> None:
    torch.manual_seed(0)
    first, norm = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, momentum=0.3)
    module = nn.Sequential(first, norm, nn.Dropout(0.5), nn.Conv2d(2, 1, 1))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    images = torch.randn(7, 1, 3, 3)
    undo.reestimate(module, torch.split(images, 3))
    with torch.no_grad():
        # The last batch has one image, and is left out.
        seen = [first(images[start : start + 3]) for start in (0, 3)]
    mean = torch.stack([part.mean((0, 2, 3)) for part in seen]).mean(0)
    variance = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert norm.momentum == 0.3
    assert not any(part.training for part in module.modules())
    for name, tensor in module.state_dict().items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_network_without_batch_normalisation_has_no_statistics(undo: Any) -> None:
    last = nn.Linear(4, 2)
    module, before = nn.Sequential(nn.Flatten(), last), last.weight.detach().clone()
    undo.reestimate(module, torch.split(torch.randn(4, 1, 2, 2), 2))
    torch.testing.assert_close(last.weight.detach(), before, rtol=0, atol=0)


def test_what_was_hidden_comes_back_and_what_was_never_seen_does_not(undo: Any, story: Any, trial: Any) -> None:
    known = dict(story.shelf.get(ALL, 0).state())
    hidden = {**known, "4.running_mean": known["4.running_mean"] + 50}
    copy = {name: tensor.clone() for name, tensor in hidden.items()}
    found = trial.row("hidden", 0, hidden)
    assert found.before.forgotten <= 0.5
    assert found.statistics.forgotten > 0.85
    assert found.statistics.retained > found.before.retained
    never = trial.row(undo.RETRAINED, None, story.retrained(NEVER)[0])
    assert (never.before.forgotten, never.statistics.forgotten, never.epoch.forgotten) == (0, 0, 0)
    assert never.epoch.retained > 0.85
    assert undo.missed_bars([never, found])[0].startswith("3, hidden, seed 0: ")
    assert all(torch.equal(copy[name], tensor) for name, tensor in hidden.items())


def test_the_epoch_sees_retained_images_at_the_rate_asked_for(undo: Any, story: Any, trial: Any) -> None:
    assert 3 not in trial.labels
    assert len(trial.labels) == 9 * 60
    state = story.shelf.get(ALL, 0).state()
    still = undo.Trial(story, NEVER, limit=60, rate=0.0).row("known", 0, state)
    assert still.before.forgotten > 0.9
    fast = undo.Trial(story, NEVER, limit=60, rate=0.01).row("known", 0, state)
    # Training without a class drives it out.
    assert fast.epoch.forgotten < still.before.forgotten - 0.2
    assert fast.before == still.before


def test_two_points_more_than_the_mean_of_the_retrained_are_allowed(undo: Any) -> None:
    peers = [row(undo, undo.RETRAINED, epoch=0.0), row(undo, undo.RETRAINED, epoch=0.02)]
    other = row(undo, undo.RETRAINED, forgotten="5", epoch=0.5)
    assert undo.missed_bars([*peers, other, row(undo, "redirect", epoch=0.03, statistics=0.02)]) == []
    [missed] = undo.missed_bars([*peers, other, row(undo, "redirect", epoch=0.04)])
    assert missed == "3, redirect, seed 0: 4.0% after the epoch, more than 3.0%"
    [missed] = undo.missed_bars([*peers, row(undo, "redirect", statistics=0.03)])
    assert missed.startswith("3, redirect, seed 0: 3.0% after the statistics")


def test_a_line_shows_before_and_after(undo: Any) -> None:
    _, _, line = undo.table([row(undo, "redirect", statistics=0.125, epoch=0.5)]).splitlines()
    assert line == "| 3 | redirect, seed 0 | 0.0 | 12.5 | 50.0 | 90.0 | 90.0 | 90.0 |"
