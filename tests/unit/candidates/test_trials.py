"""A recorder keeps one trial a recipe: what was found first stays until something is found anew."""

import math
from dataclasses import dataclass, field
from typing import cast

import pytest

from ledger.algebra.strength import Strength
from ledger.candidates.candidate import Candidate, MapChange, Recipe
from ledger.candidates.evaluation import CandidateEvaluator, ForgettingFinding, RetentionFinding
from ledger.candidates.trials import Trial, TrialRecorder

FORGETS = ForgettingFinding(passed=True, accuracy=0.0, revealed=0.1)
SHOWS = ForgettingFinding(passed=False, accuracy=0.5, revealed=0.7)
NAN = ForgettingFinding(passed=False, accuracy=1.0, revealed=math.inf)


@dataclass
class Told:
    """Finds what it is told to find."""

    forgetting_findings: list[ForgettingFinding] = field(default_factory=list)
    retention_findings: list[RetentionFinding] = field(default_factory=list)

    def forgetting(self, _candidate: Candidate, _at_least: int | None = None) -> ForgettingFinding:
        return self.forgetting_findings.pop(0)

    def retention(
        self, _candidate: Candidate, _at_least: int | None = None, *, until_clear: bool = False
    ) -> RetentionFinding:
        assert not until_clear
        return self.retention_findings.pop(0)

    def retained_shown(self, _candidate: Candidate) -> int:
        return 96


def candidate(alpha_f: float = 1.0, change: float = 0.5) -> Candidate:
    return Candidate(Recipe("any", 2, Strength(10.0, alpha_f)), {}, (MapChange("map", change, 1, 1),))


def recorder(
    forgetting: list[ForgettingFinding],
    retention: list[RetentionFinding] | None = None,
    reports: list[int] | None = None,
) -> TrialRecorder:
    told = cast("CandidateEvaluator", Told(forgetting, retention or []))
    return TrialRecorder(told, lambda: None if reports is None else reports.append(1))


def test_a_trial_says_how_the_candidate_was_made_and_what_was_found() -> None:
    reports: list[int] = []
    trials = recorder([FORGETS], [RetentionFinding(0.1, 0.8, 0.0)], reports)
    assert trials.measure_forgetting(candidate(3.0)) == FORGETS
    made = candidate(3.0)
    expected = Trial("any", 2, 10.0, 3.0, edit=0.5, forgotten=0.0, passed=True)
    assert trials.trials == {made.recipe: expected}
    assert trials.measure_retention(made) == RetentionFinding(0.1, 0.8, 0.0)
    assert trials.trials[made.recipe].retained == 0.8
    assert trials.trials[made.recipe].shown == 96
    assert len(reports) == 1


def test_later_findings_replace_earlier_ones_in_the_same_place() -> None:
    trials = recorder([FORGETS, SHOWS, SHOWS])
    trials.measure_forgetting(candidate(1.0))
    trials.measure_forgetting(candidate(2.0))
    trials.measure_forgetting(candidate(1.0))
    assert [(t.alpha_f, t.passed, t.forgotten) for t in trials.trials.values()] == [
        (1.0, False, 0.5),
        (2.0, False, 0.5),
    ]


@pytest.mark.parametrize(
    ("found", "revealed"),
    [([SHOWS, FORGETS], 0.7), ([FORGETS, SHOWS], 0.1), ([SHOWS, NAN], math.inf), ([NAN], math.inf)],
)
def test_what_a_recipe_reveals_is_what_its_first_images_showed(found: list[ForgettingFinding], revealed: float) -> None:
    trials = recorder(list(found))
    for _ in found:
        trials.measure_forgetting(candidate())
    assert trials.revealed == {candidate().recipe: revealed}


def test_a_candidate_that_was_only_measured_for_its_cost_has_not_passed() -> None:
    trials = recorder([], [RetentionFinding(math.inf, 0.0, math.inf)])
    trials.measure_retention(candidate(change=math.nan))
    [trial] = trials.trials.values()
    assert (trial.edit, trial.passed, trial.forgotten, trial.retained) == (None, False, 0.0, 0.0)
    assert not trials.revealed
