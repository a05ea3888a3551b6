"""A model's settings: refused when they make no sense, the same after a journey through JSON."""

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.settings import Preprocessing, Settings, preprocessing_from_json
from ledger.errors import UsageError

COUNTS = tuple(field.name for field in fields(Settings) if field.type is int and field.name != "seed")
SHARES = tuple(field.name for field in fields(Settings) if field.type is float)
ALPHAS = st.lists(st.floats(1, 1e6), min_size=1, max_size=5).map(tuple)


def with_value(name: str, value: object) -> dict[str, Any]:
    """Return keyword arguments whose name is a parameter."""
    return {name: value}


@given(
    seed=st.integers(0, 2**53 - 1),
    counts=st.lists(st.integers(1, 10**6), min_size=len(COUNTS), max_size=len(COUNTS)),
    alpha_r=ALPHAS,
    alpha_f=ALPHAS,
    solvers=st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple),
    depths=st.lists(st.integers(1, 200), max_size=4).map(tuple),
    shares=st.lists(st.floats(0, 1), min_size=len(SHARES), max_size=len(SHARES)),
)
def test_settings_come_back_from_json_as_they_were(
    seed: int,
    counts: list[int],
    alpha_r: tuple[float, ...],
    alpha_f: tuple[float, ...],
    solvers: tuple[str, ...],
    depths: tuple[int, ...],
    shares: list[float],
) -> None:
    values: dict[str, Any] = {**dict(zip(COUNTS, counts, strict=True)), **dict(zip(SHARES, shares, strict=True))}
    settings = Settings(seed=seed, alpha_r=alpha_r, alpha_f=alpha_f, solvers=solvers, depths=depths, **values)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_every_whole_number_but_the_seed_is_a_count() -> None:
    assert {"retain_samples", "forget_samples", "max_rank", "min_retained", "batch_size"} < set(COUNTS)
    assert {"space_tolerance", "retained_bar", "max_forgotten_accuracy", "max_retained_drop"} <= set(SHARES)


def test_every_setting_is_written() -> None:
    assert set(Settings().to_json()) == {field.name for field in fields(Settings)}


def test_preprocessing_comes_back_from_json_as_it_was() -> None:
    for value in (Preprocessing(), Preprocessing(1, 8, 8, (0.1,), (0.3,), "nearest", 0.875)):
        assert preprocessing_from_json(json.loads(json.dumps(asdict(value)))) == value


def test_values_of_another_release_are_ignored_and_missing_ones_take_the_default() -> None:
    assert Settings.from_json({"seed": 3, "invented": [1, 2]}) == Settings(seed=3)
    assert preprocessing_from_json({"height": 5, "invented": 1}) == Preprocessing(height=5)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} must be at least 1, not {value}"):
        Settings(**with_value(name, value))
    Settings(**with_value(name, 1))


@pytest.mark.parametrize("name", ["alpha_r", "alpha_f"])
@pytest.mark.parametrize(
    "value", [(), (0.999,), (10.0, 0.0), (-3.0,), (float("nan"),), (10.0, float("nan")), (float("inf"),)]
)
def test_alphas_that_cannot_scale_are_refused(name: str, value: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="every alpha must be"):
        Settings(**with_value(name, value))


def test_alphas_are_a_grid_without_order_or_repetition() -> None:
    assert Settings(alpha_r=(300.0, 10.0, 300.0)) == Settings(alpha_r=(10.0, 300.0))
    assert Settings(alpha_f=(30.0, 3.0)).alpha_f == (3.0, 30.0)


def test_an_alpha_of_one_is_the_smallest_allowed() -> None:
    assert Settings(alpha_r=(1.0,), alpha_f=(1.0,)).alpha_r == (1.0,)


def test_by_default_the_solver_that_redirects_goes_first_at_every_depth() -> None:
    assert Settings().solvers == ("redirect", "projection", "least-squares")
    assert Settings().depths == ()
    assert 0 < Settings().retained_bar <= Settings().max_retained_drop


def test_solvers_and_depths_keep_their_order_and_lose_what_repeats() -> None:
    assert Settings(solvers=("b", "a", "b")).solvers == ("b", "a")
    assert Settings(depths=(2, 5, 2, 1)).depths == (2, 5, 1)


def test_a_model_without_a_solver_is_refused() -> None:
    with pytest.raises(UsageError, match="solvers must name at least one"):
        Settings(solvers=())


@pytest.mark.parametrize("depths", [(0,), (-1,), (1.5,), (3, 0), (1, 2.0), ("1",), (None,)])
def test_a_depth_that_counts_no_layers_is_refused(depths: Any) -> None:
    with pytest.raises(UsageError, match="every depth must be a whole number of at least 1"):
        Settings(depths=depths)
    assert Settings(depths=(1,)).depths == (1,)


def test_settings_written_before_there_were_solvers_can_be_read() -> None:
    written = {k: v for k, v in Settings(seed=3).to_json().items() if k not in {"solvers", "depths", "retained_bar"}}
    assert Settings.from_json(json.loads(json.dumps(written))) == Settings(seed=3)


def test_models_registered_before_positions_of_an_image_were_limited_go_on_without_a_limit() -> None:
    written = Settings(rows_per_class=100).to_json()
    assert Settings.from_json(written).positions(1) == 64
    del written["rows_per_image"]
    before = Settings.from_json(written)
    assert [before.positions(images) for images in (1, 3, 200)] == [100, 34, 1]


def test_refused_json_is_refused_on_reading_too() -> None:
    with pytest.raises(UsageError):
        Settings.from_json({"max_rank": 0})
