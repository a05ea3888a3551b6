"""The search among graded solvers, on the linear networks of ``test_search``: what looks as if it had never seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ledger.algebra.map_factors import MapFactors
from ledger.algebra.strength import Strength
from ledger.answers.calibration import Calibration
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.candidates.evaluation import BarFinding, CandidateEvaluator
from ledger.candidates.graded_search import DEPTH_TIE, STRENGTH_TIE, grids
from ledger.candidates.likeness import Likeness, Resemblance
from ledger.candidates.search_result import SearchResult
from ledger.candidates.trials import Trial
from ledger.domain.class_spaces import Role
from ledger.domain.recipe import VersionRecipe
from ledger.domain.recorded_likeness import RecordedLikeness
from ledger.domain.settings import Settings
from ledger.hookspecs import GradedSolver, Solver
from ledger.networks.network import Network
from ledger.spaces.activations import collect_spaces
from ledger.spaces.bases import Basis
from ledger.spaces.displacements import Displacements
from ledger.spaces.positions import PositionSampler
from tests.unit.candidates.test_search import (
    CLASSES,
    FAVOURED,
    PLUGINS,
    SETTINGS,
    WIDTH,
    Case,
    batches,
    features,
    network,
    trial_of,
)

LIKE_FAVOURED = Resemblance([0, 1, FAVOURED], {2: torch.tensor([0.0, 0.0, 1.0])})
"""What images of class 2 go to once their own direction is gone."""
BAR = SETTINGS.retained_bar


class Mover:
    """Silences class 2 in the classifier, and moves its direction to the favoured class's in the layers before."""

    name = "mover"
    shares: Mapping[float, float] = {1.0: 0.0, 2.0: 0.5, 4.0: 1.0}
    """By ``alpha_f``: how much of the direction is moved."""
    strengths: tuple[tuple[float, float], ...] = ((10.0, 1.0), (10.0, 2.0), (10.0, 4.0))

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = torch.zeros_like(factors.weight)
        if len(change) == CLASSES:
            change[2] = -factors.weight[2]
        else:
            share = self.shares[strength.alpha_f]
            change[2, 2], change[FAVOURED, 2] = -share, share
        return change


class Louder(Mover):
    """Silences class 2 by a little more than it takes, the more so the weaker it is."""

    name = "louder"

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = super().delta(factors, strength)
        return change * (1 + 1e-4 / strength.alpha_f) if len(change) == CLASSES else change


class CostlyWhereStrong(Mover):
    """The same, and takes certainty from classes 0 and 1 above a strength."""

    name = "costly"

    def __init__(self, kept: float) -> None:
        self._kept = kept

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = super().delta(factors, strength)
        if len(change) == CLASSES and strength.alpha_f > self._kept:
            change[:2] = -0.7 * factors.weight[:2]
        return change


class CostlyWhereDeep(Mover):
    """The same, and takes from what classes 0 and 1 are made of in every layer before the classifier."""

    name = "deep"

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = super().delta(factors, strength)
        if len(change) != CLASSES:
            change[0, 0] = change[1, 1] = -0.6
        return change


class Idle(Mover):
    """Changes nothing, as a solver does that takes no layer for the classifier."""

    name = "idle"

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return torch.zeros_like(factors.weight)


class Unprotected(Mover):
    """Takes certainty from the others unless they are protected."""

    name = "unprotected"

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = super().delta(factors, strength)
        if len(change) == CLASSES and strength.alpha_r < 100:
            change[:2] = -0.7 * factors.weight[:2]
        return change


def search(
    *solvers: Solver,
    layers: int = 3,
    settings: Settings | None = None,
    others: Sequence[str] = (),
    shown: Calibration | None = None,
) -> tuple[Case, SearchResult]:
    """Search among graded solvers, and others after them, for what forgets class 2."""
    known: dict[str, Solver] = {solver.name: solver for solver in solvers} | dict(PLUGINS.solvers(list(others)))
    case = Case(network(layers), {2}, shown=shown, solvers=known)
    assert case.knows()
    wanted = settings or Settings(retained_bar=BAR)
    wanted = replace(wanted, solvers=tuple(known))
    return case, case.search(wanted, grids=grids(known, wanted), resemblance=LIKE_FAVOURED)


