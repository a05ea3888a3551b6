"""What a network sees is shown before it is registered, and told afterwards."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ledger.cli.commands.registration import absolute_spec
from PIL import Image

from ledger.domain.data_record import DataOptions, DataRecord, parse_split
from ledger.domain.image_policy import image_policy
from ledger.domain.settings import CropMode, Preprocessing
from ledger.errors import AccuracyError, ConflictError, RefusedError, UsageError
from ledger.images.contact_sheet import CELL, NAME_WIDTH, SheetImage, draw
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows


def test_a_sheet_shows_pixels_as_they_arrive() -> None:
    ramp = np.linspace(0, 1, 9, dtype=np.float32).reshape(1, 3, 3)
    colours = np.stack([np.full((4, 8), v, np.float32) for v in (1.0, 0.5, 0.0)])
    sheet = Image.open(io.BytesIO(draw([("a", [SheetImage(ramp, "a", True)]), ("b", [])], "x")))
    cell = np.asarray(sheet)[26 : 26 + CELL, NAME_WIDTH : NAME_WIDTH + CELL]
    # Nine squares of one grey each.
    for row in range(3):
        for column in range(3):
            square = cell[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
            assert (square == round(255 * float(ramp[0, row, column]))).all()
    wide = Image.open(io.BytesIO(draw([("a", [SheetImage(colours, "b" * 99, False)])], "x")))
    cell = np.asarray(wide)[26 : 26 + CELL, NAME_WIDTH : NAME_WIDTH + CELL]
    assert cell[CELL // 2, CELL // 2].tolist() == [255, 128, 0]
    # Half as high as wide, with paper above and below.
    assert cell[4, CELL // 2].tolist() == [255, 255, 255]


def test_a_sheet_is_drawn_at_registration_and_where_it_is_refused(empty: Cli, rows: Rows, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    said = empty("model", "add", "pets", *rows.options("--contact-sheet", str(good))).err
    assert f"wrote what the network sees to {good}" in said
    # Answers of another order: refused, and the sheet shows them.
    state = rows.state()
    rows.weights.write_bytes(tensor_files.serialise({"1.weight": state["1.weight"].roll(1, 0)}))
    options = rows.options("--contact-sheet", str(bad))
    answer = empty("model", "add", "more", *options, code=7)
    assert type(answer.error) is AccuracyError
    first, second = (np.asarray(Image.open(path)).astype(int) for path in (good, bad))
    assert first.shape == second.shape
    red = [((p[..., 0] > 120) & (p[..., 1] < 80) & (p[..., 2] < 80)).sum() for p in (first, second)]
    assert red[0] == 0 < red[1]
    # The file is new, and elsewhere than in a ledger.
    empty.refused(ConflictError, 4, "model", "add", "more", *options)
    place = empty.root / "keys" / "sheet.png"
    empty.refused(RefusedError, 7, "model", "add", "more", *rows.options("--contact-sheet", str(place)))


def test_what_is_done_with_an_image_is_shown(pets: Cli) -> None:
    said = pets("model", "show", "pets").out
    for subject, words in image_policy(
        "npz:x", Preprocessing(1, 5, 5, (0,), (1,), "bilinear", 1.0, CropMode.SQUASH), DataOptions()
    ).items():
        assert subject in said
        assert words.partition(" ")[0] in said


def test_policies_follow_what_was_said() -> None:
    center = Preprocessing(crop_fraction=0.875, crop_mode=CropMode.CENTER)
    told = image_policy("folder:x", center, DataOptions(upright=True, test_share=0.25, split_seed=3))
    assert told["EXIF orientation"] == "applied"
    assert told["crop"] == "the shorter side is resized, and the centre is cropped: 0.875 of it"
    assert "25% of each class, set aside with seed 3" in told["test images"]
    assert image_policy("folder:x", center, DataOptions())["EXIF orientation"].startswith("ignored")
    assert "luma" in image_policy("csv:x", Preprocessing(1), DataOptions())["grey and colour"]
    assert set(image_policy("mine:x", center, DataOptions()).values()) >= {"as its plugin reads it"}
    assert "not cropped" in image_policy("folder:x", Preprocessing(), DataOptions())["crop"]


def test_paths_are_recorded_as_later_commands_find_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, found in {
        "folder:photos": f"folder:{tmp_path}/photos",
        "parquet:a.parquet?image=b": f"parquet:{tmp_path}/a.parquet?image=b",
        "torchvision:MNIST:data": f"torchvision:MNIST:{tmp_path}/data",
        "local-dir:hub": f"local-dir:{tmp_path}/hub",
        "net.py:build": f"{tmp_path}/net.py:build",
    }.items():
        assert absolute_spec(given) == found
    for same in ("digits", "folder:s3://bucket/photos", "hfds:me/pets", "hf-hub:me/pets", "timm/resnet18"):
        assert absolute_spec(same) == same


@pytest.mark.parametrize(("text", "share"), [("0.8/0.2", 0.2), ("80/20", 0.2), ("75/25", 0.25)])
def test_shares_are_read(text: str, share: float) -> None:
    assert parse_split(text) == pytest.approx(share)
    record = DataRecord(options=DataOptions(test_share=parse_split(text), split_seed=7))
    assert DataRecord.from_json(record.to_json() | {"classes": []}) == record


@pytest.mark.parametrize("text", ["", "1", "0.8", "0.8/0.3", "1/0", "-1/2", "x/y", "nan/1", "0.5/0.5/0", "inf/inf"])
def test_shares_make_up_the_whole(text: str) -> None:
    with pytest.raises(UsageError, match="--split cannot be"):
        parse_split(text)


def test_what_no_split_was_asked_for_is_recorded_as_before() -> None:
    assert DataOptions().to_json() == {"skipped": (), "upright": False}
