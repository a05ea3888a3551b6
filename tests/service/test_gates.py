"""Gates: a policy blocks what does not hold, and the ways on from there are recorded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ledger.config import find_config
from ledger.domain.conditions import BARE_NAMES, FIGURES
from ledger.domain.levels import EvidenceLevel
from ledger.domain.states import Action, RequestState
from ledger.errors import GateError, UnknownClassError, UsageError
from ledger.service.computation import unlearning
from ledger.service.computation.compute import open_unlearning
from ledger.service.computation.workbench import open_workbench
from ledger.service.evidence.certificates import issue
from ledger.service.evidence.evaluation import evaluate
from ledger.service.evidence.gating import open_gated
from ledger.service.evidence.verification import read_statement
from ledger.service.gates import gates_digest, gates_of
from ledger.service.progress import Silent
from ledger.service.requests.decisions import decide
from ledger.service.requests.listing import request_history
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.versions import Version

IMPOSSIBLE = 'conditions = ["accuracy.test.retained >= 1.5"]'
"""No network holds it."""


@pytest.fixture
def gated(open_desk: Callable[[Path], Desk], _registered: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose workers measure what they compute, as they do unless told otherwise."""
    monkeypatch.setattr(Desk, "open_model", staticmethod(open_gated))
    return open_desk(_registered)


def set_policy(desk: Desk, *lines: str) -> str:
    """Write a policy into ``unledger.toml``, open the ledger again, and return the digest of the model's gates."""
    file = desk.root / "unledger.toml"
    plain = file.read_text().split("[gates]")[0]
    file.write_text(plain + "[gates]\n" + "\n".join(lines) + "\n")
    desk.ledger = desk.open_again()
    assert find_config(desk.root).gates == desk.ledger.config.gates
    return digest(desk)


def digest(desk: Desk) -> str:
    return gates_digest(gates_of(desk.ledger, desk.model()))


def level(desk: Desk, version: Version) -> EvidenceLevel:
    with desk.ledger.database.read() as tx:
        tx.trusted.evidence(MODEL)
        return tx.versions.weights_evidence(version).level


def evaluations(desk: Desk) -> list[int]:
    """Return of which version each measurement was recorded."""
    return [event.data["version"] for event in desk.events("version.evaluated")]


def test_without_a_policy_what_work_makes_is_measured(gated: Desk) -> None:
    assert gated.test_accuracy(0)[3] > 0.9
    before = len(evaluations(gated))
    version = gated.forget(3)
    assert level(gated, version) is EvidenceLevel.OUTPUTS
    assert evaluations(gated)[before:] == [version.number] * 2
    [fulfilled] = gated.events("request.fulfilled")
    assert fulfilled.data["gates"] == digest(gated)
    assert "missed" not in fulfilled.data
    with gated.ledger.database.read() as tx:
        found = tx.versions.weights_evidence(version).standing["accuracy"]
    assert found.metrics["forgotten_accuracy"] <= 0.1
    assert found.provenance.weights == version.weights
    # The entry is as old as the version that it is about.
    [created] = [event for event in gated.events("version.created") if event.data["version"] == version.number]
    assert found.created_at == created.at


def test_a_condition_that_does_not_hold_blocks_and_tells_the_figures(gated: Desk) -> None:
    held = set_policy(gated, IMPOSSIBLE)
    gated.file(3)
    [done] = gated.work()
    assert isinstance(done.error, GateError)
    assert (done.version, done.request.state) == (None, RequestState.BLOCKED)
    assert "accuracy.test.retained is 0.9" in done.request.outcome
    assert "asks for accuracy.test.retained >= 1.5" in done.request.outcome
    [blocked] = gated.events("request.blocked")
    assert (blocked.data["gates"], blocked.data["missed"]) == (held, ["accuracy.test.retained >= 1.5"])
    assert (done.error.gates, list(done.error.missed)) == (held, blocked.data["missed"])
    assert "unledger request retry 1 --solver projection" in done.error.hint
    assert "unledger request retry 1 --waive REASON" in done.error.hint
    # What was measured of weights that are no version is told, and recorded nowhere.
    assert evaluations(gated) == []
    assert gated.live().number == 0


