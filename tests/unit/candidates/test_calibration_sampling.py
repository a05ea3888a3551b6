"""How many images candidates are judged on, however many classes are forgotten."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ledger.candidates import calibration_sampling
from ledger.candidates.calibration_sampling import (
    FEWEST_FORGOTTEN_IMAGES_EACH,
    FORGOTTEN_IMAGES,
    FORGOTTEN_IMAGES_EACH,
    MOST_FORGOTTEN_IMAGES,
)
from ledger.domain.settings import Preprocessing, Settings
from ledger.hookspecs import Split
from ledger.images.sampling import ClassSamples

CLASSES, EACH = 200, 400


def samples_of(k: int) -> ClassSamples:
    """Return every image of a class, to be forgotten or for calibration."""
    own = tuple(range(k * EACH, (k + 1) * EACH))
    return ClassSamples(calibration=own, retain=own, forget=own)


@pytest.mark.parametrize(
    ("forgotten", "each"),
    [(1, FORGOTTEN_IMAGES), (3, 100), (6, 50), (12, FORGOTTEN_IMAGES_EACH), (20, 30), (60, 10), (190, 10)],
)
def test_each_forgotten_class_is_shown_as_often_as_the_total_allows(
    forgotten: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their pixels are of no interest here.
    monkeypatch.setattr(calibration_sampling, "load_images", lambda _s, indices, _p: np.zeros((len(indices), 1)))
    calibration = calibration_sampling.sample_calibration(
        cast("Split", SimpleNamespace(labels=np.repeat(np.arange(CLASSES), EACH))),
        samples_of,
        forgotten=range(forgotten),
        retained=range(forgotten, CLASSES),
        preprocessing=Preprocessing(),
        batch_size=Settings().batch_size,
    )
    labels = np.concatenate([batch.labels.numpy() for batch in calibration.forgotten])
    assert np.array_equal(np.bincount(labels), np.full(forgotten, each))
    assert len(labels) <= max(MOST_FORGOTTEN_IMAGES, forgotten * FEWEST_FORGOTTEN_IMAGES_EACH)
    retained = np.concatenate([batch.labels.numpy() for batch in calibration.retained])
    assert set(retained.tolist()) == set(range(forgotten, CLASSES))
