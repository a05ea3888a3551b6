"""Which measurements speak for weights, and the level of evidence that they reach."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.evidence import BASE, FILE, UNKNOWN_PROVENANCE, Evidence, Provenance, WeightsEvidence
from ledger.domain.levels import REQUIRED, EvidenceLevel, level_of, missing_for

WHEN = datetime(2026, 1, 5, tzinfo=UTC)
EVERYTHING = sorted(EvidenceLevel.RETRAINED.required)


def measured(name: str, against: str = BASE, value: float = 0.5, retrained: str | None = None) -> Evidence:
    provenance = Provenance(weights="a" * 64, against=against, compared="b" * 64, retrained=retrained)
    return Evidence(name, f"eval_{name}", "1", {"value": value}, {"test images": 3}, "c" * 64, WHEN, provenance)


def test_a_comparison_with_something_else_never_replaces_the_one_with_the_original() -> None:
    first, beside, own = measured("accuracy"), measured("accuracy", FILE, 0.9), measured("accuracy", "3", 1.0)
    found = WeightsEvidence((first, beside, own))
    assert found.standing == {"accuracy": first}
    assert found.compared == (beside, own)
    again = measured("accuracy", value=0.6)
    assert WeightsEvidence((first, beside, again)).standing == {"accuracy": again}


def test_after_a_purge_what_is_left_takes_the_place_of_an_original_that_was_never_compared_with() -> None:
    before, after = measured("accuracy"), measured("accuracy", "3")
    alone = WeightsEvidence((after,), anchor=3)
    assert (alone.standing, alone.compared) == ({"accuracy": after}, ())
    assert WeightsEvidence((after,)).standing == {}
    # What somebody compared with version 3 before the purge does not push the original aside after it.
    both = WeightsEvidence((before, after), anchor=3)
    assert (both.standing, both.compared) == ({"accuracy": before}, (after,))


def test_evidence_of_earlier_releases_counts_until_something_is_measured() -> None:
    old = replace(measured("accuracy"), provenance=UNKNOWN_PROVENANCE)
    assert WeightsEvidence((old,)).standing == {"accuracy": old}
    new = measured("accuracy", value=0.7)
    assert WeightsEvidence((old, new)).standing == {"accuracy": new}


def test_the_newest_comparison_with_a_retrained_network_is_kept_beside_a_later_plain_one() -> None:
    beside, plain = measured("probe", retrained="d" * 64), measured("probe", value=0.1)
    found = WeightsEvidence((beside, plain))
    assert (found.standing["probe"], found.beside_retrained["probe"]) == (plain, beside)


def test_beside_a_retrained_network_the_comparison_with_the_original_counts_and_is_shown() -> None:
    beside, plain = measured("accuracy", retrained="d" * 64), measured("accuracy", value=0.1)
    elsewhere = measured("accuracy", FILE, 0.9, retrained="d" * 64)
    found = WeightsEvidence((beside, elsewhere, plain))
    assert found.beside_retrained == {"accuracy": beside}
    assert found.shown == {"accuracy": beside}
    # With nothing else, it is what there is, and no document calls what it compares with the original.
    alone = WeightsEvidence((elsewhere, plain))
    assert (alone.beside_retrained, alone.shown) == ({"accuracy": elsewhere}, {"accuracy": plain})


@pytest.mark.parametrize("level", list(REQUIRED))
def test_a_level_needs_every_test_of_its_own_and_of_those_below(level: EvidenceLevel) -> None:
    needed = sorted(level.required)
    assert level_of(needed) is level
    for missing in needed:
        rest = [name for name in needed if name != missing]
        assert level_of(rest) < level
        assert missing_for(level, rest) == [missing]
    assert missing_for(level, needed) == []


def test_the_highest_level_needs_a_retrained_network_beside_every_test() -> None:
    assert level_of(EVERYTHING) is EvidenceLevel.REPRESENTATION
    assert missing_for(EvidenceLevel.RETRAINED, EVERYTHING) == ["a network retrained without the classes"]
    assert level_of(EVERYTHING, EVERYTHING) is EvidenceLevel.RETRAINED
    assert level_of(EVERYTHING, EVERYTHING[1:]) is EvidenceLevel.REPRESENTATION
    assert level_of(EVERYTHING[1:], EVERYTHING) < EvidenceLevel.RETRAINED


def test_what_a_plugin_measures_under_a_built_in_name_reaches_no_level() -> None:
    own = tuple(measured(name) for name in EVERYTHING)
    assert WeightsEvidence(own).level is EvidenceLevel.REPRESENTATION
    strange = tuple(replace(one, plugin="stranger") if one.evaluator == "rmia" else one for one in own)
    assert WeightsEvidence(strange).level is EvidenceLevel.OUTPUTS
    assert WeightsEvidence(strange).missing(EvidenceLevel.MEMBERSHIP) == ["rmia"]


def test_an_evaluator_that_had_nothing_to_test_reaches_no_level() -> None:
    def untested(name: str, **metrics: object) -> WeightsEvidence:
        own = tuple(measured(one) for one in EVERYTHING)
        return WeightsEvidence(tuple(replace(one, metrics=metrics) if one.evaluator == name else one for one in own))

    assert untested("rmia", rmia_auc=0.5, reason=None).level is EvidenceLevel.REPRESENTATION
    few = untested("rmia", rmia_auc=None, reason="there are too few images of it")
    assert (few.level, few.missing(EvidenceLevel.MEMBERSHIP)) == (EvidenceLevel.OUTPUTS, ["rmia"])
    assert untested("relearning", reason="no images are at hand").level is EvidenceLevel.MEMBERSHIP
    assert untested("statistics", layers=2, reason="images are missing").level is EvidenceLevel.MEMBERSHIP
    # Without such layers there is nothing that could come back through them.
    assert untested("statistics", layers=0, reason="no batch statistics").level is EvidenceLevel.REPRESENTATION


@given(st.sets(st.sampled_from(EVERYTHING)), st.sampled_from(EVERYTHING))
def test_more_evidence_never_lowers_the_level(names: set[str], another: str) -> None:
    assert level_of(names | {another}) >= level_of(names)


@given(
    st.builds(
        Provenance,
        weights=st.text(),
        against=st.text(),
        compared=st.text(),
        retrained=st.none() | st.text(),
        declared_by=st.none() | st.text(),
        seed=st.none() | st.integers(),
        environment=st.dictionaries(st.text(), st.integers()),
    )
)
def test_a_provenance_is_read_as_it_was_written(provenance: Provenance) -> None:
    assert Provenance.read(provenance.to_json()) == provenance


@pytest.mark.parametrize("value", [None, [], "x", {"weights": 3, "seed": True, "environment": [], "retrained": {}}])
def test_a_malformed_provenance_tells_nothing(value: object) -> None:
    assert Provenance.read(value) == UNKNOWN_PROVENANCE