def unlikeness(trial: Trial) -> float:
    assert trial.divergence is not None
    return Likeness(trial.separability, trial.divergence).unlikeness


def tried(result: SearchResult) -> list[tuple[str, int, float, float]]:
    return [(t.solver, t.depth, t.alpha_r, t.alpha_f) for t in result.trials]


# -- what is chosen -----------------------------------------------------------------------------------


def test_the_stubs_are_graded_and_the_other_solvers_are_not() -> None:
    built_in = PLUGINS.solvers(["redirect", "projection", "least-squares"])
    assert [name for name, solver in built_in.items() if isinstance(solver, GradedSolver)] == ["redirect"]
    assert isinstance(Mover(), GradedSolver)


def test_what_looks_least_as_if_it_had_seen_the_class_is_chosen_and_of_those_the_deepest() -> None:
    case, result = search(Mover())
    deeper = {(d, f) for d in (2, 3) for f in (1.0, 2.0, 4.0)}
    assert {(t.depth, t.alpha_f) for t in result.trials} == {(1, 1.0), *deeper}
    # Moved as a whole before the classifier, images of class 2 become images of the favoured one.
    assert result.candidate.recipe == Recipe("mover", 3, Strength(10.0, 4.0, 1))
    assert case.forgets(result.candidate.state)
    least = min(unlikeness(t) for t in result.trials)
    near = [t for t in result.trials if unlikeness(t) <= least + DEPTH_TIE]
    assert {t.alpha_f for t in near} == {4.0}
    assert trial_of(result) == max(near, key=lambda t: t.depth)
    assert result.likeness is not None
    assert result.anchor_likeness is not None
    assert (result.anchor_likeness.separability or 0.0) > 0.95
    # An image that is left out counts against its own class: where nothing tells images apart it is below 0.
    assert result.likeness.separability is not None
    assert result.likeness.separability < 0.1
    assert result.anchor_likeness.divergence > 0.01 > result.likeness.divergence


def test_where_all_strengths_look_the_same_the_smallest_edit_wins() -> None:
    _, result = search(Louder(), settings=Settings(depths=(1,), retained_bar=BAR))
    found = [unlikeness(t) for t in result.trials]
    assert max(found) - min(found) <= STRENGTH_TIE
    assert max(found) > 0.6
    assert len({t.edit for t in result.trials}) == len(Louder.strengths)
    assert result.candidate.recipe == Recipe("louder", 1, Strength(10.0, 4.0, 1))


def test_a_strength_that_gives_the_weights_of_the_one_before_is_shown_nothing() -> None:
    _, result = search(Mover(), settings=Settings(depths=(1,), retained_bar=BAR))
    assert tried(result) == [("mover", 1, 10.0, 1.0)]
    assert result.candidate.recipe == Recipe("mover", 1, Strength(10.0, 1.0, 1))
    # Nor is one that does not forget.
    _, idle = search(Idle(), settings=Settings(depths=(1,), solvers=("idle",), retained_bar=BAR))
    assert tried(idle) == [("idle", 1, 10.0, 1.0)]


def test_the_bar_goes_before_looks() -> None:
    kept = 2.0
    case, result = search(CostlyWhereStrong(kept))
    assert result.candidate.recipe.strength.alpha_f <= kept
    assert result.masked_retained.confidence - result.retained.confidence <= BAR
    over = case.build("costly", 2, 10.0, 4.0)
    assert case.masked_confidence() - case.confidence(over.state) > BAR
    _, generous = search(CostlyWhereStrong(kept), settings=Settings(retained_bar=1.0))
    assert generous.candidate.recipe.strength.alpha_f == 4.0


def test_the_best_of_several_graded_solvers_is_chosen_whatever_their_order() -> None:
    for solvers in ((Mover(), CostlyWhereStrong(1.0)), (CostlyWhereStrong(1.0), Mover())):
        _, result = search(*solvers)
        assert result.candidate.recipe == Recipe("mover", 3, Strength(10.0, 4.0, 1))
        assert {t.solver for t in result.trials} == {"mover", "costly"}


# -- where it stops -----------------------------------------------------------------------------------


def test_stronger_edits_are_not_tried_where_one_costs_too_much() -> None:
    _, result = search(CostlyWhereStrong(1.0))
    assert tried(result) == [("costly", depth, 10.0, alpha_f) for depth in (1, 2, 3) for alpha_f in (1.0, 2.0)]
    assert [t.separability is not None for t in result.trials] == [True, False] * 3


