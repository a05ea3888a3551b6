"""Losses are measured against the masked original: the anchor weights, which may not answer a forgotten class.

The network here takes some retained images for the forgotten class. So whatever forgets that class gains against the
anchor weights, and only the mask shows what it costs.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ledger.algebra.covariance import CovarianceAccumulator
from ledger.algebra.map_factors import MapFactors
from ledger.algebra.spaces import Space
from ledger.algebra.strength import Strength
from ledger.answers.calibration import Batch, Calibration
from ledger.answers.predictions import Predictions, Scores
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.candidates.evaluation import CandidateEvaluator
from ledger.candidates.predictor import CandidatePredictor
from ledger.candidates.search import RecipeSearch
from ledger.candidates.search_result import SearchResult
from ledger.domain.recipe import VersionRecipe
from ledger.domain.settings import Settings
from ledger.hookspecs import Solver
from ledger.networks.network import Network
from ledger.plugin_manager import build_plugins

CLASSES, FORGOTTEN = 4, 3
IMAGES = 40
"""Of each class; half of class 0 look more like the forgotten class, a quarter of class 1 nearly like class 2."""
SETTINGS = Settings(depths=(1,), alpha_r=(10.0,), alpha_f=(1.0,), max_retained_drop=0.05)


def images(k: int) -> Tensor:
    """Return logits, as the network hands them on, of images (n, CLASSES, 1, 1) of one class."""
    logits = 4 * torch.eye(CLASSES)[k].repeat(IMAGES, 1)
    if k == 0:
        logits[::2, FORGOTTEN] = 5
    if k == 1:
        logits[::4, 2] = 3.8
    return logits.reshape(IMAGES, CLASSES, 1, 1)


def batch(*classes: int) -> Batch:
    return Batch(torch.cat([images(k) for k in classes]), torch.tensor(classes).repeat_interleave(IMAGES))


def space(k: int) -> Space:
    accumulator = CovarianceAccumulator(CLASSES, max_rank=CLASSES)
    accumulator.update(images(k).flatten(1))
    return accumulator.space()


class Hushing:
    """Takes the forgotten class out of the answers; if blunt, takes doubtful images of class 1 for class 2."""

    def __init__(self, name: str, *, blunt: bool) -> None:
        self.name = name
        self._blunt = blunt

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        change = torch.zeros_like(factors.weight)
        change[FORGOTTEN] = -factors.weight[FORGOTTEN]
        # What is left of the forgotten class is far below any other answer to an image of it.
        change[FORGOTTEN, :] -= 1
        if self._blunt:
            change[2, 1] = 0.1
        return change


class Case:
    """A network that hands logits on, and the search for how to forget its last class."""

    def __init__(self, *solvers: Solver, masked: frozenset[int] = frozenset({FORGOTTEN})) -> None:
        head = nn.Linear(CLASSES, CLASSES, bias=False)
        with torch.no_grad():
            head.weight.copy_(torch.eye(CLASSES))
        self.net = Network.of(nn.Sequential(nn.Flatten(), head), build_plugins().layer_handlers())
        self.shown = Calibration((batch(FORGOTTEN),), (batch(0, 1, 2),))
        self.builder = CandidateBuilder(
            self.net.state(),
            [layer.maps for layer in self.net.layers],
            retain=lambda _key: [space(k) for k in range(CLASSES) if k != FORGOTTEN],
            forget=lambda _key: [space(FORGOTTEN)],
            solvers={solver.name: solver for solver in solvers},
        )
        self.predictor = CandidatePredictor(self.net, self.shown, (1,), masked)

    def evaluator(self, settings: Settings = SETTINGS) -> CandidateEvaluator:
        return CandidateEvaluator(self.predictor, CLASSES, [FORGOTTEN], settings)

    def search(self, **changes: object) -> SearchResult:
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        return RecipeSearch(self.builder, self.predictor, CLASSES, frozenset({FORGOTTEN}), settings).run()


def test_the_masked_original_shares_all_probability_among_the_retained_classes() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, 5.0], [0.0, 3.0, 1.0, 0.0]])
    labels = torch.tensor([0, 1])
    plain, masked = Predictions.of(logits, labels), Predictions.of(logits, labels, {FORGOTTEN})
    expected = Predictions.of(logits[:, :FORGOTTEN], labels)
    assert plain.correct.tolist() == [False, True]
    assert masked.correct.tolist() == expected.correct.tolist() == [True, True]
    torch.testing.assert_close(masked.confidence, expected.confidence)
    assert (masked.confidence > plain.confidence).all()
    # Without a mask nothing changes, and the logits are those of before.
    assert torch.equal(Predictions.of(logits, labels, ()).confidence, plain.confidence)
    assert logits[0, FORGOTTEN] == 5


def test_all_that_is_forgotten_is_masked_also_what_nobody_asks_about_now() -> None:
    # Class 2 was forgotten before the anchor: it has no calibration images, but still competes for answers.
    shown = Calibration((batch(FORGOTTEN),), (batch(0, 1),))
    case = Case(Hushing("careful", blunt=False))
    one, both = (CandidatePredictor(case.net, shown, (1,), mask) for mask in ({FORGOTTEN}, {2, FORGOTTEN}))
    few, more = (predictor.masked_predictions(shown.retained[0]) for predictor in (one, both))
    assert (more.confidence > few.confidence).all()
    expected = Predictions.of(shown.retained[0].images.flatten(1)[:, :2], shown.retained[0].labels)
    torch.testing.assert_close(more.confidence, expected.confidence)


def test_an_edit_that_gains_against_the_anchor_may_lose_against_the_mask() -> None:
    case = Case(Hushing("blunt", blunt=True), Hushing("careful", blunt=False))
    evaluator = case.evaluator()
    plain, masked = evaluator.anchor_retained, evaluator.masked_retained
    # Half of the images of class 0 are taken for the forgotten class.
    assert plain.accuracy == pytest.approx(5 / 6)
    assert masked.accuracy == 1
    assert evaluator.anchor_forgotten()[FORGOTTEN].correct == IMAGES

    blunt, careful = (case.builder.build(Recipe(name, 1, Strength(10.0, 1.0, 1))) for name in ("blunt", "careful"))
    for candidate, keeps in ((blunt, False), (careful, True)):
        each, retained = evaluator.scores(candidate)
        assert each[FORGOTTEN].accuracy == 0
        finding = evaluator.retention(candidate)
        assert finding.loss == pytest.approx(masked.confidence - retained.confidence, abs=1e-6)
        assert finding.confidence == pytest.approx(retained.confidence, abs=1e-6)
        assert (finding.loss <= SETTINGS.retained_bar) == keeps
        assert evaluator.passes_gates(candidate) == keeps
        # Against the anchor weights, both gain.
        assert retained.confidence > plain.confidence
        assert retained.accuracy > plain.accuracy
    assert evaluator.scores(blunt)[1].accuracy == pytest.approx(11 / 12)


def test_the_search_passes_over_what_only_the_plain_figure_likes() -> None:
    case = Case(Hushing("blunt", blunt=True), Hushing("careful", blunt=False))
    result = case.search(solvers=("blunt", "careful"))
    assert {trial.solver: trial.passed for trial in result.trials} == {"blunt": True, "careful": True}
    assert result.candidate.recipe.solver == "careful"
    assert result.lost == 0
    alone = Case(Hushing("blunt", blunt=True)).search(solvers=("blunt",))
    assert alone.lost > SETTINGS.max_retained_drop


class Gradual(Hushing):
    """Does nothing at a strength of 1."""

    def delta(self, factors: MapFactors, strength: Strength) -> Tensor:
        return super().delta(factors, strength) * (strength.alpha_f > 1)


def test_what_a_class_still_takes_is_no_reason_to_give_up_before_it_is_forgotten() -> None:
    case = Case(Gradual("gradual", blunt=False))
    weak = case.builder.build(Recipe("gradual", 1, Strength(10.0, 1.0, 1)))
    finding = case.evaluator().retention(weak)
    assert finding.loss > SETTINGS.retained_bar
    assert finding.plain_loss == pytest.approx(0, abs=1e-6)
    result = case.search(solvers=("gradual",), alpha_f=(1.0, 10.0))
    assert [(trial.alpha_f, trial.passed) for trial in result.trials] == [(1.0, False), (10.0, True)]
    assert result.candidate.recipe.strength.alpha_f == 10


def test_a_recipe_records_both_figures() -> None:
    result = Case(Hushing("careful", blunt=False)).search(solvers=("careful",))
    recipe = VersionRecipe({"search": result.to_json()})
    assert Scores(recipe.base_retained.accuracy or 0, recipe.base_retained.confidence or 0) == result.anchor_retained
    assert Scores(recipe.mask_retained.accuracy or 0, recipe.mask_retained.confidence or 0) == result.masked_retained
    assert recipe.mask_retained != recipe.base_retained
    # A recipe of an earlier release does not say.
    del recipe.document["search"]["mask_retained"]
    assert (recipe.mask_retained.accuracy, recipe.mask_retained.confidence) == (None, None)
