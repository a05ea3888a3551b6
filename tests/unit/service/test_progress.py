"""The bar of a long phase: its time left is that of the steps that are left, also where a step is slow."""

import pytest
from ledger.cli import render


def test_the_time_left_is_believable_where_a_step_takes_longer_than_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress = render.PhaseProgress()
    now = [0.0]
    monkeypatch.setattr(progress._bars, "get_time", lambda: now[0])
    # A bar only keeps count while it is not disabled, as it is without a terminal.
    monkeypatch.setattr(progress._bars, "disable", False)
    progress.phase("calibration", 20)
    for _ in range(8):
        now[0] += 40.0
        progress.step()
    (task,) = progress._bars.tasks
    assert task.time_remaining == pytest.approx(12 * 40, rel=0.2)
