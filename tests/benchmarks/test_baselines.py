"""The comparison of methods: what is made and kept, what is looked at once, and lines that become tables."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ledger.errors import NonFiniteError
from ledger.evaluator_input import Depth, NetworkRole, SplitName
from ledger.networks.inference import logits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THREE, ALL = frozenset({3}), frozenset[int]()


@pytest.fixture(scope="module")
def contest(script: Callable[[str], Any], shelf: Any) -> Any:
    shelf.get(THREE, 0), shelf.get(THREE, 1), shelf.get(ALL, 0)
    return script("contest").Contest(shelf, [THREE], [0], limit=40)


@pytest.fixture
def workshop(script: Callable[[str], Any], contest: Any, tmp_path: Path) -> Any:
    return script("workshop").Workshop(tmp_path / "made", contest)


@pytest.fixture(scope="module")
def gallery(script: Callable[[str], Any], shelf: Any, contest: Any) -> Any:
    return script("examined").Gallery(shelf, contest.task(THREE, 0).state(), train_each=30, test_each=20)


def method(script: Any, name: str) -> Any:
    [found] = script("workshop").methods_named([name])
    return found


def test_a_task_is_of_bounded_images_and_of_the_network_of_its_seed(contest: Any, shelf: Any) -> None:
    task = contest.task(THREE, 0)
    assert len(contest.task(THREE, 0, gradients=True).data) == 400
    assert len(task.data) == len(shelf.source.train.labels)
    stored = shelf.get(ALL, 0).state()
    assert all(torch.equal(stored[name], tensor) for name, tensor in task.state().items())
    assert sorted(contest.retrained(THREE)) == [0, 1]
    assert contest.retrained(frozenset({4})) == {}
    given = replace(contest, registered=shelf.get(ALL, 0).weights, never_saw=[shelf.get(THREE, 1).weights])
    assert sorted(given.retrained(THREE)) == [0]
    assert given.retrained(frozenset({4})) == {}


def test_our_entry_is_a_request_to_a_ledger(contest: Any, tmp_path: Path) -> None:
    outcome, chosen = contest.ours(THREE, 0, tmp_path / "ledger")
    assert chosen.startswith("redirect, ")
    task = contest.task(THREE, 0)
    with torch.inference_mode():
        answers = torch.func.functional_call(task.network, outcome.state, (task.asked.images,))
    assert float((answers.argmax(1) == 3).double().mean()) <= 0.01
    assert outcome.forward > 0
    assert outcome.seconds > 0
    assert outcome.backward == 0


def test_what_is_made_is_kept_and_not_made_again(script: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = method(script, "logit mask")
    entry = workshop.made(mask, THREE, 0)
    monkeypatch.setattr(script("workshop"), "carry_out", None)
    again = workshop.made(mask, THREE, 0)
    assert again == entry
    assert float(entry.state()["10.bias"][3]) == -1e4
    assert entry.facts["setting"] == {}
    assert entry.facts["forward"] == 0
    entry.weights.write_bytes(entry.weights.read_bytes()[:-1] + b"\7")
    with pytest.raises(SystemExit, match="tells of other weights"):
        workshop.made(mask, THREE, 0)


def test_weights_made_from_other_images_are_not_taken(script: Any, workshop: Any, contest: Any) -> None:
    mask = method(script, "logit mask")
    workshop.made(mask, THREE, 0)
    other = script("workshop").Workshop(workshop.folder.parent, replace(contest, limit=20))
    with pytest.raises(SystemExit, match="tells of other weights"):
        other.made(mask, THREE, 0)


def test_a_setting_is_chosen_once_for_a_network(script: Any, workshop: Any) -> None:
    last = method(script, "last layer only")
    chosen = workshop.settings(last)
    noted = json.loads((workshop.folder / "settings.json").read_text())["last layer only"]
    scores = {json.dumps(setting): score for setting, score in noted["tried"]}
    assert len(scores) == len(last.settings)
    assert scores[json.dumps(chosen)] == max(scores.values())
    # Known by now: no task is needed.
    (workshop.folder / "settings.json").write_text(json.dumps({"last layer only": {"setting": {"alpha_f": 7.0}}}))
    assert workshop.settings(last) == {"alpha_f": 7.0}


def test_a_refused_request_leaves_a_gap(script: Any, workshop: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def refused(*_: Any) -> Any:
        raise script("registered").Refused("a gate")

    monkeypatch.setattr(script("contest").Contest, "ours", refused)
    assert workshop.ours(THREE, 0, tmp_path / "ledger") is None


def test_a_method_nobody_knows_is_named(script: Any) -> None:
    with pytest.raises(SystemExit, match="no method is called magic"):
        script("workshop").methods_named(["SSD", "magic"])
    assert script("workshop").methods_named([]) == list(script("methods.catalogue").METHODS)


def test_evaluators_see_weights_as_the_ledger_shows_them(gallery: Any, contest: Any) -> None:
    state = contest.retrained(THREE)[0]
    seen = gallery.exhibit(state)
    assert gallery.exhibit(dict(state)) is seen
    images = gallery.images(SplitName.TEST, range(len(seen.test.labels)))
    assert len(images) == 200
    expected = logits(gallery.network, state, [images]).double().softmax(1).numpy()
    np.testing.assert_allclose(seen.test.probabilities, expected, atol=1e-6)
    assert np.bincount(seen.train.labels).tolist() == [30] * 10
    features = seen.features(SplitName.TEST, Depth.PENULTIMATE)
    assert features.shape == (200, 64)
    assert seen.features(SplitName.TEST, Depth.ONE_THIRD) is None
    copy = seen.copy()
    with torch.inference_mode():
        np.testing.assert_allclose(copy(images).double().softmax(1).numpy(), expected, atol=1e-6)
    assert copy is not gallery.network.module


def test_an_input_shows_who_is_there(gallery: Any, contest: Any) -> None:
    version, original = (gallery.exhibit(s) for s in (contest.retrained(THREE)[0], contest.task(THREE, 0).state()))
    whole = gallery.input(version, original, THREE, retrained=version)
    assert set(whole.networks) == {NetworkRole.VERSION, NetworkRole.ORIGINAL, NetworkRole.RETRAINED}
    alone = gallery.input(version, original, THREE, retrained=version, alone=True, seed=4)
    assert set(alone.networks) == {NetworkRole.VERSION}
    assert alone.seed == 4
    found = gallery.ask("accuracy", alone)
    # It never saw the class, and the original knew it.
    assert found["test"]["forgotten"] == 0
    assert found["base_test"]["forgotten"] > 0.9
    first, again, other = (gallery.fresh(seed).state_dict()["10.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(SystemExit, match="no evaluator is called taste"):
        gallery.ask("taste", alone)


def test_reference_models_of_an_attack_are_trained_once_for_a_class(
    script: Any, gallery: Any, contest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined, scorecard = script("examined"), script("scorecard")
    prepared: list[frozenset[int]] = []

    class Quick(examined.RmiaEvaluator):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(pairs=1, epochs=1)

        def prepare(self, data: Any) -> Any:
            prepared.append(data.forgotten)
            return super().prepare(data)

    monkeypatch.setattr(examined, "RmiaEvaluator", Quick)
    original, never = (gallery.exhibit(s) for s in (contest.task(THREE, 0).state(), contest.retrained(THREE)[0]))
    sittings = [scorecard.Sitting(gallery, version, original, THREE, None, 0) for version in (original, never)]
    known, unknown = (scorecard.rmia(sitting) for sitting in sittings)
    assert prepared == [THREE]
    assert 0 <= known["rmia_auc"] <= 1
    # It never answers the class: all scores are the same.
    assert known["rmia_auc"] != unknown["rmia_auc"]
    # With 20 test images of the class there is no rate of one in a hundred.
    assert known["rmia_tpr"] is None


def line(script: Any, method: str, seed: int = 0, forgotten: str = "3", **figures: float | None) -> Any:
    return script("lineup").Line(method, forgotten, seed, figures, {"seconds": 2.0})


def test_gaps_are_to_the_mean_of_those_that_never_saw_the_class(script: Any) -> None:
    lineup = script("lineup")
    lines = [
        line(script, "ours", probe=0.6),
        line(script, lineup.RETRAINED, probe=0.4),
        line(script, lineup.RETRAINED, seed=1, probe=0.6),
        line(script, "ours", forgotten="4", probe=0.9),
        line(script, "ours", seed=1, probe=None),
    ]
    found = [one.figures["probe_gap"] for one in lineup.with_gaps(lines)]
    assert found[0] == pytest.approx(0.1)
    # Each of the two, beside the other.
    assert found[1:3] == [pytest.approx(0.2), pytest.approx(0.2)]
    assert found[3:] == [None, None]


def test_tables_gather_lines_by_method_and_leave_out_what_nobody_knows(script: Any) -> None:
    lines = [
        line(script, "a", forgotten="1", forgot=1.0, loss=0.001, worst_loss=0.02),
        line(script, "a", forgotten="2", loss=0.003, worst_loss=0.05, tv=None),
        line(script, "b", forgotten="1", loss=-0.0000001),
    ]
    answers, cost = script("lineup").tables(lines).split("\n\nCost:\n\n")
    assert answers.splitlines()[2:] == [
        "| weights | loss against the mask, points | worst class |",
        "|---|---|---|",
        "| a | +0.20 | +5.0 |",
        "| b | +0.00 |  |",
    ]
    assert cost.splitlines()[-1] == "| b | 2.0 |"


def test_weights_that_answer_no_number_are_a_line_without_figures(
    script: Any, workshop: Any, gallery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    baselines = script("baselines")

    def broken(*_: Any) -> Any:
        raise NonFiniteError("NaN")

    monkeypatch.setattr(baselines, "kept", broken)
    monkeypatch.setattr(baselines, "made", lambda *_: iter([workshop.made(method(script, "logit mask"), THREE, 0)]))
    lines = list(baselines.Comparison(workshop, gallery, ["light"]).lines([], THREE, 0))
    assert [(one.method, one.figures) for one in lines] == [
        ("original", {}),
        ("logit mask", {}),
        ("retrained without it", {}),
    ]
    assert lines[1].cost["forward"] == 0


def test_figures_are_measured_once_for_the_same_weights(
    script: Any, gallery: Any, contest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorecard = script("scorecard")
    version, original = (gallery.exhibit(s) for s in (contest.retrained(THREE)[0], contest.task(THREE, 0).state()))
    sitting = scorecard.Sitting(gallery, version, original, THREE, None, 0)
    asked: list[int] = []

    def measuring(one: Any) -> dict[str, float]:
        asked.append(one.seed)
        return {"forgotten": 0.0}

    monkeypatch.setitem(scorecard.MEASURES, "light", measuring)
    path = tmp_path / "figures.json"
    for one in (sitting, sitting, replace(sitting, version=original), replace(sitting, version=original, seed=1)):
        assert scorecard.kept(path, "light", one) == {"forgotten": 0.0}
    assert asked == [0, 0, 1]


def test_the_whole_comparison_on_a_small_network(
    script: Any,
    shelf: Any,
    contest: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    baselines = script("baselines")
    monkeypatch.setattr(baselines, "chosen_reference", lambda _: shelf.reference)
    written = tmp_path / "lines.json"
    given = [str(shelf.folder), str(tmp_path / "made"), "--classes", "3", "--training-seeds", "0", "--limit", "40"]
    given += ["--train-images", "30", "--test-images", "20", "--methods", "logit mask", "DAMP", "--also", "statistics"]
    monkeypatch.setattr(sys, "argv", ["baselines.py", *given, "--only-make"])
    baselines.main()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "argv", ["baselines.py", *given, "--json", str(written)])
    baselines.main()
    first = capsys.readouterr().out
    lines = {one["method"]: one["figures"] for one in json.loads(written.read_text())}
    assert list(lines) == ["original", "logit mask", "DAMP", "ours (redirect)", "retrained without it"]
    assert lines["original"]["forgotten"] > 0.9
    assert lines["logit mask"]["forgotten"] == lines["logit mask"]["loss"] == 0
    # Nothing of the features changed, so nothing that is read from them did.
    for name in ("probe", "probe_sgd", "nearest", "five_shot"):
        assert lines["logit mask"][name] == lines["original"][name] > 0.8
    assert lines["retrained without it"]["forgotten"] == 0
    assert lines["ours (redirect)"]["forgotten"] <= 0.05
    assert lines["ours (redirect)"]["tv"] < lines["original"]["tv"]
    assert "| ours (redirect) |" in first
    # Figures are kept: the same table, to the last digit.
    baselines.main()
    assert capsys.readouterr().out == first
