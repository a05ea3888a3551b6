"""Every image is read once before anything rests on it; what cannot be read is refused together, or left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ledger.domain.data_record import BadImages, DataOptions
from ledger.errors import DataError
from ledger.service.models.data_check import open_checked
from ledger.service.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.desk import Desk

BROKEN = tuple(f"train/cat/{n:02d}.png" for n in range(12))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = root / split / label
            folder.mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / "good.png")
    for name in BROKEN:
        (root / name).write_text("no image")
    return root


def checked(desk: Desk, photos: Path, policy: BadImages, *skipped: str) -> DataOptions:
    options = DataOptions(skipped=skipped)
    found = open_checked(desk.ledger, f"folder:{photos}", options, Silent(), policy)
    assert found.contents is not None
    assert found.contents.bad == ()
    return found.options


def test_bad_images_are_refused_together_with_their_number(desk: Desk, photos: Path) -> None:
    with desk.unchanged(), pytest.raises(DataError, match="cannot read 12 images") as raised:
        checked(desk, photos, BadImages.REFUSE)
    assert raised.value.message.count("train/cat/") == 10
    assert raised.value.message.endswith("and 2 more")
    assert "--bad-images skip" in raised.value.hint


def test_bad_images_are_left_out_by_name_and_told(desk: Desk, photos: Path) -> None:
    told: list[str] = []
    desk.ledger.tell = told.append
    assert checked(desk, photos, BadImages.SKIP).skipped == BROKEN
    assert any("12 images cannot be read and are left out" in sentence for sentence in told)


def test_what_was_left_out_before_is_not_refused_again(desk: Desk, photos: Path) -> None:
    assert checked(desk, photos, BadImages.REFUSE, *BROKEN).skipped == BROKEN


def test_of_those_left_out_before_only_new_ones_are_refused(desk: Desk, photos: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read 1 image of .*: train/cat/11\.png"):
        checked(desk, photos, BadImages.REFUSE, *BROKEN[:-1])


def test_a_repaired_image_counts_again(desk: Desk, photos: Path) -> None:
    Image.new("L", (8, 8)).save(photos / BROKEN[0])
    assert checked(desk, photos, BadImages.REFUSE, *BROKEN).skipped == BROKEN[1:]
