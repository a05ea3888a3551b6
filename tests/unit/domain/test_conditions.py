"""Conditions: what a person writes is read, what is read is written, and a figure is on one side of a bound."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.conditions import BARE_NAMES, Condition, MeasuredValue, Operator
from ledger.errors import UsageError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
PATHS = st.builds(".".join, st.lists(NAMES, min_size=2, max_size=4))
CONDITIONS = st.builds(
    Condition,
    st.sampled_from(sorted(BARE_NAMES)) | PATHS,
    st.sampled_from(Operator),
    # There is one zero.
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
)
LABELS = ("cat", "dog", "owl")


@given(CONDITIONS)
def test_what_is_written_is_read_again(condition: Condition) -> None:
    assert Condition.parse(str(condition)) == condition


@given(CONDITIONS, st.text(" \t", max_size=3))
def test_blanks_do_not_matter(condition: Condition, blank: str) -> None:
    metric, operator, bound = str(condition).split()
    assert Condition.parse(f"{blank}{metric}{blank}{operator}{blank}{bound}{blank}") == condition


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_usage_error(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except UsageError:
        return
    assert math.isfinite(condition.bound)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("loss_agianst_mask <= 0.1", "no metric is called 'loss_agianst_mask'", "did you mean loss_against_mask?"),
        ("beauty >= 1", "no metric is called 'beauty'", r"EVALUATOR\.beauty"),
        ("loss_against_mask =< 0.1", "'=<' .* is no operator", "write loss_against_mask <= 0.1"),
        ("loss_against_mask == 0.1", "'==' .* is no operator", "write loss_against_mask <= 0.1"),
        ("loss_against_mask <> 0.1", "'<>' .* is no operator", "e.g."),
        ("loss_against_mask <= 2%", "'2%' .* is no finite number", r"written as 0\.02"),
        ("loss_against_mask <= nan", "is no finite number", "e.g."),
        ("loss_against_mask <= 1_0", "is no finite number", "e.g."),
        ("loss_against_mask <= inf", "is no finite number", "e.g."),
        ("loss_against_mask 0.1", "is no condition", "e.g."),
        ("a..b <= 1", "is no metric", "e.g."),
        ("", "is no condition", "e.g."),
    ],
)
def test_what_is_no_condition_is_told_with_what_was_probably_meant(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Condition.parse(text)
    assert re.search(hint, caught.value.hint), caught.value.hint


@given(CONDITIONS, st.floats(allow_nan=False, allow_infinity=False))
def test_a_figure_is_on_one_side(condition: Condition, value: float) -> None:
    operator, bound = condition.operator, condition.bound
    opposite = {
        Operator.AT_MOST: Operator.ABOVE,
        Operator.ABOVE: Operator.AT_MOST,
        Operator.BELOW: Operator.AT_LEAST,
        Operator.AT_LEAST: Operator.BELOW,
    }[operator]
    assert operator.holds(value, bound) != opposite.holds(value, bound)
    assert operator.holds(bound, bound) == (operator in {Operator.AT_MOST, Operator.AT_LEAST})
    assert condition.missed_by([MeasuredValue("", value)]) == (
        [] if operator.holds(value, bound) else [MeasuredValue("", value)]
    )


def figures(text: str, **measured: Any) -> list[MeasuredValue]:
    return Condition.parse(text).figures(measured, LABELS)


def test_a_bare_name_stands_for_a_figure_of_its_evaluator() -> None:
    assert figures("loss_against_mask <= 0", accuracy={"loss_against_mask": 0.25}) == [MeasuredValue("", 0.25)]
    assert figures("loss_against_mask <= 0", other={"loss_against_mask": 0.25}) == []


def test_a_path_leads_to_a_figure() -> None:
    assert figures("a.b.c <= 0", a={"b": {"c": 3}}) == [MeasuredValue("", 3.0)]
    for metrics in ({"b": {"c": "3"}}, {"b": {"c": True}}, {"b": {"c": None}}, {"b": 3}, {}, {"b": {"c": math.nan}}):
        assert figures("a.b.c <= 0", a=metrics) == []


def test_of_a_list_each_class_counts_that_has_a_value() -> None:
    metrics = {"class_loss": [0.5, None, 0.75]}
    assert figures("x.class_loss <= 0.6", x=metrics) == [MeasuredValue("cat", 0.5), MeasuredValue("owl", 0.75)]
    condition = Condition.parse("x.class_loss <= 0.6")
    assert condition.missed_by(condition.figures({"x": metrics}, LABELS)) == [MeasuredValue("owl", 0.75)]
    assert figures("x.class_loss <= 0", x={"class_loss": {"dog": 1.0, "cat": None}}) == [MeasuredValue("dog", 1.0)]
    assert figures("x.some <= 0", x={"some": [1.0]}) == [MeasuredValue("0", 1.0)]


def test_the_worst_is_told_first() -> None:
    values = [MeasuredValue("cat", 0.2), MeasuredValue("dog", 0.4), MeasuredValue("owl", 0.0)]
    assert [f.of for f in Condition.parse("a.b <= 0.1").missed_by(values)] == ["dog", "cat"]
    assert [f.of for f in Condition.parse("a.b >= 0.3").missed_by(values)] == ["owl", "cat"]
