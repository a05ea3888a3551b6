"""How many images candidates are judged on, however many classes are forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ledger.answers import calibration_sampling
from ledger.answers.answer_blocks import blocks_of
from ledger.answers.calibration_sampling import (
    ALIKE_IMAGES,
    COMPARED_IMAGES,
    FEWEST_FORGOTTEN_IMAGES_EACH,
    FORGOTTEN_IMAGES,
    FORGOTTEN_IMAGES_EACH,
    MOST_FORGOTTEN_IMAGES,
)
from ledger.domain.settings import Preprocessing, Settings
from ledger.images.sampling import ClassSamples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.answers.calibration import Batch
    from ledger.answers.calibration_sampling import SampledCalibration
    from ledger.hookspecs import Split

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


def sampled(forgotten: list[int], classes: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> SampledCalibration:
    monkeypatch.setattr(calibration_sampling, "load_images", lambda _s, indices, _p: torch.zeros(len(indices), 1))
    return calibration_sampling.sample_calibration(
        cast("Split", SimpleNamespace(labels=np.repeat(np.arange(CLASSES), EACH))),
        samples_of,
        forgotten=forgotten,
        retained=[k for k in range(classes) if k not in forgotten],
        preprocessing=Preprocessing(),
        batch_size=Settings().batch_size,
        **options,
    )


def indices_of(batches: Sequence[Batch]) -> list[int]:
    return [index for batch in batches for index in batch.indices or ()]


def test_retained_images_come_in_one_random_order_whatever_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, other = (
        indices_of(sampled(forgotten, CLASSES, monkeypatch, seed=seed).retained)
        for forgotten, seed in (([3], 0), ([3, 7], 0), ([3], 1))
    )
    assert one == indices_of(sampled([3], CLASSES, monkeypatch, seed=0).retained)
    assert [i for i in one if i in set(two)] == [i for i in two if i in set(one)]
    assert len(set(one) & set(two)) > 900
    assert sorted(one) == sorted(other)
    assert one != other
    # Of random ones, the first 96 of some thousand are of more than half as many classes; in turns, of the first 96.
    assert len({i // EACH for i in one[:96]}) > 60
    assert max(i // EACH for i in one[:96]) > 150


def test_classes_that_are_resembled_are_apart_where_there_are_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {k: 1 / (1 + abs(k - 50)) for k in range(CLASSES)}
    many = sampled([3], CLASSES, monkeypatch, shares=shares)
    apart = {i // EACH for i in indices_of(many.alike_batches)}
    assert apart == set(range(min(apart), max(apart) + 1))
    assert 50 in apart
    assert ALIKE_IMAGES <= len(indices_of(many.alike_batches)) < ALIKE_IMAGES + 32
    assert not set(indices_of(many.alike_batches)) & set(indices_of(many.drawn_batches))
    assert len(indices_of(many.compared_batches)) == len(indices_of(many.alike_batches)) + COMPARED_IMAGES
    assert {batch.frequent for batch in many.alike_batches} == {True}
    assert [batch.frequent for batch in many.drawn_batches][:: len(many.drawn_batches) - 1] == [True, False]
    few = sampled([3], 10, monkeypatch, shares=shares)
    assert few.alike == 0
    assert few.compared_batches == few.retained
    assert all(batch.frequent for batch in few.batches)


def test_every_image_is_in_a_block_and_few_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for forgotten in ([3], [3, 7, 9]):
        found = sampled(forgotten, 12, monkeypatch)
        wanted, answered = set(indices_of(found.batches)), [i for block in found.blocks for i in block.indices]
        assert wanted <= set(answered)
        assert len(answered) == len(set(answered))
        assert len(answered) - len(wanted) < 8 * 12
        assert all(index // EACH == block.class_index for block in found.blocks for index in block.indices)


@given(held=st.integers(1, 60), rest=st.integers(0, 60), few=st.integers(1, 130), more=st.integers(0, 130))
def test_blocks_do_not_depend_on_how_many_images_are_wanted(held: int, rest: int, few: int, more: int) -> None:
    samples = ClassSamples(tuple(range(held)), (), tuple(range(held, held + rest)))
    some, all_of_them = (list(blocks_of(0, samples, wanted)) for wanted in (few, few + more))
    assert some == all_of_them[: len(some)]
    covered = [i for block in some for i in block.indices]
    assert covered == list(range(len(covered)))
    assert min(few, held + rest) <= len(covered) < few + 8
    assert not any(block.start < held < block.stop for block in some), "held-out images and others are apart"