def test_deeper_edits_are_not_tried_where_every_one_of_a_depth_costs_too_much() -> None:
    _, result = search(CostlyWhereDeep(), layers=5)
    assert {t.depth for t in result.trials} == {1, 2}
    assert result.candidate.recipe.depth == 1


def test_a_stronger_protection_is_tried_where_a_weaker_one_costs_too_much() -> None:
    settings = Settings(alpha_r=(10.0, 100.0), alpha_f=(1.0, 4.0), retained_bar=BAR)
    _, result = search(Unprotected(), settings=settings)
    assert result.candidate.recipe == Recipe("unprotected", 3, Strength(100.0, 4.0, 1))
    # With as little protection, what is stronger only costs more.
    assert not {t for t in tried(result) if t[2:] == (10.0, 4.0)}


# -- what is tried when nothing will do ---------------------------------------------------------------


@pytest.mark.parametrize("solver", [CostlyWhereStrong(0.0), Idle()])
def test_where_none_forgets_or_keeps_the_bar_the_other_solvers_are_searched(solver: Solver) -> None:
    settings = replace(SETTINGS, alpha_r=Settings().alpha_r, alpha_f=Settings().alpha_f)
    case, result = search(solver, others=["projection", "least-squares"], settings=settings)
    assert result.candidate.recipe.solver in {"projection", "least-squares"}
    assert case.forgets(result.candidate.state)
    assert result.masked_retained.confidence - result.retained.confidence <= BAR
    own = [t for t in result.trials if t.solver == solver.name]
    assert own
    assert all(t.passed == (solver.name == "costly") for t in own)
    assert result.trials[: len(own)] == tuple(own), "graded solvers go first"
    assert result.likeness is None
    assert result.anchor_likeness is not None
    record = VersionRecipe({"search": result.to_json()})
    assert record.likeness == RecordedLikeness()
    # What the others find is what they find without graded solvers.
    alone = case.search(replace(settings, solvers=("projection", "least-squares")))
    assert alone.candidate.recipe == result.candidate.recipe
    assert alone.trials == result.trials[len(own) :]


def test_where_there_are_no_others_what_loses_least_is_returned() -> None:
    case, result = search(CostlyWhereStrong(0.0))
    assert result.candidate.recipe.solver == "costly"
    assert case.forgets(result.candidate.state)
    assert result.masked_retained.confidence - result.retained.confidence > BAR
    json.dumps(result.to_json(), allow_nan=False)


def test_where_it_is_not_known_what_classes_resemble_no_solver_is_graded() -> None:
    case = Case(network(), {2}, solvers={"mover": Mover()})
    settings = Settings(solvers=("mover",), alpha_r=(10.0,), alpha_f=(1.0, 2.0, 4.0), retained_bar=BAR)
    result = case.search(settings, grids={"mover": Mover.strengths}, resemblance=None)
    assert result.candidate.recipe == Recipe("mover", 3, Strength(10.0, 1.0, 1)), "the deepest, of the weakest"
    assert (result.likeness, result.anchor_likeness) == (None, None)


# -- strengths ----------------------------------------------------------------------------------------


def test_a_solver_has_its_own_strengths_unless_the_settings_state_others() -> None:
    solvers: dict[str, Solver] = {"mover": Mover(), **PLUGINS.solvers(["projection"])}
    assert grids(solvers, Settings()) == {"mover": Mover.strengths}
    stated = grids(solvers, Settings(alpha_r=(30.0, 100.0), alpha_f=(1.0, 4.0)))
    assert set(stated) == {"mover"}
    assert sorted(stated["mover"]) == [(30.0, 1.0), (30.0, 4.0), (100.0, 1.0), (100.0, 4.0)]
    assert grids(solvers, Settings(alpha_f=(4.0,)))["mover"] == tuple((r, 4.0) for r in Settings().alpha_r)


def test_strengths_that_a_solver_names_twice_are_tried_once() -> None:
    doubled = Mover()
    doubled.strengths = Mover.strengths * 2
    _, result = search(doubled)
    _, once = search(Mover())
    assert result.trials == once.trials
    assert result.candidate.recipe == once.candidate.recipe


