"""What a certificate states, what it leaves out, and when two state the same."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from ledger.certificates.statement import (
    CertificateFacts,
    ExportedCopy,
    WaivedGates,
    certificate_statement,
    figures,
    substance,
)
from ledger.certificates.verifier import CLAIM, PREDICATE_TYPE, STATEMENT_TYPE
from ledger.digest import canonical_json, json_digest
from ledger.domain.certificate_caveats import caveats, headline
from ledger.domain.certificates import KnownVersion
from ledger.domain.class_spaces import ClassSpace, Role
from ledger.domain.evidence import BASE, FILE, Evidence, Provenance, WeightsEvidence
from ledger.domain.labels import LabelMap
from ledger.domain.models import Model, NewModel
from ledger.domain.recipe import VersionRecipe
from ledger.domain.requests import Request
from ledger.domain.states import RequestState
from ledger.domain.versions import Version, VersionKind

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 2, 1, tzinfo=UTC)
METRICS = {
    "test": {"per_class": [0.9, 0.8, 0.0], "retained": 0.85, "forgotten": 0.0},
    "zebra": 0.0,
    "accuracy_zebra": 0.0,
    "2": 0.0,
    "worst": "zebra",
    "passed": True,
    "missing": None,
}
CONFUSION = {"matrix": [[30, 0, 0], [1, 29, 0], [15, 15, 0]]}
RECIPE: dict[str, Any] = {
    "solver": "projection",
    "depth": 2,
    "layers": 4,
    "alpha_r": 100.0,
    "alpha_f": 3.0,
    "effective_alpha_f": 2.5,
    "edit": 0.125,
    "maps": [{"key": "8", "change": 0.1, "retain_rank": 5, "forget_rank": 3}],
    "search": {
        "retained": {"accuracy": 0.9, "confidence": 0.8},
        "base_retained": {"accuracy": 0.95, "confidence": 0.9},
        "forgotten": {
            "1": {"accuracy": 0.0, "confidence": 0.01},
            "2": {"accuracy": 0.004, "confidence": 0.002},
        },
        "trials": [{}, {}, {}],
    },
    "class_spaces": {"0": "aa"},
    "environment": {"unledger": "1", "torch": "2", "device": "cpu", "threads": 1},
    "plugins": {"solver_projection": "1"},
    "base": "99" * 32,
    "data": "d1" * 32,
}


ORIGINAL = Provenance(weights="01" * 32, against=BASE, compared="00" * 32)


def _version(number: int, forgotten: frozenset[int], **changes: Any) -> Version:
    values: dict[str, Any] = {
        "model_id": 1,
        "number": number,
        "parent": number - 1 if number else None,
        "kind": VersionKind.FORGET if number else VersionKind.BASE,
        "request_id": None,
        "restores": None,
        "forgotten": forgotten,
        "weights": f"{number:02x}" * 32,
        "recipe": RECIPE if number else {"code": "c0" * 32},
        "created_at": NOW,
    }
    said = {**values, **changes}
    return Version(**{**said, "recipe": VersionRecipe(said["recipe"])})


def _space(number: int, class_index: int, digest: str) -> ClassSpace:
    return ClassSpace(1, class_index, "5e" * 32, (1, 2, 3), digest * 32, f"b{number}" * 32, 10, (), NOW, id=number)


@pytest.fixture
def facts(new_model: Callable[..., NewModel]) -> CertificateFacts:
    model = Model(**vars(new_model("animals", labels=LabelMap(("horse", "mule", "zebra")))), id=1)
    request = Request(
        id=12,
        model_id=1,
        classes=frozenset({2}),
        state=RequestState.FULFILLED,
        actor="carol",
        reason="zebra wishes to be forgotten",
        basis="art. 17",
        external_id="T-1",
        received_at=NOW,
        due_at=NOW,
        created_at=NOW,
        updated_at=NOW,
        version=1,
        no_op=False,
        gates_waived=False,
        attempts=0,
        lease_owner=None,
        lease_epoch=1,
        outcome="",
    )
    evidence = Evidence("accuracy", "eval_accuracy", "1.0", METRICS, {"test images": 9}, "1f" * 32, NOW, ORIGINAL, 1)
    known = [
        KnownVersion(0, "00" * 32, frozenset(), (), None, None),
        KnownVersion(1, "01" * 32, frozenset({2}), (), None, None),
        KnownVersion(2, "02" * 32, frozenset({1}), ("canary",), NOW, None),
        KnownVersion(3, "03" * 32, frozenset({1, 2}), ("live",), None, None),
    ]
    return CertificateFacts(
        log="unledger/c0ffee00",
        issued_at=NOW,
        model=model,
        request=request,
        fulfilled_at=NOW,
        gates=WaivedGates(0),
        version=_version(1, frozenset({2})),
        base=_version(0, frozenset()),
        live=_version(3, frozenset({1, 2})),
        samples=[
            (Role.RETAIN, _space(1, 0, "dd")),
            (Role.RETAIN, _space(2, 1, "cc")),
            (Role.FORGET, _space(3, 2, "bb")),
        ],
        evidence=WeightsEvidence((evidence,)),
        evaluators=("accuracy", "membership"),
        versions=known,
        exports=[ExportedCopy(0, NOW), ExportedCopy(1, NOW)],
        spaces=[_space(3, 2, "bb")],
    )


def predicate(facts: CertificateFacts) -> dict[str, Any]:
    """Return what is stated."""
    found: dict[str, Any] = certificate_statement(facts, ["ab" * 32])["predicate"]
    return found


def test_it_is_an_in_toto_statement_about_the_weights(facts: CertificateFacts) -> None:
    statement = certificate_statement(facts, ["ab" * 32])
    assert statement["_type"] == STATEMENT_TYPE
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["subject"] == [{"name": "animals:1", "digest": {"sha256": "01" * 32}}]
    assert statement["predicate"]["claim"] == CLAIM == "approximate unlearning with recorded evidence"
    assert json.loads(canonical_json(statement)) == statement


def test_no_class_and_no_person_can_be_read_from_it(facts: CertificateFacts) -> None:
    text = canonical_json(certificate_statement(facts, ["ab" * 32])).decode()
    for word in ("zebra", "mule", "horse", "carol", "T-1", "wishes", "per_class", "erased", "compliant"):
        assert word not in text


def test_another_class_makes_a_statement_of_the_same_shape(facts: CertificateFacts) -> None:
    # Everything but digests, figures and the copies that differ would give the class away.
    request = replace(facts.request, classes=frozenset({1}))
    samples = [(Role.RETAIN, _space(1, 0, "dd")), (Role.FORGET, _space(2, 1, "bb")), (Role.RETAIN, _space(3, 2, "cc"))]
    other = replace(facts, request=request, samples=samples)
    assert predicate(other)["inputs"] == predicate(facts)["inputs"]
    assert predicate(other)["evidence"] == predicate(facts)["evidence"]
    assert predicate(other)["search"] == predicate(facts)["search"]


def test_figures_leave_out_whatever_may_name_a_class() -> None:
    labels = ("zebra", "test pattern", "3")
    assert dict(figures(METRICS, labels)) == {"test.forgotten": 0.0, "test.retained": 0.85}
    trap = {
        "Zebra": 1,
        "zebra_rate": 2,
        "rate of zebra": 3,
        "zebras": 4,
        "test pattern": 5,
        "top3": 6,
        "3": 7,
        "a-3": 8,
    }
    assert dict(figures(trap, labels)) == {"zebras": 4, "top3": 6}
    assert dict(figures({"a": {"b": {"c": 1.5}}, "deep": {"zebra": {"x": 1}}}, labels)) == {"a.b.c": 1.5}


def test_full_metrics_and_recipe_are_bound_by_digest(facts: CertificateFacts) -> None:
    said = predicate(facts)
    [measured] = said["evidence"]["measurements"]
    assert measured["metrics"] == json_digest(METRICS)
    assert measured["against"] == "0"
    assert measured["pluginVersion"] == "1.0"
    assert said["procedure"]["recipe"] == json_digest(RECIPE)
    assert said["procedure"]["plugins"] == {"solver_projection": "1"}
    assert said["procedure"]["architectureCode"] == "c0" * 32
    assert said["search"]["forgottenWorst"] == {"accuracy": 0.004, "confidence": 0.01}


def test_what_the_masked_original_answers_is_stated_where_it_was_recorded(facts: CertificateFacts) -> None:
    assert "retainedMasked" not in predicate(facts)["search"]
    scores = {"accuracy": 0.96, "confidence": 0.91}
    recipe = VersionRecipe({**RECIPE, "search": {**RECIPE["search"], "mask_retained": scores}})
    said = predicate(replace(facts, version=replace(facts.version, recipe=recipe)))["search"]
    assert said["retainedMasked"] == scores
    assert said["retainedBefore"] == RECIPE["search"]["base_retained"]


def test_inputs_are_named_by_digest(facts: CertificateFacts) -> None:
    said = predicate(facts)["inputs"]
    assert said["baseWeights"] == "99" * 32
    assert said["settings"] == json_digest(facts.model.settings.to_json())
    assert [(s["basis"], s["sha256"][:2], s["images"]) for s in said["samples"]] == [
        ("forget", "bb", 3),
        ("retain", "cc", 3),
        ("retain", "dd", 3),
    ]


def test_copies_that_still_hold_the_class_are_named(facts: CertificateFacts) -> None:
    said = predicate(facts)["copies"]
    assert said["stored"] == [{"version": 0, "weights": "00" * 32, "aliases": []}]
    assert said["destroyed"] == [{"version": 2, "weights": "02" * 32, "at": NOW.isoformat()}]
    assert said["exported"] == [{"version": 0, "at": NOW.isoformat()}]
    assert said["statistics"] == ["b3" * 32]


def test_a_version_that_forgets_only_some_of_the_classes_is_a_copy(facts: CertificateFacts) -> None:
    request = replace(facts.request, classes=frozenset({1, 2}))
    assert [copy["version"] for copy in predicate(replace(facts, request=request))["copies"]["stored"]] == [0, 1]


def _measuring(facts: CertificateFacts, *measured: Evidence) -> dict[str, Any]:
    """Return what is stated of more evidence, beside that on accuracy."""
    return predicate(replace(facts, evidence=WeightsEvidence((*facts.evidence.measured, *measured))))


def _evidence(facts: CertificateFacts, **changes: Any) -> Evidence:
    [accuracy] = facts.evidence.measured
    return replace(accuracy, **changes)


def _confusion(facts: CertificateFacts, **changes: Any) -> Evidence:
    return _evidence(facts, **{"evaluator": "confusion", "plugin": "eval_confusion", "metrics": CONFUSION, **changes})


def test_the_level_of_evidence_follows_from_what_was_measured(facts: CertificateFacts) -> None:
    nothing = predicate(replace(facts, evidence=WeightsEvidence(())))
    assert (nothing["evidence"]["level"], nothing["evidence"]["measurements"]) == ("L0 applied", [])
    assert nothing["notTested"]["evaluators"] == ["accuracy", "membership"]
    assert nothing["notTested"]["levels"]["L1 outputs"] == ["accuracy", "confusion"]
    said = _measuring(facts, _confusion(facts))
    assert said["evidence"]["level"] == "L1 outputs"
    assert said["notTested"]["evaluators"] == ["membership"]
    assert said["notTested"]["levels"].keys() == {
        "L2 membership",
        "L3 representation and relearning",
        "L4 against retrained",
    }
    assert said["notTested"]["levels"]["L2 membership"] == ["membership", "rmia"]


def test_an_evaluator_of_that_name_from_elsewhere_raises_no_level_and_is_named(facts: CertificateFacts) -> None:
    said = _measuring(facts, _confusion(facts, plugin="flattery"))
    assert said["evidence"]["level"] == "L0 applied"
    [sentence] = [one for one in caveats(said) if "flattery" in one]
    assert "no part of unledger" in sentence
    assert not any("no part of unledger" in one for one in caveats(_measuring(facts, _confusion(facts))))


def test_a_comparison_with_something_else_stands_beside_and_replaces_nothing(facts: CertificateFacts) -> None:
    flattering = {"test": {"retained": 1.0, "forgotten": 0.0}}
    foreign = _evidence(facts, metrics=flattering, provenance=replace(ORIGINAL, against=FILE, compared="f0" * 32))
    own = _evidence(facts, metrics=flattering, provenance=replace(ORIGINAL, against=FILE, compared="00" * 32))
    before, after = predicate(facts), _measuring(facts, foreign, own)
    assert after["evidence"]["measurements"] == before["evidence"]["measurements"]
    assert after["evidence"]["level"] == before["evidence"]["level"]
    marked = {one["weights"][:2]: (one["ownVersions"], one["exported"]) for one in after["evidence"]["compared"]}
    assert marked == {"f0": ([], False), "00": ([0], True)}
    [sentence] = [one for one in caveats(after) if "this very model" in one]
    assert "version 0 of this very model, of which a copy was exported" in sentence


def test_who_declares_a_network_to_be_retrained_is_said_and_that_it_is_only_declared(facts: CertificateFacts) -> None:
    declared = replace(ORIGINAL, retrained="f0" * 32, declared_by="dora")
    said = _measuring(facts, _evidence(facts, provenance=declared))
    assert said["evidence"]["retrained"] == [{"weights": "f0" * 32, "declaredBy": "dora", "evaluators": ["accuracy"]}]
    assert any("declared by dora, and not shown" in one for one in caveats(said))
    assert "whether the weights declared as retrained were trained without the classes" in said["notTested"]["remarks"]
    assert predicate(facts)["evidence"]["retrained"] == []


def test_evidence_on_another_version_with_the_same_weights_says_so(facts: CertificateFacts) -> None:
    assert "measuredOn" not in predicate(facts)["evidence"]["measurements"][0]
    inherited = replace(facts, evidence=WeightsEvidence((_evidence(facts, version=4),)))
    assert predicate(inherited)["evidence"]["measurements"][0]["measuredOn"] == 4
    assert "it was measured as version 4, whose weights are the same" in caveats(predicate(inherited))


@pytest.mark.parametrize(("images", "few"), [(1, 1), (19, 1), (20, 0)])
def test_few_test_images_are_said(facts: CertificateFacts, images: int, few: int) -> None:
    matrix = [[90, 0, 0], [0, 90, 0], [images, 0, 0]]
    said = _measuring(facts, _confusion(facts, metrics={"matrix": matrix}))
    assert (said["evidence"]["fewestTestImages"], said["evidence"]["fewTestImages"]) == (images, few)
    assert any(f"the fewest {images}" in one for one in caveats(said)) is bool(few)
    counted = {"test": {"images": [90, 90, images], "correct": [90, 90, 0]}}
    assert _measuring(facts, _evidence(facts, metrics=counted))["evidence"]["fewestTestImages"] == images
    malformed = _measuring(facts, _confusion(facts, metrics={"matrix": [[1, 2]]}))
    assert "fewestTestImages" not in malformed["evidence"]
    assert any("was not counted" in one for one in caveats(malformed))


def test_what_was_not_live_not_known_waived_or_kept_is_told(facts: CertificateFacts) -> None:
    said = certificate_statement(
        replace(
            facts,
            gates=WaivedGates(2, ("worst_class_loss <= 0.05", "probe_gap"), "9a" * 32),
            not_known_before=1,
            clock_doubted=True,
        ),
        ["ab" * 32],
    )["predicate"]
    assert headline(said).startswith("was not known before: 1 of 1 classes")
    told = " | ".join(caveats(said))
    for part in (
        "was not known before",
        "version 1 was not live: version 3 was",
        "2 quality gates were missed, and a person waived that: probe_gap, worst_class_loss <= 0.05",
        "this ledger keeps weights that still hold a class: version 0",
        "still hold a class were exported: version 0",
        "its times may be wrong",
    ):
        assert part in told
    assert said["procedure"]["gates"] == {"policy": "9a" * 32, "missed": ["probe_gap", "worst_class_loss <= 0.05"]}
    assert "gates" not in predicate(facts)["procedure"]
    known = predicate(replace(facts, live=facts.version, versions=(), exports=()))
    assert headline(known) == CLAIM
    assert known["version"]["isLive"] is True
    for part in ("known before", "not live", "gate", "still hold", "clock"):
        assert part not in " | ".join(caveats(known))


def test_a_version_without_a_recipe_of_its_own_is_still_described(facts: CertificateFacts) -> None:
    said = predicate(replace(facts, version=_version(1, frozenset({2}), recipe={"environment": {"torch": "2"}})))
    assert said["procedure"]["solver"] is None
    assert said["search"] == {}
    assert said["inputs"]["baseWeights"] is None


def test_an_older_recipe_was_computed_from_the_registered_weights(facts: CertificateFacts) -> None:
    assert predicate(facts)["inputs"]["data"] == "d1" * 32
    recipe = {name: value for name, value in RECIPE.items() if name not in ("base", "data", "plugins")}
    said = predicate(replace(facts, version=_version(1, frozenset({2}), recipe=recipe)))
    assert said["inputs"]["baseWeights"] == facts.base.weights
    assert said["inputs"]["data"] == facts.model.data_digest
    assert said["procedure"]["plugins"] == {}


def test_two_statements_say_the_same_but_for_salts_and_date(facts: CertificateFacts) -> None:
    first = certificate_statement(facts, ["ab" * 32])
    before = copy.deepcopy(first)
    again = certificate_statement(replace(facts, issued_at=datetime(2027, 1, 1, tzinfo=UTC)), ["cd" * 32])
    assert substance(first) == substance(again)
    assert substance(first) != substance(certificate_statement(replace(facts, exports=()), ["ab" * 32]))
    assert first == before
