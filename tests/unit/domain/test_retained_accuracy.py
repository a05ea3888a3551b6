"""The accuracy on retained classes is told beside both originals, and each is called what it is."""

from typing import Any

import pytest

from ledger.domain.retained_accuracy import RetainedAccuracy


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def metrics(**retained: float | None) -> dict[str, Any]:
    return {name: {"per_class": [], "retained": share, "forgotten": 0.0} for name, share in retained.items()}


def test_both_figures_are_told() -> None:
    found = RetainedAccuracy.of_metrics(metrics(test=0.974, mask_test=0.979, base_test=0.971))
    assert found.told(percent) == (
        "97.4 % (masked original 97.9 %: lost 0.5 points; plain original 97.1 %: gained 0.3 points)"
    )
    assert found.lost == pytest.approx(0.005)
    assert found.dropped == pytest.approx(-0.003)
    assert found.told(percent, "version 1").endswith("; version 1 97.1 %: gained 0.3 points)")


@pytest.mark.parametrize(
    ("masked", "said"),
    [(0.9, "the same"), (0.9004, "the same"), (0.91, "lost 1.0 point"), (0.89, "gained 1.0 point")],
)
def test_a_difference_is_in_points(masked: float, said: str) -> None:
    assert RetainedAccuracy(0.9, masked, None).comparison(percent) == f"masked original {percent(masked)}: {said}"


def test_evidence_of_earlier_releases_lacks_the_mask() -> None:
    found = RetainedAccuracy.of_metrics(metrics(test=0.9, base_test=0.95))
    assert (found.masked, found.lost) == (None, None)
    assert found.told(percent) == "90.0 % (plain original 95.0 %: lost 5.0 points)"


@pytest.mark.parametrize("broken", [{}, {"test": None, "mask_test": [], "base_test": {"retained": "x"}}])
def test_what_makes_no_sense_is_not_told(broken: dict[str, Any]) -> None:
    found = RetainedAccuracy.of_metrics(broken)
    assert found == RetainedAccuracy(None, None, None)
    assert found.told(percent) == "- (compared with nothing)"
