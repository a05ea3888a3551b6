"""Kinds of image folders that people have: each is registered, or refused for its true cause with the way on."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ledger.errors import DataError, LedgerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows

LABELS = "abcde"


@pytest.fixture
def photos(rows: Rows) -> Path:
    """The toy model's images as files, in ``train/`` and ``test/``."""
    arrays = rows.arrays()
    for split in ("train", "test"):
        for n, (image, k) in enumerate(zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)):
            folder = rows.folder / "photos" / split / LABELS[k]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image).astype(np.uint8)).save(folder / f"{n:03}.png")
    return rows.folder / "photos"


def _first(photos: Path, label: str = "b") -> Path:
    return min((photos / "train" / label).iterdir())


def _again(change: Callable[[Image.Image], Image.Image], ending: str, **options: Any) -> Callable[[Path], Path]:
    """Return what writes one image anew in another way."""

    def alter(photos: Path) -> Path:
        path = _first(photos)
        with Image.open(path) as image:
            changed = change(image.copy())
        path.unlink()
        changed.save(path.with_suffix(ending), **options)
        return photos

    return alter


def _sixteen(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def _with_alpha(image: Image.Image) -> Image.Image:
    changed = image.convert("RGBA")
    changed.putalpha(Image.new("L", image.size, 128))
    return changed


def _turned() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif, "quality": 100}


def _validation(photos: Path) -> Path:
    (photos / "test").rename(photos / "Val")
    return photos


def _only_train(photos: Path) -> Path:
    shutil.rmtree(photos / "test")
    return photos


def _classes_alone(photos: Path) -> Path:
    return photos / "train"


def _deep(photos: Path) -> Path:
    for label in LABELS:
        inner = photos / "train" / label / "2024" / "spring"
        inner.mkdir(parents=True)
        for path in (photos / "train" / label).glob("*.png"):
            path.rename(inner / path.name)
    return photos


def _strangers(photos: Path) -> Path:
    (photos / "train" / "b" / "notes.txt").write_text("x")
    (photos / "train" / "labels.csv").write_text("x")
    return photos


def _hidden(photos: Path) -> Path:
    for name in (".DS_Store", "._000.png", "Thumbs.db"):
        (photos / "train" / "b" / name).write_bytes(b"\0")
    (photos / "train" / ".ipynb_checkpoints").mkdir()
    return photos


def _mac(photos: Path) -> Path:
    shutil.copytree(photos / "train", photos / "__MACOSX")
    (photos / "test" / "b" / "._x.png").write_bytes(b"\0\5\26\7")
    return photos


def _upper(photos: Path) -> Path:
    for path in (photos / "train" / "b").iterdir():
        path.rename(path.with_suffix(".PNG"))
    return photos


def _renamed(photos: Path) -> Path:
    for split in ("train", "test"):
        (photos / split / "b").rename(photos / split / "b é 日本")
    return photos


def _linked(photos: Path) -> Path:
    shutil.move(photos / "train" / "b", photos.parent / "elsewhere")
    (photos / "train" / "b").symlink_to(photos.parent / "elsewhere")
    return photos


SPLIT = ("--split", "0.75/0.25")
REGISTERED: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "train and test": (lambda photos: photos, (), ""),
    "train and val": (_validation, (), ""),
    "only train, split": (_only_train, SPLIT, "25% of the images of each class are set aside"),
    "classes alone, split": (_classes_alone, SPLIT, "25% of the images of each class are set aside"),
    "nested": (_deep, (), ""),
    "files of other kinds": (_strangers, (), "files that are not named like images are left out: 1"),
    "hidden files": (_hidden, (), "hidden files and folders are left out: 4"),
    "of a Mac": (_mac, (), "hidden files and folders are left out: 1"),
    "upper case endings": (_upper, (), ""),
    "blanks and other scripts": (_renamed, (), ""),
    "linked folder": (_linked, (), ""),
    "colour": (_again(lambda image: image.convert("RGB"), ".png"), (), ""),
    "CMYK": (_again(lambda image: image.convert("CMYK"), ".jpg", quality=100), (), "1 image has CMYK colours"),
    "16 bits": (_again(_sixteen, ".png"), (), "1 image has more than 8 bits"),
    "transparency": (_again(_with_alpha, ".png"), (), "1 image has transparency"),
    "turned by EXIF": (_again(lambda image: image, ".jpg", **_turned()), (), "1 image has an EXIF orientation"),
    "palette": (_again(lambda image: image.convert("P"), ".gif"), (), ""),
}


@pytest.mark.parametrize("kind", REGISTERED)
def test_folders_that_are_registered(empty: Cli, rows: Rows, photos: Path, kind: str) -> None:
    change, options, said = REGISTERED[kind]
    data = change(photos)
    answer = empty("model", "add", "pets", *rows.options(*options, data=f"folder:{data}"))
    assert said in answer.err
    shown = empty.json("model", "show", "pets")
    assert len(shown["labels"]) == 5
    # One image of twenty may suffer from how it was written.
    assert shown["accuracy"]["train"]["correct"] >= shown["accuracy"]["train"]["images"] - 1
    assert ("test images" in shown["images"]) == bool(options)