def test_a_waiver_is_recorded_with_its_reason_and_what_was_missed(gated: Desk) -> None:
    held = set_policy(gated, IMPOSSIBLE)
    gated.file(3)
    gated.work()
    gated.ledger.clock = lambda: gated.later(1)
    decide(gated.ledger, 1, Action.RETRY, "good enough for the archive", waive_gates=True)
    [done] = gated.work()
    assert done.version is not None
    assert level(gated, done.version) is EvidenceLevel.OUTPUTS
    [fulfilled] = gated.events("request.fulfilled")
    assert fulfilled.data["missed"] == ["accuracy.test.retained >= 1.5"]
    assert (fulfilled.data["gates_missed"], fulfilled.data["gates"]) == (1, held)
    assert "waived: accuracy.test.retained is 0.9" in done.request.outcome
    found = request_history(gated.ledger, 1)
    assert found.waiver == "good enough for the archive"
    assert found.missed_gates == ("accuracy.test.retained >= 1.5",)
    assert found.gates == held
    procedure = read_statement(issue(gated.ledger, 1).certificate)["predicate"]["procedure"]
    assert procedure["gatesMissed"] == 1
    assert procedure["gates"] == {"policy": held, "missed": ["accuracy.test.retained >= 1.5"]}


def projecting(desk: Desk) -> None:
    """Register the digits network with one solver, which costs the retained classes a little."""
    desk.register("projected", replace(desk.digits.settings, solvers=("projection",)))


def test_a_request_that_one_solver_fails_is_fulfilled_by_another(gated: Desk) -> None:
    projecting(gated)
    set_policy(gated, 'conditions = ["loss_against_mask <= 0.005"]')
    gated.file(3, model="projected")
    [blocked] = gated.work()
    assert isinstance(blocked.error, GateError)
    assert "loss_against_mask is 0.01" in blocked.error.message
    assert "unledger request retry 1 --solver redirect" in blocked.error.hint

    with pytest.raises(UsageError, match="no solver is called magic"), gated.unchanged():
        gated.decide(1, Action.RETRY, solvers=["magic"])
    version = gated.retry(1, solvers=["redirect", "redirect"])
    assert version is not None
    assert version.recipe.solver == "redirect"
    assert version.recipe.named_solvers == ("redirect",)
    [retried] = gated.events("request.retried")
    assert retried.data["solvers"] == ["redirect"]
    assert request_history(gated.ledger, 1).solvers == ("redirect",)


def test_named_solvers_belong_to_the_set_that_they_computed(gated: Desk) -> None:
    plain = gated.forget(3)
    assert (plain.recipe.solver, plain.recipe.named_solvers) == ("redirect", None)
    gated.roll_back(0)
    named = gated.retry(1, solvers=["projection"])
    assert named is not None
    assert named.recipe.named_solvers == ("projection",)
    assert named.weights != plain.weights, "what the model's solvers computed was taken for it"

    # Another set is computed by the solvers of the model, whatever was named for a part of it.
    both = gated.forget(8)
    assert both.forgotten == {3, 8}
    assert (both.recipe.solver, both.recipe.named_solvers) == ("redirect", None)

    # The set has what was decided for it, found again and not measured again.
    before = len(evaluations(gated))
    back = gated.withdraw(2)
    assert back is not None
    assert (back.weights, back.recipe) == (named.weights, named.recipe)
    assert len(evaluations(gated)) == before
    assert level(gated, back) is EvidenceLevel.OUTPUTS

    # A rollback is a decision as well: the newest version of the set counts.
    gated.roll_back(plain.number)
    gated.forget(7)
    again = gated.withdraw(3)
    assert again is not None
    assert (again.weights, again.recipe.named_solvers) == (plain.weights, None)
    assert len(evaluations(gated)) == before + 2


def test_a_withdrawal_has_to_pass_too_and_tells_its_ways_on(gated: Desk) -> None:
    for digit in (3, 8):
        gated.forget(digit)
    held = set_policy(gated, IMPOSSIBLE)
    with pytest.raises(GateError, match=r"accuracy\.test\.retained is 0\.9") as caught, gated.unchanged():
        gated.withdraw(1)
    assert "unledger request withdraw 1 --waive REASON" in caught.value.hint
    assert "unledger request withdraw 1 --solver projection" in caught.value.hint
    version = gated.withdraw(1, waive_gates=True, solvers=["least-squares"])
    assert version is not None
    assert version.recipe.named_solvers == ("least-squares",)
    [withdrawn] = gated.events("request.withdrawn")
    assert withdrawn.data["gates_waived"] is True
    assert (withdrawn.data["gates"], withdrawn.data["missed"]) == (held, ["accuracy.test.retained >= 1.5"])
    assert withdrawn.data["solvers"] == ["least-squares"]
    found = request_history(gated.ledger, 1)
    assert (found.waiver, found.solvers) == ("asked to", ("least-squares",))
    # The other request is certified by what a withdrawal made of it.
    procedure = read_statement(issue(gated.ledger, 2, live=True).certificate)["predicate"]["procedure"]
    assert procedure["gates"] == {"policy": held, "missed": ["accuracy.test.retained >= 1.5"]}
    assert level(gated, version) is EvidenceLevel.OUTPUTS


