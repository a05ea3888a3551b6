"""Recipes: stored as they are, and read whatever they hold."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.recipe import (
    RecordedMapChange,
    RecordedScores,
    RecordedTrial,
    VersionRecipe,
    search_record,
)

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("*/ledger.sql"))
ENVIRONMENT = {"torch": "2.6", "threads": 1}
TRIALS = (
    RecordedTrial("projection", 2, 100.0, 3.0, 0.5, 0.25, passed=False),
    RecordedTrial("projection", 2, 100.0, 5.0, 0.75, 0.0, passed=True, retained=0.875, chosen=True),
)
MAPS = (RecordedMapChange("fc.weight", 0.5, 11, 2), RecordedMapChange("1.weight", 0.25, 7, 3, 8, 0.75))
PARTS: dict[str, Any] = {
    "solver": "projection",
    "depth": 2,
    "layers": 4,
    "alpha_r": 100.0,
    "alpha_f": 5.0,
    "effective_alpha_f": 5.0,
    "edit": 0.75,
    "maps": MAPS,
    "search": search_record(
        retained=RecordedScores(1.0, 0.875),
        base_retained=RecordedScores(1.0, 0.9375),
        forgotten={3: RecordedScores(0.0, 0.125)},
        trials=TRIALS,
    ),
    "class_spaces": {0: "aa", 3: "bb"},
    "base": "b0",
    "data": "d1",
    "plugins": {"solver_projection": "0.1.0"},
    "environment": ENVIRONMENT,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def golden_recipes(path: Path) -> list[str]:
    database = sqlite3.connect(":memory:")
    database.executescript(path.read_text())
    rows = database.execute("SELECT recipe FROM versions").fetchall()
    database.close()
    return [text for (text,) in rows]


def test_what_a_computation_writes_it_reads() -> None:
    recipe = VersionRecipe.of_computation(**PARTS)
    read = VersionRecipe(json.loads(json.dumps(recipe.to_json(), allow_nan=False)))
    assert read == recipe
    for name in PARTS.keys() - {"search", "class_spaces"}:
        assert getattr(read, name) == PARTS[name], name
    assert (read.trials, read.trial_count, read.searched, read.computed) == (TRIALS, 2, True, True)
    assert (read.retained.confidence, read.base_retained.confidence) == (0.875, 0.9375)
    assert read.forgotten == {3: RecordedScores(0.0, 0.125)}
    assert read.document["class_spaces"] == {"0": "aa", "3": "bb"}


def test_the_recipe_of_version_0_names_the_code() -> None:
    recipe = VersionRecipe.of_registration(ENVIRONMENT, "c0de")
    assert recipe.to_json() == {"environment": ENVIRONMENT, "code": "c0de"}
    assert (recipe.code, recipe.computed, recipe.searched, recipe.trials) == ("c0de", False, False, ())
    assert VersionRecipe.of_registration(ENVIRONMENT, None).to_json()["code"] is None


def test_maps_without_groups_say_nothing_of_groups() -> None:
    plain, grouped = (change.to_json() for change in MAPS)
    assert plain == {"key": "fc.weight", "change": 0.5, "retain_rank": 11, "forget_rank": 2}
    assert {"groups": 8, "most": 0.75}.items() <= grouped.items()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_recipes_of_earlier_releases_are_read_and_kept_as_they_are(path: Path) -> None:
    recipes = [(text, VersionRecipe(json.loads(text))) for text in golden_recipes(path)]
    assert any(recipe.computed for _, recipe in recipes)
    for text, recipe in recipes:
        assert json.dumps(recipe.to_json(), ensure_ascii=False) == text
        if recipe.computed:
            assert None not in (recipe.solver, recipe.depth, recipe.alpha_r, recipe.alpha_f, recipe.edit)
            assert sum(trial.chosen for trial in recipe.trials) == 1
            assert [change.to_json() for change in recipe.maps] == recipe.document["maps"]
            assert [trial.to_json() for trial in recipe.trials] == recipe.document["search"]["trials"]


@given(st.dictionaries(st.sampled_from([*PARTS, "code"]), json_values))
def test_reading_never_fails(values: dict[str, Any]) -> None:
    recipe = VersionRecipe(values)
    for name in dir(VersionRecipe):
        getattr(recipe, name)
    assert recipe.to_json() is values