class Refused(NamedTuple):
    """How a folder is refused."""

    change: Callable[[Path], Path]
    cause: str
    way_on: str
    mend: tuple[str, ...] = ()
    """What is added to the command to be registered after all."""
    error: type[LedgerError] = DataError


def _zip(photos: Path) -> Path:
    return _moved_archive(photos, "zip")


def _tar(photos: Path) -> Path:
    return _moved_archive(photos, "gztar")


def _moved_archive(photos: Path, kind: str) -> Path:
    made = shutil.make_archive(str(photos.parent / "archive"), kind, photos)
    shutil.rmtree(photos)
    return photos.parent / made.rpartition("/")[2]


def _flat(photos: Path) -> Path:
    flat = photos.parent / "flat"
    flat.mkdir()
    for path in sorted(photos.rglob("*.png")):
        path.rename(flat / f"{path.parent.name}_{path.parent.parent.name}_{path.name}")
    return flat


def _corrupt(photos: Path) -> Path:
    path = _first(photos)
    with Image.open(path) as image:
        image.convert("RGB").save(path.with_suffix(".jpg"))
    path.unlink()
    data = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(data[: len(data) // 2])
    return photos


def _empty_class(photos: Path) -> Path:
    (photos / "train" / "f").mkdir()
    return photos


def _no_test_of_one(photos: Path) -> Path:
    shutil.rmtree(photos / "test" / "b")
    return photos


def _other_case(photos: Path) -> Path:
    (photos / "test" / "b").rename(photos / "test" / "B")
    return photos


def _lost_link(photos: Path) -> Path:
    _first(photos).unlink()
    (photos / "train" / "b" / "x.png").symlink_to(photos / "nowhere.png")
    return photos


REFUSED: dict[str, Refused] = {
    "only train": Refused(_only_train, "only train/", "--split 0.8/0.2", SPLIT),
    "classes alone": Refused(
        lambda photos: (photos / "train").rename(photos.parent / "all"), "no train/ folder", "--split", SPLIT
    ),
    "inner folder": Refused(_classes_alone, "no train/ folder", "name the folder above it"),
    "flat": Refused(_flat, "no train/ folder", "--data csv:FILE"),
    "zipped": Refused(_zip, "is an archive, not a folder", "unzip"),
    "packed": Refused(_tar, "is an archive, not a folder", "tar -xzf"),
    "truncated JPEG": Refused(_corrupt, "cannot read 1 image", "--bad-images skip", ("--bad-images", "skip")),
    "lost link": Refused(_lost_link, "No such file or directory", "--bad-images skip", ("--bad-images", "skip")),
    "empty class": Refused(_empty_class, "no train images of f", "every class needs at least one image"),
    "class without test images": Refused(
        _no_test_of_one, "no test images of b", "every class needs at least one image"
    ),
    "upper case class": Refused(_other_case, "classes that train/ lacks: B", "upper and lower case count"),
    "nowhere": Refused(lambda photos: photos / "none", "there is no folder", "check the path"),
    "split twice": Refused(lambda photos: photos, "has test images of its own", "leave --split out", SPLIT, UsageError),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_folders_that_are_refused_say_why(empty: Cli, rows: Rows, photos: Path, kind: str) -> None:
    case = REFUSED[kind]
    options = rows.options(data=f"folder:{case.change(photos)}")
    first = (*options, *(case.mend if case.error is UsageError else ()))
    answer = empty.refused(case.error, case.error.exit_code, "model", "add", "pets", *first)
    assert case.cause in answer.err
    assert case.way_on in answer.err
    if case.mend and case.error is not UsageError:
        empty("model", "add", "pets", *options, *case.mend)


def test_the_printed_command_unpacks_an_archive(
    empty: Cli, rows: Rows, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    archive = _tar(photos)
    answer = empty("model", "add", "pets", *rows.options(data=f"folder:{archive}"), code=7)
    said = answer.err.rpartition("name the folder: ")[2].strip()
    monkeypatch.chdir(tmp_path)
    subprocess.run(["sh", "-c", said], check=True)
    folder = shlex.split(said)[1]
    empty("model", "add", "pets", *rows.options(data=f"folder:{folder}"))


def test_images_set_aside_are_the_same_ever_after(empty: Cli, rows: Rows, photos: Path) -> None:
    options = rows.options(*SPLIT, data=f"folder:{_only_train(photos)}")
    empty("model", "add", "pets", *options)
    empty("model", "add", "again", *options)
    empty("model", "add", "other", *options, "--set", "seed=1")
    digests = [empty.json("model", "show", name)["data_digest"] for name in ("pets", "again", "other")]
    assert digests[0] == digests[1] != digests[2]
    empty("forget", "pets", "-c", "b", "--wait")
    # A new image of another class is noticed as such.
    shutil.copy(_first(photos, "c"), photos / "train" / "c" / "new.png")
    answer = empty.refused(DataError, 7, "preview", "pets", "-c", "d")
    assert "changed since it was registered: c (" in answer.err
