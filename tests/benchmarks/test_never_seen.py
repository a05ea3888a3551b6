"""The comparison with networks that never saw a class: figures by hand, and the whole of it on a small network."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEVER, ALL = frozenset({3}), frozenset[int]()
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="module")
def never_seen(script: Callable[[str], Any]) -> Any:
    return script("never_seen")


@pytest.fixture(scope="module")
def comparison(script: Callable[[str], Any]) -> Any:
    return script("comparison")


@pytest.fixture(scope="module")
def forgetting(script: Callable[[str], Any]) -> Any:
    return script("forgetting")


@pytest.fixture(scope="module")
def story(forgetting: Any, shelf: Any) -> Any:
    shelf.get(NEVER, 0), shelf.get(NEVER, 1)
    return forgetting.Story(shelf, shelf.get(ALL, 0).weights, [], [NEVER], ["least-squares"], [0])


@pytest.fixture(scope="module")
def subject(never_seen: Any, story: Any) -> Any:
    return never_seen.Subject(story)


def figures(comparison: Any, **shares: float) -> Any:
    names = ("retained", "forgotten", "probe", "nearest", "middle_probe", "middle_nearest")
    return comparison.Figures(**{name: shares.get(name, 0.0) for name in names})


def row(comparison: Any, label: str, made: str, *, lost: float = 0.0, variation: float = 0.0, **shares: float) -> Any:
    found = figures(comparison, **shares)
    return comparison.Row(label, made, None, "", found, lost, lost - 0.01, variation)


def reading(comparison: Any) -> Any:
    """Answers 0, 1 (wrong), 1, 1, 1 (wrong), 0 (wrong); with 1 masked 0, 2, 0, 2, 2, 0."""
    shares = [[6, 1, 3], [1, 6, 3], [2, 7, 1], [1, 7, 2], [1, 6, 3], [5, 1, 4]]
    guesses = {"probe": [0, 0, 1, 0, 2, 2], "nearest": [0] * 6, "middle_probe": [1] * 6, "middle_nearest": [2] * 6}
    answers = torch.tensor(shares).double().div(10).log().float()
    return comparison.Reading(answers, {name: np.array(guess) for name, guess in guesses.items()}, LABELS)


def test_figures_are_means_over_classes_of_test_images(comparison: Any) -> None:
    found = reading(comparison).figures(frozenset({1}))
    # Class 0 is right in one of two, class 2 in none, class 1 in both.
    assert (found.retained, found.forgotten) == (0.25, 1.0)
    assert (found.probe, found.nearest, found.middle_probe, found.middle_nearest) == (0.5, 0.0, 1.0, 0.0)
    masked = reading(comparison).figures(frozenset({1}), masked=True)
    assert (masked.retained, masked.forgotten, masked.probe) == (0.5, 0.0, 0.5)
    # The worst of two forgotten classes, but the mean of what is guessed of them.
    both = reading(comparison).figures(frozenset({0, 1}))
    assert (both.retained, both.forgotten, both.probe) == (0.0, 1.0, 0.75)


def test_a_prediction_is_of_forgotten_images_over_retained_classes(comparison: Any) -> None:
    found = reading(comparison).prediction(frozenset({1}))
    # (2/3, 1/3) and (1/3, 2/3).
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_target_is_as_far_as_its_networks_are_in_the_mean(comparison: Any) -> None:
    target = comparison.Target([], [torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])])
    assert target.variation(torch.tensor([0.5, 0.5])) == 0.25


def test_gaps_are_taken_class_by_class_whichever_side_they_are_on(comparison: Any) -> None:
    """One class is 10 points above its retrained networks, the other 20 below: 15 in the mean, not 5."""
    rows = [
        row(comparison, "a", comparison.RETRAINED, probe=0.4, variation=0.1),
        row(comparison, "a", comparison.RETRAINED, probe=0.6, variation=0.3),
        row(comparison, "b", comparison.RETRAINED, probe=0.7, variation=0.2),
        row(comparison, "a", "redirect", probe=0.6, lost=0.01, variation=0.1, forgotten=0.02),
        row(comparison, "b", "redirect", probe=0.5, lost=-0.02, variation=0.3),
    ]
    found = comparison.gaps(rows)
    edited = found["redirect"]
    assert edited["probe"] == pytest.approx(0.15)
    assert edited["nearest"] == 0
    assert (edited["variation"], edited["forgotten"]) == (pytest.approx(0.2), 0.02)
    assert (edited["against_mask"], edited["worst_against_mask"]) == (pytest.approx(-0.005), 0.01)
    # Of those that never saw the class, their own spread: 20 points and none; the largest variations 0.3 and 0.2.
    assert found[comparison.RETRAINED]["probe"] == pytest.approx(0.1)
    assert found[comparison.RETRAINED]["variation"] == pytest.approx(0.25)
    assert "| a | retrained (2) |" in comparison.table(rows)
    assert " | to 0.30 | " in comparison.table(rows)


def test_each_bar_is_held_at_it_and_missed_beyond_it(comparison: Any) -> None:
    bars = comparison.Bars(0.01, 0.005, 0.015, probe=0.03, nearest=0.05, variation=0.15)
    kept = {
        "probe": 0.03,
        "nearest": 0.05,
        "variation": 0.15,
        "forgotten": 0.01,
        "against_mask": 0.005,
        "worst_against_mask": 0.015,
    }
    noise = dict.fromkeys(kept, 0.0)
    fixed = {comparison.REGISTERED: dict.fromkeys(kept, 1.0), comparison.RETRAINED: noise}
    assert comparison.missed_bars({**fixed, "redirect": kept}, bars) == []
    for name, value in kept.items():
        [missed] = comparison.missed_bars({**fixed, "redirect": {**kept, name: value + 0.001}}, bars)
        assert missed.startswith(f"redirect: {name} at ")
    noisy = {**fixed, comparison.RETRAINED: {**noise, "probe": 0.04}}
    assert comparison.missed_bars({**noisy, "redirect": {**kept, "probe": 0.04}}, bars) == []
    assert math.isinf(comparison.Bars(0.01, 0.005, 0.015).probe)


def test_lines_of_one_kind_are_shown_as_mean_and_spread(comparison: Any) -> None:
    rows = [
        row(comparison, "3", "redirect", retained=0.9, probe=0.5, lost=0.002, variation=0.1),
        row(comparison, "3", "redirect", retained=0.92, probe=0.6, lost=-0.001, variation=0.2),
        row(comparison, "3", comparison.MASKED, retained=0.5),
    ]
    _, _, edited, masked = comparison.table(rows).splitlines()
    assert edited == (
        "| 3 | redirect (2) | 91.0 ±2.0 | +0.05 ±0.30 | -0.95 ±0.30 | 0.0 ±0.0 | 55.0 ±10.0 | 0.0 ±0.0 | 0.15 ±0.10 "
        "| 0.0 ±0.0 | 0.0 ±0.0 |"
    )
    assert masked == "| 3 | registered, masked | 50.0 | +0.00 | -1.00 | 0.0 | 0.0 | 0.0 | 0.00 | 0.0 | 0.0 |"


def test_what_never_saw_a_class_stands_beside_what_knows_it(never_seen: Any, subject: Any) -> None:
    target = subject.target(NEVER)
    rows = subject.fixed_rows(NEVER, target)
    assert [row.made for row in rows] == [never_seen.REGISTERED, never_seen.MASKED, *[never_seen.RETRAINED] * 2]
    registered, masked, *retrained = rows
    assert registered.figures.forgotten > 0.9
    assert registered.figures.probe > 0.9
    assert masked.figures.forgotten == 0
    assert masked.against_mask == 0
    assert registered.against_plain == 0
    assert registered.against_mask == pytest.approx(masked.figures.retained - registered.figures.retained)
    assert all(row.figures.forgotten == 0 for row in retrained)
    # Between two that never saw it there is some noise, and less than to one that did.
    assert 0 < retrained[0].variation == retrained[1].variation < 0.5
    assert retrained[0].figures != retrained[1].figures
    assert registered.variation == masked.variation > 0


def test_a_reading_is_of_the_weights_that_are_given(never_seen: Any, subject: Any, story: Any) -> None:
    """Without the bias and the rows of its classifier, a network answers the same for all images."""
    state = dict(story.retrained(NEVER)[0])
    blind = {**state, "10.weight": torch.zeros_like(state["10.weight"]), "10.bias": torch.eye(10)[7]}
    found = subject.read(blind)
    assert found.answers.argmax(1).unique().tolist() == [7]
    # The features are as they were.
    assert found.figures(NEVER).probe == subject.read(state).figures(NEVER).probe


def test_the_table_of_a_small_network(
    never_seen: Any, story: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "figures.json"
    asked = replace(story, solvers=["least-squares", "default"], refused=["5, redirect, seed 1: refused"])
    monkeypatch.setattr(never_seen.Story, "of", lambda _: asked)
    monkeypatch.setattr(sys, "argv", ["never_seen.py", "unused", "--json", str(written)])
    monkeypatch.setattr(never_seen, "ANY_CLASSES", never_seen.Bars(0.5, -0.9, 0.5))
    assert never_seen.main() == 1
    printed = capsys.readouterr().out
    assert "Missed: 5, redirect, seed 1: refused; least-squares: against_mask at " in printed
    found = json.loads(written.read_text())
    edited = [row for row in found["rows"] if row["seed"] is not None]
    assert [row["made"] for row in edited] == ["least-squares", "default"]
    assert edited[0]["how"].startswith("least-squares, ")
    for row in edited:
        assert row["figures"]["forgotten"] <= 0.03
        assert f"| 3 | {row['made']} | {100 * row['figures']['retained']:.1f} |" in printed
    assert found["gaps"]["least-squares"]["variation"] == edited[0]["variation"]


def test_what_is_refused_is_noted_and_the_others_go_on(
    forgetting: Any, story: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a gate that nothing passes, the second class is tried all the same."""
    both = replace(story, classes=[NEVER, frozenset({5})], refused=[])
    strict = replace(forgetting.settings_of("least-squares", 0), max_retained_drop=-1.0, depths=(1,), alpha_f=(10.0,))
    monkeypatch.setattr(forgetting, "settings_of", lambda *_: strict)
    assert list(both.edits(tmp_path)) == []
    assert [text.partition(":")[0] for text in both.refused] == ["3, least-squares, seed 0", "5, least-squares, seed 0"]
    assert all("blocked" in text for text in both.refused)


def test_solvers_of_a_command_line_compete_or_are_those_of_the_defaults(forgetting: Any) -> None:
    assert forgetting.settings_of("projection+least-squares", 4).solvers == ("projection", "least-squares")
    assert forgetting.settings_of("projection", 4).seed == 4
    usual = forgetting.settings_of("default", 0)
    assert usual == type(usual)()


def test_one_network_is_no_reference_for_several_sets(forgetting: Any, shelf: Any, tmp_path: Path) -> None:
    given = ["unused", "--registered", str(shelf.get(ALL, 0).weights), "--never-saw", "file", "--classes", "3", "5"]
    parsed = forgetting.arguments("A script.").parse_args(given)
    parsed.folder = tmp_path
    with pytest.raises(SystemExit, match="--never-saw is for one set"):
        forgetting.Story.of(parsed)
    parsed.classes = ["3,5"]
    assert forgetting.Story.of(parsed).classes == [{3, 5}]