def test_nothing_is_measured_where_nothing_is_forgotten(gated: Desk) -> None:
    gated.forget(3)
    set_policy(gated, IMPOSSIBLE)
    before = len(evaluations(gated))
    version = gated.withdraw(1)
    assert version is not None
    assert (version.forgotten, len(evaluations(gated))) == (frozenset(), before)


def test_a_class_that_comes_back_with_a_later_request_blocks_it(gated: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    set_policy(gated, 'conditions = ["forgotten_accuracy <= 0.05"]')
    gated.forget(3)
    assert gated.test_accuracy()[3] <= 0.05
    propose = unlearning.propose

    def careless(bench: Any, forgotten: frozenset[int], progress: Any) -> Any:
        # It forgets what it is asked to forget last, and gives back what was forgotten before.
        return replace(propose(bench, forgotten - {3}, progress), forgotten=forgotten)

    monkeypatch.setattr(unlearning, "propose", careless)
    later = gated.file(5)
    [done] = gated.work()
    assert (done.request.id, done.request.state) == (later.id, RequestState.BLOCKED)
    assert "forgotten_accuracy is 0.9" in done.request.outcome
    assert gated.live().forgotten == {3}
    [blocked] = gated.events("request.blocked")
    assert blocked.data["missed"] == ["forgotten_accuracy <= 0.05"]


def test_another_policy_has_another_digest_and_each_request_tells_under_which_it_passed(gated: Desk) -> None:
    first = digest(gated)
    gated.forget(3)
    second = set_policy(gated, 'conditions = ["loss_against_mask <= 0.2"]')
    gated.forget(8)
    own = set_policy(gated, 'conditions = ["loss_against_mask <= 0.2"]', "[gates.models.digits]", "test_per_class = 7")
    gated.forget(7)
    assert [event.data["gates"] for event in gated.events("request.fulfilled")] == [first, second, own]
    assert len({first, second, own}) == 3
    with gated.ledger.database.read() as tx:
        found = tx.versions.weights_evidence(gated.live()).standing
    assert {one.samples["test images"] for one in found.values()} == {70}


def test_at_level_0_nothing_is_measured(gated: Desk) -> None:
    set_policy(gated, "level = 0")
    before = evaluations(gated)
    version = gated.forget(3)
    assert gated.live() == version
    assert level(gated, version) is EvidenceLevel.APPLIED
    assert evaluations(gated) == before
    set_policy(gated, "level = 0", 'conditions = ["forgotten_accuracy <= 0.05"]')
    assert evaluations(gated) == before
    gated.forget(8)
    assert len(evaluations(gated)) == len(before) + 1


def test_a_limit_of_all_classes_spares_those_to_be_forgotten(gated: Desk) -> None:
    set_policy(gated, "test_images = 30", "train_images = 20")
    version = gated.forget(3)
    with gated.ledger.database.read() as tx:
        found = tx.versions.weights_evidence(version).standing["accuracy"]
    bench = open_workbench(gated.ledger, MODEL)
    own = min(100, sum(1 for k in bench.source.test.labels if k == 3))
    assert own > 3
    assert found.samples == {"train images": 2 * 9 + 20, "test images": 3 * 9 + own}
    assert found.metrics["test"]["forgotten"] < 0.1


def test_what_is_not_there_fails_before_anything_is_computed(gated: Desk) -> None:
    set_policy(gated, 'conditions = ["beauty.symmetry >= 0.5"]')
    gated.file(3)
    [done] = gated.work()
    assert done.request.state is RequestState.FAILED
    assert "no evaluator is called beauty" in done.request.outcome
    assert gated.events("class_space.collected") == []


def test_a_level_that_needs_a_retrained_network_blocks_until_one_is_declared(gated: Desk) -> None:
    retrained = [
        "[[gates.models.digits.retrained]]",
        'weights = "without_3.safetensors"',
        'without = ["3"]',
        'by = "me"',
    ]
    wanted = 'conditions = ["loss_against_retrained <= 0.05"]'
    set_policy(gated, wanted)
    gated.file(3)
    [done] = gated.work()
    assert "loss_against_retrained was not measured" in done.request.outcome
    assert "weights retrained without just these classes" in done.request.outcome

    # Another solver's weights stand in for it: they are no version, and do not know the class either.
    other = open_unlearning(gated.ledger, MODEL)(frozenset({3}), Silent(), ("least-squares",))
    (gated.root / "without_3.safetensors").write_bytes(gated.ledger.objects.get(other.weights))
    set_policy(gated, wanted, *retrained)
    version = gated.retry(1)
    assert version is not None
    with gated.ledger.database.read() as tx:
        [found] = tx.versions.weights_evidence(version).beside_retrained.keys() & {"accuracy"}
        source = tx.versions.weights_evidence(version).standing[found].provenance
    assert (source.retrained, source.declared_by) == (other.weights, "me")

    # They were trained with 8: for a set with 8 they say nothing.
    gated.file(8)
    [done] = gated.work()
    assert "loss_against_retrained was not measured" in done.request.outcome


def test_every_figure_with_a_bare_name_is_reported_by_one_evaluator(gated: Desk) -> None:
    version = gated.forget(3)
    trains = {"rmia", "relearning", "statistics"}
    found = dict(evaluate(gated.ledger, MODEL, version.number, Silent(), only=sorted(FIGURES.keys() - trains)).evidence)
    # Where nothing is forgotten these have nothing to train for; their figures are there all the same, without a value.
    found |= evaluate(gated.ledger, MODEL, 0, Silent(), only=sorted(trains)).evidence
    for figure, evaluator in BARE_NAMES.items():
        assert [name for name, one in found.items() if figure in one.metrics] == [evaluator]
    text = (Path(__file__).parents[2] / "docs" / "gates.md").read_text()
    for evaluator, figures in FIGURES.items():
        [row] = [line for line in text.splitlines() if line.lstrip().startswith(f"| `{evaluator}` |")]
        assert set(re.findall(r"`(\w+)`", row)) == {evaluator, *figures}


def test_what_was_measured_on_fewer_images_since_is_measured_anew(gated: Desk) -> None:
    version = gated.forget(3)
    evaluate(gated.ledger, MODEL, version.number, Silent(), train_per_class=1)
    assert standing_images(gated, version) == 9
    gated.withdraw(1)
    # Fewer are not enough to see whether it holds.
    set_policy(gated, 'conditions = ["accuracy.train.retained_images <= 100"]')
    gated.file(3)
    [done] = gated.work()
    assert done.request.state is RequestState.BLOCKED
    assert "accuracy.train.retained_images is 180" in done.request.outcome


def standing_images(desk: Desk, version: Version) -> int:
    """Return on how many training images of retained classes the figures rest that stand."""
    with desk.ledger.database.read() as tx:
        images: int = tx.versions.weights_evidence(version).standing["accuracy"].metrics["train"]["retained_images"]
    return images


def test_a_section_of_no_model_is_told_of(gated: Desk) -> None:
    set_policy(gated, "[gates.models.Digits]", IMPOSSIBLE)
    told: list[str] = []
    gated.ledger.tell = told.append
    # Names are told apart by case, so that it is held to nothing there.
    assert gated.forget(3).number == 1
    assert any("no model is called 'Digits'" in line for line in told)
    set_policy(gated, "[gates.models.digits]", IMPOSSIBLE)
    told.clear()
    gated.ledger.tell = told.append
    gated.file(5)
    assert [done.request.state for done in gated.work()] == [RequestState.BLOCKED]
    assert not any("no model is called" in line for line in told)


def test_a_misspelt_class_of_retrained_weights_is_refused_before_anything_is_computed(
    gated: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ('weights = "x"', 'without = ["there"]', 'by = "a lab"')
    set_policy(gated, "[[gates.models.digits.retrained]]", *lines)
    monkeypatch.setattr(unlearning, "search", None)
    gated.file(3)
    [done] = gated.work()
    assert isinstance(done.error, UnknownClassError)
    assert "no class is called 'there'" in done.request.outcome
