"""How many images candidates are judged on, however many classes are forgotten."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ledger.domain.settings import Preprocessing, Settings
from ledger.service.computation import unlearning
from ledger.service.computation.unlearning import (
    FEWEST_FORGOTTEN_IMAGES_EACH,
    FORGOTTEN_IMAGES,
    FORGOTTEN_IMAGES_EACH,
    MOST_FORGOTTEN_IMAGES,
)
from ledger.service.computation.workbench import Workbench

CLASSES, EACH = 200, 400


class Shown:
    """As much of a workbench as choosing images needs: their pixels are of no interest here."""

    def __init__(self) -> None:
        labels = np.repeat(np.arange(CLASSES), EACH)
        train = SimpleNamespace(labels=labels, pixels=lambda indices, _: np.zeros((len(indices), 3, 2, 2)))
        self.source = SimpleNamespace(train=train)
        self.base = SimpleNamespace(forgotten=frozenset())
        self.model = SimpleNamespace(
            labels=[str(k) for k in range(CLASSES)], settings=Settings(), preprocessing=Preprocessing()
        )

    @staticmethod
    def samples(k: int) -> SimpleNamespace:
        own = range(k * EACH, (k + 1) * EACH)
        return SimpleNamespace(to_be_forgotten=own, calibration=own)


@pytest.mark.parametrize(
    ("forgotten", "each"),
    [(1, FORGOTTEN_IMAGES), (3, 100), (6, 50), (12, FORGOTTEN_IMAGES_EACH), (20, 30), (60, 10), (190, 10)],
)
def test_each_forgotten_class_is_shown_as_often_as_the_total_allows(
    forgotten: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlearning, "load_images", lambda _s, indices, _p: np.zeros((len(indices), 1)))
    calibration = unlearning._calibration(cast(Workbench, Shown()), frozenset(range(forgotten)))
    labels = np.concatenate([batch.labels.numpy() for batch in calibration.forgotten])
    assert np.array_equal(np.bincount(labels), np.full(forgotten, each))
    assert len(labels) <= max(MOST_FORGOTTEN_IMAGES, forgotten * FEWEST_FORGOTTEN_IMAGES_EACH)
    retained = np.concatenate([batch.labels.numpy() for batch in calibration.retained])
    assert set(retained.tolist()) == set(range(forgotten, CLASSES))
