"""The ``digit-pairs`` source: a hundred classes of two scans each, split without a scan in common."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from ledger.domain.settings import Preprocessing
from ledger.hookspecs import DataSource, Split
from ledger.plugin_manager import build_plugins

SIDE = 8


@pytest.fixture(scope="module")
def pairs() -> DataSource:
    return build_plugins().data_source("digit-pairs")


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return build_plugins().data_source("digits")


def every_image(split: Split, width: int) -> Tensor:
    return split.pixels(range(len(split.labels)), Preprocessing(1, SIDE, width))


def scans(split: Split) -> dict[bytes, int]:
    """Return what the digits source shows: each scan's bytes, and which digit it is."""
    images = every_image(split, SIDE)
    return {image.numpy().tobytes(): label for image, label in zip(images, split.labels, strict=True)}


def halves(split: Split) -> list[tuple[bytes, bytes]]:
    """Return the bytes of the left and the right half of every image."""
    images = every_image(split, 2 * SIDE)
    left, right = (half.contiguous() for half in images.split(SIDE, dim=3))  # type: ignore[no-untyped-call]
    return [(a.numpy().tobytes(), b.numpy().tobytes()) for a, b in zip(left, right, strict=True)]


def test_a_hundred_classes_with_as_many_images_each(pairs: DataSource) -> None:
    assert list(pairs.labels) == [f"{k:02d}" for k in range(100)]
    assert Counter(pairs.train.labels) == dict.fromkeys(range(100), 60)
    assert Counter(pairs.test.labels) == dict.fromkeys(range(100), 50)


def test_images_are_two_scans_wide(pairs: DataSource) -> None:
    pixels = pairs.train.pixels([0, 5999], Preprocessing(1, SIDE, 2 * SIDE))
    assert pixels.shape == (2, 1, SIDE, 2 * SIDE)
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
    assert pixels.dtype == torch.float32


def test_the_same_at_every_call_and_on_every_machine(pairs: DataSource) -> None:
    assert build_plugins().data_source("digit-pairs").digest == pairs.digest
    # A registered model refuses data whose digest changed: neither may ever change.
    assert pairs.digest == "708cabeb741646cc1f287baeba9d454426468e62cc5b306c3e5610900eb2e4c1"


def test_the_digits_source_is_what_it_was(digits: DataSource) -> None:
    assert digits.digest == "a873af545dc47ac61689f984e0d74a9da4456ce6a5a3bd6656f8ff7a0c62dfe4"


@pytest.mark.parametrize("part", ["train", "test"])
def test_both_halves_are_scans_of_the_digits_that_the_label_says(
    pairs: DataSource, digits: DataSource, part: str
) -> None:
    split, known = getattr(pairs, part), scans(getattr(digits, part))
    shown = [(known[left], known[right]) for left, right in halves(split)]
    assert shown == [(label // 10, label % 10) for label in split.labels]


def test_no_scan_is_in_training_and_in_test_images(pairs: DataSource) -> None:
    trained, tested = ({half for both in halves(split) for half in both} for split in (pairs.train, pairs.test))
    assert len(trained) > 1000
    assert len(tested) > 400
    assert not trained & tested


def test_no_pair_of_scans_is_drawn_twice(pairs: DataSource) -> None:
    for split in (pairs.train, pairs.test):
        drawn = halves(split)
        assert len(set(drawn)) == len(drawn)
