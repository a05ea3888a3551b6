"""Gate policies: what the file says for all models, what for one, and what of it is refused."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.conditions import Condition
from ledger.domain.evidence import Evidence, Provenance, WeightsEvidence
from ledger.domain.gate_policy import GatePolicies, GatePolicy, ModelGates
from ledger.domain.levels import EvidenceLevel
from ledger.domain.missed_gates import missed_conditions
from ledger.errors import UsageError

GENERAL = """
[gates]
level = 2
conditions = ["loss_against_mask <= 0.02", "probe.probe_gap <= 0.05"]
test_per_class = 50
"""
OWN = """
[gates.models.faces]
level = 3
conditions = ["loss_against_mask <= 0.1", "loss_against_mask >= -0.5", "worst_class_loss < 0.2"]

[[gates.models.faces.retrained]]
weights = "without_ann.safetensors"
without = ["ann"]
by = "the lab"
"""


def read(text: str) -> GatePolicies:
    return GatePolicies.read(tomllib.loads(text).get("gates", {}), "unledger.toml")


def test_without_a_policy_outputs_are_measured_and_nothing_more_is_asked() -> None:
    assert read("").of("digits") == GatePolicy()
    assert GatePolicy().level is EvidenceLevel.OUTPUTS
    assert GatePolicy().conditions == ()
    assert GatePolicy().evaluators == EvidenceLevel.OUTPUTS.required != frozenset()


def test_a_model_adds_conditions_and_replaces_those_that_bound_the_same() -> None:
    policies = read(GENERAL + OWN)
    assert policies.models == ("faces",)
    assert [str(one) for one in policies.of("digits").conditions] == [
        "loss_against_mask <= 0.02",
        "probe.probe_gap <= 0.05",
    ]
    faces = policies.of("faces")
    assert [str(one) for one in faces.conditions] == [
        "probe.probe_gap <= 0.05",
        "loss_against_mask <= 0.1",
        "loss_against_mask >= -0.5",
        "worst_class_loss < 0.2",
    ]
    assert (faces.level, faces.test_per_class) == (EvidenceLevel.REPRESENTATION, 50)
    assert [(one.weights, one.without, one.by) for one in faces.retrained] == [
        ("without_ann.safetensors", frozenset({"ann"}), "the lab")
    ]
    assert "probe" in policies.of("digits").evaluators
    assert policies.of("digits").evaluators >= EvidenceLevel.MEMBERSHIP.required


def limits(text: str, model: str = "digits") -> tuple[int | None, int | None]:
    policy = read(text).of(model)
    return policy.test_images, policy.train_images


def test_few_images_are_measured_of_many_classes_unless_more_is_asked() -> None:
    assert limits("") == limits("[gates]\nlevel = 0") == (2000, 1000)
    assert limits("[gates]\nlevel = 2") == (None, None)
    assert limits('[gates]\nconditions = ["worst_class_loss <= 0.05"]') == (None, None)
    # Who says how many of each class means it; who says a limit too.
    assert limits("[gates]\ntest_per_class = 50") == (None, 1000)
    assert limits("[gates]\ntrain_per_class = 50") == (2000, None)
    assert limits("[gates]\nlevel = 3\ntest_images = 500\ntest_per_class = 50") == (500, None)
    own = "[gates]\ntest_images = 500\n[gates.models.faces]\ntest_images = 7\ntrain_per_class = 3"
    assert (limits(own, "faces"), limits(own)) == ((7, None), (500, 1000))
    assert GatePolicy().to_json() != read("[gates]\ntest_per_class = 100").general.to_json()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("gates = 3", "is no table", ""),
        ("[gates]\nlevle = 1", "holds levle", "did you mean level"),
        ("[gates]\nlevel = 7", "level .* not 7", "2: attacks"),
        ("[gates]\nlevel = true", "level .* not True", ""),
        ('[gates]\nlevel = "1"', "level", ""),
        ('[gates]\nconditions = "loss_against_mask <= 1"', "conditions .* is no list", ""),
        ("[gates]\nconditions = [3]", "must be texts", ""),
        ('[gates]\nconditions = ["loss <= 1"]', r"\[gates\] in unledger.toml: no metric is called 'loss'", ""),
        ('[gates]\nconditions = ["a.b <= 1", "a.b < 2"]', "bounds a.b twice", ""),
        ('[gates]\nconditions = ["retained_drop <= 1", "accuracy.retained_drop < 2"]', "twice", ""),
        ("[gates]\ntest_per_class = 0", "test_per_class", ""),
        ("[gates]\ntest_per_class = 9007199254740992", "test_per_class", "means all of them"),
        ("[gates]\ntrain_per_class = 1" + "0" * 400, "train_per_class", ""),
        ("[gates]\ntest_images = 0", "test_images", "means all of them"),
        ("[gates]\ntrain_images = true", "train_images", ""),
        ("[gates]\nretrained = []", "holds retrained", ""),
        ("[gates.models]\nfaces = 3", "is no table", ""),
        ("[gates.models.faces]\nmodels = {}", r"\[gates.models.faces\] .* holds models", ""),
        ("[[gates.models.faces.retrained]]\nweights = 'x'", "must name weights and by", ""),
        ('[[gates.models.faces.retrained]]\nweights = "a\\u0000b"\nby = "me"\nwithout = ["ann"]', "no path", ""),
        ("[[gates.models.faces.retrained]]\nweights = 'x'\nby = 'me'\nwithout = 'ann'", "list of classes", ""),
        ("[[gates.models.faces.retrained]]\nweights = 'x'\nby = 'me'\nwithout = []", "list of classes", ""),
    ],
)
def test_what_no_policy_has_is_refused_and_said_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(text)
    assert hint in caught.value.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "level",
    "conditions",
    "test_per_class",
    "train_per_class",
    "test_images",
    "train_images",
    "models",
    "retrained",
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
def test_any_table_is_a_policy_or_a_usage_error(table: dict[str, Any]) -> None:
    try:
        policies = GatePolicies.read(table, "unledger.toml")
    except UsageError:
        return
    assert policies.of("digits").test_per_class >= 1


def test_the_digest_covers_what_decides_and_names_no_class() -> None:
    faces = read(GENERAL + OWN).of("faces")
    shown = ModelGates(faces, 0.01, 0.05).to_json()
    assert "ann" not in str(shown)
    assert shown["max_retained_drop"] == 0.05
    assert shown["conditions"] == sorted(str(one) for one in faces.conditions)
    for other in (ModelGates(faces, 0.01, 0.06), ModelGates(read(GENERAL).of("faces"), 0.01, 0.05)):
        assert other.to_json() != shown


# -- what is missed ----------------------------------------------------------------------------------

LABELS = ("cat", "dog", "owl")
MOMENT = datetime(2026, 1, 5, tzinfo=UTC)


def evidence(metrics: dict[str, dict[str, Any]], *, beside: bool = False) -> WeightsEvidence:
    """Return what built-in evaluators measured, beside a retrained network or not."""
    source = Provenance("w", "base", "b", "r" if beside else None)
    made = [Evidence(name, f"eval_{name}", "1", found, {}, "i", MOMENT, source) for name, found in metrics.items()]
    return WeightsEvidence(tuple(made))


def policy(*conditions: str, level: int = 0) -> GatePolicy:
    return GatePolicy(EvidenceLevel(level), tuple(map(Condition.parse, conditions)))


def test_a_missed_condition_is_told_with_its_figures_and_recorded_without_classes() -> None:
    measured = evidence({"accuracy": {"loss_against_mask": 0.0318765, "each": {"loss": [0.5, None, 0.125]}}})
    held = policy("loss_against_mask <= 0.0318765", "accuracy.each.loss <= 0.5", "loss_against_mask > 0")
    assert missed_conditions(held, measured, LABELS) == []
    missed = missed_conditions(policy("loss_against_mask <= 0.02", "accuracy.each.loss < 0.1"), measured, LABELS)
    assert [one.gate for one in missed] == ["loss_against_mask <= 0.02", "accuracy.each.loss < 0.1"]
    assert [one.told for one in missed] == [
        "loss_against_mask is 0.03188, the gate asks for loss_against_mask <= 0.02",
        "accuracy.each.loss is cat 0.5, owl 0.125, the gate asks for accuracy.each.loss < 0.1",
    ]


def test_what_was_not_measured_is_missed_and_says_what_it_needs() -> None:
    wanted = policy("probe.probe_gap <= 0.05")
    [missed] = missed_conditions(wanted, evidence({"accuracy": {}}), LABELS)
    assert "the evaluator probe did not measure" in missed.told
    [missed] = missed_conditions(wanted, evidence({"probe": {"penultimate": 1.0}}), LABELS)
    assert "reports no number at probe_gap; it reports penultimate" in missed.told
    assert "retrained without just these classes" in missed.told
    [missed] = missed_conditions(wanted, evidence({"probe": {"probe_gap": None, "probe_fall": 0.5}}), LABELS)
    assert missed.told.endswith(
        ": it needs weights retrained without just these classes, declared in unledger.toml (docs/gates.md)"
    )
    [missed] = missed_conditions(wanted, evidence({"probe": {}}, beside=True), LABELS)
    assert "retrained" not in missed.told


def test_only_the_comparison_with_the_original_counts() -> None:
    [measured] = evidence({"accuracy": {"loss_against_mask": 0.0}}).measured
    exported = replace(measured, provenance=Provenance("w", "file", "x"))
    wanted = policy("loss_against_mask <= 0.5")
    assert missed_conditions(wanted, WeightsEvidence((measured,)), LABELS) == []
    assert missed_conditions(wanted, WeightsEvidence((exported,)), LABELS) != []


def test_a_level_that_is_not_reached_is_missed() -> None:
    everything: dict[str, dict[str, Any]] = {name: {} for name in EvidenceLevel.RETRAINED.required}
    outputs: dict[str, dict[str, Any]] = {name: {} for name in EvidenceLevel.OUTPUTS.required}
    assert missed_conditions(policy(level=1), evidence(outputs), LABELS) == []
    [missed] = missed_conditions(policy(level=3), evidence(outputs), LABELS)
    assert missed.gate == "level >= 3"
    assert "reaches L1 outputs, the gate asks for L3" in missed.told
    assert missed_conditions(policy(level=3), evidence(everything), LABELS) == []
    [missed] = missed_conditions(policy(level=4), evidence(everything), LABELS)
    assert "a network retrained without the classes" in missed.told
    assert missed_conditions(policy(level=4), evidence(everything, beside=True), LABELS) == []
