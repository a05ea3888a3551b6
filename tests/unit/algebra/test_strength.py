"""How strengths compare, and what joint requests make of the forget alpha."""

from dataclasses import FrozenInstanceError

import pytest

from ledger.algebra.strength import Strength


def test_strengths_order_by_retain_then_forget_alpha() -> None:
    assert sorted([Strength(30.0, 3.0), Strength(10.0, 100.0), Strength(10.0, 3.0)]) == [
        Strength(10.0, 3.0),
        Strength(10.0, 100.0),
        Strength(30.0, 3.0),
    ]


def test_the_forget_alpha_scales_with_the_number_of_classes() -> None:
    assert Strength(10.0, 3.0).effective_alpha_f == 3.0
    assert Strength(10.0, 3.0, classes=4).effective_alpha_f == 12.0


def test_a_strength_is_a_value() -> None:
    assert {Strength(10.0, 3.0), Strength(10.0, 3.0, classes=1)} == {Strength(10.0, 3.0)}
    with pytest.raises(FrozenInstanceError):
        Strength(10.0, 3.0).alpha_r = 1.0  # type: ignore[misc]
