"""A short sample of the long simulated life: nothing is lost, doubled or overtaken though workers are killed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def long_life() -> Any:
    """The benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        return import_module("long_life")


@pytest.mark.postgres
@pytest.mark.slow
def test_a_short_life_loses_nothing(long_life: Any, postgres_url: str, tmp_path: Path) -> None:
    plan = long_life.Plan(models=4, requests=12, workers=2, kills=2, lease=2.0, waiting=6, seed=1)
    long_life.found(tmp_path / "life", postgres_url, plan)
    seen = long_life.live(tmp_path / "life", plan)
    assert long_life.is_clean(seen)
    assert (seen["fulfilled"], seen["kills"]) == (12, 2)
    assert 0 < seen["of the sum of the work"] <= 1


def event(kind: str, model: str, number: int) -> Any:
    """Return an entry as far as it matters here."""
    return SimpleNamespace(kind=kind, model=model, request_id=number, at=_Moment())


class _Moment:
    def __sub__(self, _other: object) -> Any:
        return SimpleNamespace(total_seconds=lambda: 1.0)


FILED = [event("request.received", "a", 1), event("request.received", "a", 2), event("request.received", "b", 3)]


def test_who_waits_behind_a_request_of_the_same_model_is_not_overtaken(long_life: Any) -> None:
    events = [*FILED, event("request.claimed", "a", 1), event("request.claimed", "b", 3)]
    assert long_life.waited(events) == (0, [1.0, 1.0])


def test_a_later_request_of_another_model_overtakes(long_life: Any) -> None:
    assert long_life.waited([*FILED, event("request.claimed", "b", 3)])[0] == 1
    ended = [event("request.claimed", "a", 1), event("request.fulfilled", "a", 1), event("request.claimed", "b", 3)]
    assert long_life.waited([*FILED, *ended])[0] == 1


def test_a_request_that_was_given_back_is_first_again(long_life: Any) -> None:
    back = [event("request.claimed", "a", 1), event("request.interrupted", "a", 1), event("request.claimed", "a", 2)]
    assert long_life.waited([*FILED, *back])[0] == 1
