"""Tables of what evaluators find in features: readable at eighty columns, and nothing breaks them."""

from __future__ import annotations

from typing import Any

import pytest
from ledger.cli import feature_tables, render
from rich.console import Console

SHARES = {"forgotten": 0.25, "retained": 0.9}
BY_ROLE = {"version": SHARES, "original": {"forgotten": 0.98}, "retrained": None}
BY_DEPTH = {"penultimate": BY_ROLE, "two_thirds": BY_ROLE, "one_third": None}
WAYS = {name: {"return": 0.5} for name in feature_tables.WAYS_BACK}
METRICS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "probe": ({"regularised": BY_DEPTH, "sgd": BY_DEPTH}, ("two thirds, plain layer", "25.0%", "98.0%", " -")),
    "nearest_mean": ({"depths": BY_DEPTH}, ("penultimate", "25.0%")),
    "similarity": ({"depths": {"penultimate": {"original": SHARES}}}, ("penultimate, retained", "0.900", " -")),
    "relearning": ({"version": WAYS, "original": WAYS}, ("training on retained images", "50.0%")),
    "statistics": ({"version": {"before": {"forgotten": 0.0}, "after": SHARES}}, ("version", "0.0%", "25.0%")),
    "rmia": (
        {"version": {"auc": 0.61, "auc_low": 0.55, "auc_high": 0.67, "tpr_at_1_percent": 0.04}},
        ("0.610", "0.550 to 0.670", "4.0%"),
    ),
}


@pytest.mark.parametrize("evaluator", METRICS)
def test_each_has_a_table_of_eighty_columns(
    evaluator: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "out", Console(highlight=False, width=80))
    metrics, parts = METRICS[evaluator]
    assert feature_tables.print_features(evaluator, metrics)
    shown = capsys.readouterr()
    for part in parts:
        assert part in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert shown.err.strip()


@pytest.mark.parametrize("evaluator", METRICS)
@pytest.mark.parametrize("metrics", [{}, {"depths": 3, "version": [], "regularised": {"penultimate": 1}}])
def test_what_cannot_be_read_is_left_to_another_table(evaluator: str, metrics: dict[str, Any]) -> None:
    assert not feature_tables.print_features(evaluator, metrics)
    assert not feature_tables.print_features("unheard_of", METRICS[evaluator][0])


def test_why_nothing_was_measured_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert feature_tables.print_features("statistics", {"reason": "the network has no batch statistics"})
    assert "statistics: not measured, since the network has no batch statistics" in capsys.readouterr().err
