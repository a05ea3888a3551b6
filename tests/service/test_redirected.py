"""With the default solvers and strengths, too, the bytes are a function of the set, whatever the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.domain.settings import Settings
from ledger.service.computation.compute import open_unlearning_afresh
from tests.fixtures.trained_digits import DIGITS_SETTINGS
from tests.ledgers.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MODEL = "as-it-comes"
FORGOTTEN = (3, 7, 8)


@pytest.fixture(autouse=True)
def _computed_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute every set, also one that was computed before: the bytes must be the same without being reused."""
    monkeypatch.setattr(Desk, "open_model", staticmethod(open_unlearning_afresh))


@pytest.fixture
def at_default(open_desk: Callable[[Path], Desk], _registered: Path) -> Callable[[], Desk]:
    """Return new desks at which the digits network has the default solvers and strengths; samples are few."""
    quick = {key: value for key, value in DIGITS_SETTINGS.items() if not key.startswith("alpha")}

    def build() -> Desk:
        desk = open_desk(_registered)
        desk.register(MODEL, Settings(**quick))
        return desk

    return build


def digest_of(desk: Desk, requests: Sequence[Sequence[int]]) -> str:
    return [desk.forget(*classes, model=MODEL).weights for classes in requests][-1]


def test_paths_to_a_set_and_back_give_the_same_bytes(at_default: Callable[[], Desk]) -> None:
    together, apart = at_default(), at_default()
    expected = digest_of(together, [FORGOTTEN])
    assert digest_of(apart, [(8,), (7, 3)]) == expected
    assert apart.live(MODEL).recipe.solver == "redirect"
    versions = apart.versions(MODEL)
    [first] = [request for request in (apart.request(1), apart.request(2)) if request.classes == {8}]
    withdrawn = apart.withdraw(first.id)
    assert withdrawn is not None
    assert withdrawn.forgotten == {3, 7}
    assert withdrawn.weights not in {version.weights for version in versions}
    assert apart.forget(8, model=MODEL).weights == expected