def test_what_the_settings_state_is_what_is_tried() -> None:
    _, result = search(Mover(), settings=Settings(depths=(2,), alpha_r=(30.0,), alpha_f=(2.0,), retained_bar=BAR))
    assert tried(result) == [("mover", 2, 30.0, 2.0)]
    assert result.candidate.recipe == Recipe("mover", 2, Strength(30.0, 2.0, 1))


# -- what is recorded ---------------------------------------------------------------------------------


def test_looks_are_recorded_in_the_recipe_and_read_back() -> None:
    _, result = search(CostlyWhereStrong(1.0))
    document = json.loads(json.dumps({"search": result.to_json()}, allow_nan=False))
    recipe = VersionRecipe(document)
    assert result.likeness is not None
    assert result.anchor_likeness is not None
    for recorded, found in ((recipe.likeness, result.likeness), (recipe.base_likeness, result.anchor_likeness)):
        assert recorded == RecordedLikeness(found.separability, found.divergence)
    for read, trial in zip(recipe.trials, result.trials, strict=True):
        assert (read.separability, read.divergence) == (trial.separability, trial.divergence)
    raw = document["search"]["trials"]
    assert [("separability" in t, "divergence" in t) for t in raw] == [(True, True), (False, False)] * 3
    chosen = trial_of(result)
    assert (chosen.separability, chosen.divergence) == (result.likeness.separability, result.likeness.divergence)


def test_earlier_recipes_tell_of_no_looks() -> None:
    case = Case(network(), {2})
    document = {"search": case.search().to_json()}
    assert not {"likeness", "base_likeness"} & set(document["search"])
    for known in (document, {}, {"search": {"likeness": "much", "base_likeness": {"separability": "?"}}}):
        recipe = VersionRecipe(known)
        assert recipe.likeness == recipe.base_likeness == RecordedLikeness()
    assert all((t.separability, t.divergence) == (None, None) for t in VersionRecipe(document).trials)


# -- the redirection itself ---------------------------------------------------------------------------


class Redirected(Case):
    """The same with the statistics of classes as they are collected, for the built-in solver."""

    def __init__(
        self, net: Network, forgotten: Sequence[int], *, order: int = 1, shown: Calibration | None = None
    ) -> None:
        known = PLUGINS.solvers(["redirect", "projection", "least-squares"])
        super().__init__(net, forgotten, shown=shown, solvers=known)
        keys = [layer.maps[0].key for layer in net.layers]
        bases = {role: Basis(role, keys, torch.device("cpu")) for role in (Role.RETAIN, Role.FORGET)}
        for k in range(CLASSES):
            images = features(k, 50, k)
            sampler = PositionSampler(0, k, len(images))
            found = collect_spaces(net, [images], sampler, max_rank=WIDTH, class_index=k)
            bases[Role.FORGET if k in self.forgotten else Role.RETAIN].add(k, found)
        displacements = Displacements(bases[Role.RETAIN], bases[Role.FORGET])
        self.resemblance = Resemblance(displacements.retained, dict(list(displacements.mixtures.items())[::order]))
        self.grids = grids(known, Settings())
        self.builder = CandidateBuilder(
            net.state(),
            [layer.maps for layer in net.layers],
            retain=bases[Role.RETAIN].spaces,
            forget=bases[Role.FORGET].spaces,
            solvers=known,
            forgotten=list(forgotten),
            classes=CLASSES,
            displacement=displacements.of,
        )

    def redirect(self) -> SearchResult:
        settings = Settings(solvers=("redirect", "projection", "least-squares"), retained_bar=BAR)
        return self.search(settings, grids=self.grids, resemblance=self.resemblance)


@pytest.mark.parametrize("forgotten", [[2], [0, 1], [0, 1, 2]])
def test_redirected_classes_are_forgotten_and_look_less_as_if_they_had_been_seen(forgotten: list[int]) -> None:
    case = Redirected(network(), forgotten)
    assert case.knows()
    result = case.redirect()
    assert result.candidate.recipe.solver == "redirect"
    assert case.forgets(result.candidate.state)
    assert {k: scores.accuracy for k, scores in result.forgotten.items()} == dict.fromkeys(forgotten, 0.0)
    assert result.masked_retained.confidence - result.retained.confidence <= BAR
    assert result.likeness is not None
    assert result.anchor_likeness is not None
    assert result.likeness.unlikeness < result.anchor_likeness.unlikeness
    assert result.candidate.recipe.strength.classes == len(forgotten)


@pytest.mark.parametrize("forgotten", [[1, 2], [0, 1, 2]])
def test_the_order_of_classes_does_not_matter(forgotten: list[int]) -> None:
    first = Redirected(network(), forgotten).redirect()
    second = Redirected(network(), forgotten[::-1], order=-1).redirect()
    assert first.candidate.recipe == second.candidate.recipe
    assert tried(first) == tried(second)
    for one, other in zip(first.trials, second.trials, strict=True):
        assert one.separability == pytest.approx(other.separability, abs=1e-6)
        assert one.divergence == pytest.approx(other.divergence, abs=1e-6)
    for name, tensor in first.candidate.state.items():
        torch.testing.assert_close(tensor, second.candidate.state[name], rtol=0, atol=1e-6)


def test_the_order_of_calibration_images_does_not_matter_where_all_are_looked_at() -> None:
    forgotten, retained = batches({2}, features, 40), batches([0, 1, FAVOURED], features, 80)
    found = [
        Redirected(network(), [2], shown=shown).redirect()
        for shown in (Calibration(forgotten, retained), Calibration(forgotten[::-1], retained[::-1]))
    ]
    assert found[0].candidate.recipe == found[1].candidate.recipe
    likes = [one.likeness for one in found if one.likeness is not None]
    assert likes[0].separability == pytest.approx(likes[1].separability, abs=1e-9)
    assert likes[0].divergence == pytest.approx(likes[1].divergence, abs=1e-9)


# -- how many images ------------------------------------------------------------------------------------


def many(count: int = 300) -> Calibration:
    """Return calibration images of which 128 are known before others, and by which and 64 more all are compared."""
    return Calibration(batches([2], features, 40), batches([0, 1, FAVOURED], features, count), alike=8, compared=4)


def chosen_shown(result: SearchResult) -> int:
    shown = trial_of(result).shown
    assert shown is not None
    return shown


def test_few_retained_images_decide_where_it_is_clear_and_what_is_chosen_is_shown_all() -> None:
    shown = many()
    case, result = search(Mover(), shown=shown, settings=Settings(retained_bar=0.05))
    everything = sum(len(batch.labels) for batch in shown.retained)
    assert result.retained_images == everything == 900
    assert all((t.shown or 0) < everything for t in result.trials)
    assert 128 + 64 <= chosen_shown(result) < 600
    # Recorded is what all of them tell.
    assert result.retained.confidence == pytest.approx(case.confidence(result.candidate.state), abs=1e-6)
    assert trial_of(result).retained == pytest.approx(result.retained.confidence, abs=1e-6)
    document = json.loads(json.dumps(result.to_json()))
    assert (document["retained_images"], document["early_error"]) == (900, 0.05)
    assert chosen_shown(result) in [trial["shown"] for trial in document["trials"]]


def test_without_an_error_every_candidate_that_keeps_the_bar_is_shown_all() -> None:
    shown = many()
    settings = Settings(retained_bar=0.05)
    _, early = search(Mover(), shown=shown, settings=settings)
    _, late = search(Mover(), shown=shown, settings=replace(settings, early_error=0.0))
    assert late.candidate.recipe == early.candidate.recipe
    assert chosen_shown(late) == 900
    assert torch.equal(*(torch.cat([t.flatten() for t in one.candidate.state.values()]) for one in (late, early)))


def test_what_was_taken_for_keeping_the_bar_and_breaks_it_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = search(CostlyWhereStrong(1.0), shown=many(), settings=Settings(depths=(1,), retained_bar=BAR))
    costly = [t for t in plain.trials if t.alpha_f > 1.0]
    assert costly
    assert all((t.retained or 0.0) < plain.masked_retained.confidence - BAR for t in costly)
    # A test that errs each time: all candidates are taken for such that keep the bar.
    monkeypatch.setattr(CandidateEvaluator, "bar", lambda self, _: BarFinding(keeps=True, loss=0.0, confidence=1.0))
    _, fooled = search(CostlyWhereStrong(1.0), shown=many(), settings=Settings(depths=(1,), retained_bar=BAR))
    assert fooled.candidate.recipe == plain.candidate.recipe
    assert fooled.candidate.recipe.strength.alpha_f == 1.0
