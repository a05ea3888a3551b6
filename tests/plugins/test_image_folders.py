"""Which files of a folder count as images, under which classes, and what is told about the rest."""

from __future__ import annotations

import io
import os
import unicodedata
from typing import TYPE_CHECKING

import pytest
from ledger.plugins.data import image_contents
from ledger.plugins.data.digest_cache import DigestCache
from ledger.plugins.data.folder import FolderSource
from ledger.plugins.data.image_files import decode
from PIL import Image

from ledger.domain.data_record import DataOptions, SourceContents
from ledger.domain.settings import Preprocessing
from ledger.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RGB = Preprocessing(3, 8, 8, (0.0,) * 3, (1.0,) * 3)


def paint(path: Path, colour: tuple[int, int, int] = (255, 0, 0), kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path, kind)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split in ("train", "test"):
        for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
            paint(root / split / label / "0.png", colour)
            paint(root / split / label / "1.png", colour)
    return root


def opened(root: Path, cache: Path | None = None, **options: object) -> FolderSource:
    return FolderSource(root, DataOptions(**options), cache)  # type: ignore[arg-type]


def contents(root: Path, cache: Path | None = None, *, check: bool = True) -> SourceContents:
    found: SourceContents = opened(root, cache).contents(lambda _total: lambda: None, check=check)
    return found


# -- files --------------------------------------------------------------------------------------------

STRAY: dict[str, tuple[str, str]] = {
    "._0.png": ("hidden", "train/cat/._0.png"),
    ".DS_Store": ("hidden", ".DS_Store"),
    ".ipynb_checkpoints/0.png": ("hidden", ".ipynb_checkpoints"),
    "__MACOSX/0.png": ("hidden", "__MACOSX"),
    "@eaDir/0.png": ("hidden", "@eaDir"),
    "Thumbs.db": ("hidden", "Thumbs.db"),
    "notes.txt": ("not named like images", "notes.txt"),
    "0.png.part": ("not named like images", "0.png.part"),
    "clip.mp4": ("not named like images", "clip.mp4"),
}


@pytest.mark.parametrize("name", STRAY)
@pytest.mark.parametrize("where", ["train/cat", "train"])
def test_what_is_not_an_image_of_the_persons_is_left_out_and_told(photos: Path, where: str, name: str) -> None:
    before = opened(photos)
    path = photos / where / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"anything")
    after = contents(photos)
    assert list(opened(photos).labels) == list(before.labels) == ["cat", "dog"]
    assert opened(photos).train.labels == before.train.labels
    assert opened(photos).digest == before.digest
    kind, said = STRAY[name] if where == "train/cat" or STRAY[name][0] == "hidden" else ("outside the folders", name)
    assert any(kind in note and said.rpartition("/")[2] in note for note in after.notes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("2.JPG", "JPEG"),
        ("2.jfif", "JPEG"),
        ("2.JPE", "JPEG"),
        ("2.avif", "AVIF"),
        ("2.Gif", "GIF"),
        ("2.pnm", "PPM"),
        ("2.webp", "WEBP"),
        ("2.tif", "TIFF"),
    ],
)
def test_images_of_every_common_name_count(photos: Path, name: str, kind: str) -> None:
    paint(photos / "train" / "cat" / name, (0, 255, 0), kind)
    source = opened(photos)
    assert source.train.labels == [0, 0, 0, 1, 1]
    assert float(source.train.pixels([2], RGB)[0, 1].mean()) > 0.9
    assert contents(photos).bad == ()


def test_names_that_are_not_utf8_are_read_and_spelled_out(photos: Path) -> None:
    cat = photos / "train" / "cat"
    (cat / os.fsdecode(b"\xff.png")).write_bytes((cat / "0.png").read_bytes())
    (cat / os.fsdecode(b"\xfe.png")).write_bytes(b"no image")
    assert len(opened(photos).train.labels) == 6
    [bad] = contents(photos).bad
    assert bad.name == "train/cat/\\xfe.png"
    assert len(opened(photos, skipped=(bad.name,)).train.labels) == 5


LINKS = {"more": ("linked",), "below": ("deep/linked",), "twice": ("a", "b")}


@pytest.mark.parametrize("how", LINKS)
def test_linked_folders_are_searched_once_and_told(photos: Path, how: str) -> None:
    paint(photos.parent / "elsewhere" / "9.png")
    for name in LINKS[how]:
        link = photos / "train" / "cat" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(photos.parent / "elsewhere")
    assert opened(photos).train.labels == [0, 0, 0, 1, 1]
    assert any("linked folders are read" in note for note in contents(photos).notes)


@pytest.mark.parametrize("target", [".", "..", "../..", "../dog/back"])
def test_links_in_a_circle_end(photos: Path, target: str) -> None:
    (photos / "train" / "dog" / "back").symlink_to("../cat")
    (photos / "train" / "cat" / "again").symlink_to(target)
    source = opened(photos)
    assert 4 <= len(source.train.labels) <= 10
    assert opened(photos).digest == source.digest


def test_folders_of_classes_may_be_links(photos: Path) -> None:
    (photos / "train" / "dog").rename(photos.parent / "dogs")
    (photos / "train" / "dog").symlink_to(photos.parent / "dogs")
    assert opened(photos).train.labels == [0, 0, 1, 1]


# -- classes and splits -------------------------------------------------------------------------------


@pytest.mark.parametrize("train_form", ["NFC", "NFD"])
@pytest.mark.parametrize("test_form", ["NFC", "NFD"])
def test_accents_may_be_spelled_in_either_way(photos: Path, train_form: str, test_form: str) -> None:
    expected = opened(photos).train
    for split, form in (("train", train_form), ("test", test_form)):
        (photos / split / "dog").rename(photos / split / unicodedata.normalize(form, "Hündin"))  # type: ignore[arg-type]
    source = opened(photos)
    assert source.labels == ["Hündin", "cat"]
    assert len(source.train.labels) == len(expected.labels)
    assert len(set(source.test.labels)) == 2
    assert float(source.train.pixels([0], RGB)[0, 2].mean()) == 1


def test_an_image_name_in_another_spelling_is_the_same_data(photos: Path) -> None:
    file = photos / "train" / "cat" / "0.png"
    composed = file.rename(file.with_name(unicodedata.normalize("NFC", "größe.png")))
    before = opened(photos).digest
    composed.rename(file.with_name(unicodedata.normalize("NFD", "größe.png")))
    assert opened(photos).digest == before


def test_one_name_in_two_spellings_is_refused(photos: Path) -> None:
    for form in ("NFC", "NFD"):
        paint(photos / "train" / unicodedata.normalize(form, "é") / "0.png")
    with pytest.raises(DataError, match="spelled in two ways"):
        opened(photos)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "testing", "TEST", "Val"])
def test_the_test_split_has_many_names(photos: Path, name: str) -> None:
    (photos / "test").rename(photos / name)
    assert len(opened(photos).test.labels) == 4


LAYOUTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "only train": (lambda root: (root / "test").rename(root.parent / "x"), "only train/", "not trained on"),
    "only test": (lambda root: (root / "train").rename(root.parent / "x"), "no train/ folder", "lay the images out"),
    "no such folder": (lambda root: root.rename(root.parent / "x"), "there is no folder", "check the path"),
    "no classes": (
        lambda root: [child.rename(root.parent / child.name) for child in sorted((root / "train").iterdir())],
        "has no folder of a class",
        "lay the images out",
    ),
    "a stranger in test": (lambda root: paint(root / "test" / "cow" / "0.png"), "train/ lacks: cow", "as in train/"),
    "case": (lambda root: (root / "test" / "cat").rename(root / "test" / "Cat"), "lacks: Cat", "'Cat' is 'cat'"),
    "not UTF-8": (
        lambda root: (root / "train" / os.fsdecode(b"\xff")).mkdir(),
        r"cannot be the name of a class",
        "UTF-8",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_refused_with_a_way_on(photos: Path, layout: str) -> None:
    change, message, hint = LAYOUTS[layout]
    change(photos)
    with pytest.raises(DataError, match=message) as raised:
        opened(photos)
    assert hint in raised.value.hint


def test_the_folder_of_a_split_leads_to_the_one_above(photos: Path) -> None:
    with pytest.raises(DataError) as raised:
        opened(photos / "train")
    assert f"folder:{photos}" in raised.value.hint


# -- contents -----------------------------------------------------------------------------------------


def swap_in(file: Path, other: Path) -> None:
    """Give a file other contents, and its old times again."""
    file.write_bytes(other.read_bytes())
    os.utime(file, (1_500_000_000, 1_500_000_000))


CHANGES: dict[str, Callable[[Path], object]] = {
    "two classes swapped": lambda root: (
        (root / "train/cat").rename(root / "x"),
        (root / "train/dog").rename(root / "train/cat"),
        (root / "x").rename(root / "train/dog"),
    ),
    "noise of the same size": lambda root: (root / "train/cat/0.png").write_bytes(
        os.urandom((root / "train/cat/0.png").stat().st_size)
    ),
    "two images swapped": lambda root: (
        (root / "train/cat/0.png").rename(root / "x"),
        (root / "train/dog/0.png").rename(root / "train/cat/0.png"),
        (root / "x").rename(root / "train/dog/0.png"),
    ),
    "an image of the test split": lambda root: (root / "test/cat/0.png").write_bytes(
        (root / "test/dog/0.png").read_bytes()
    ),
    "an image renamed": lambda root: (root / "train/cat/0.png").rename(root / "train/cat/2.png"),
    "an image less": lambda root: (root / "train/cat/0.png").unlink(),
    "old times set again": lambda root: swap_in(root / "train/cat/0.png", root / "train/dog/0.png"),
}


@pytest.fixture
def remembered(photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache that knows every image: files of a second ago are remembered too."""
    monkeypatch.setattr(image_contents, "SETTLED_NS", -1)
    for file in photos.rglob("*.png"):
        os.utime(file, (1_500_000_000, 1_500_000_000))
    contents(photos, tmp_path / "cache.db")
    return tmp_path / "cache.db"


def reads(root: Path, cache: Path | None, *, check: bool = True) -> tuple[int, SourceContents]:
    """Return how many files are read, and what is found."""
    steps: list[int] = []
    found = opened(root, cache).contents(lambda _total: lambda: steps.append(1), check=check)
    return len(steps), found


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed_and_only_its_class_is_read(photos: Path, remembered: Path, change: str) -> None:
    assert reads(photos, remembered)[0] == 0
    before = contents(photos).classes
    CHANGES[change](photos)
    count, found = reads(photos, remembered)
    assert found.classes != before
    assert found.classes == contents(photos).classes
    assert 0 <= count <= 4


def make_folder(cache: Path) -> None:
    """Put a folder in the place of a file."""
    cache.unlink()
    cache.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda cache: cache.unlink(),
    "garbage": lambda cache: cache.write_bytes(b"garbage" * 1000),
    "cut short": lambda cache: os.truncate(cache, cache.stat().st_size // 2),
    "empty": lambda cache: os.truncate(cache, 0),
    "a folder": make_folder,
    "another release's": lambda cache: DigestCache(cache)._run(lambda c: c.execute("PRAGMA user_version = 99")),
    "other values": lambda cache: DigestCache(cache)._run(lambda c: c.execute("UPDATE folders SET summary = '[1]'")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_memory_only_costs_time(photos: Path, remembered: Path, damage: str) -> None:
    expected = contents(photos)
    DAMAGE[damage](remembered)
    assert reads(photos, remembered)[1] == expected
    assert reads(photos, remembered)[1] == expected


def test_a_file_of_just_now_is_not_remembered(photos: Path, tmp_path: Path) -> None:
    contents(photos, tmp_path / "cache.db")
    assert reads(photos, tmp_path / "cache.db")[0] == 8


def test_what_was_only_read_is_decoded_when_that_is_asked_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_contents, "SETTLED_NS", -1)
    cache = tmp_path / "cache.db"
    (photos / "train/cat/0.png").write_bytes((photos / "train/cat/1.png").read_bytes()[:-30])
    assert (reads(photos, cache, check=False)[0], reads(photos, cache, check=False)[0]) == (8, 0)
    count, found = reads(photos, cache)
    assert (count, [bad.name for bad in found.bad]) == (8, ["train/cat/0.png"])
    assert reads(photos, cache) == (0, found)


# -- images that cannot be read ------------------------------------------------------------------------


def encoded(kind: str) -> bytes:
    """Return an image in a format."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated JPEG": lambda file: file.write_bytes(encoded("JPEG")[:-30]),
    "text": lambda file: file.write_text("no image"),
    "empty": lambda file: file.touch(),
    "link to nowhere": lambda file: file.symlink_to("nowhere.png"),
    "pipe": os.mkfifo,
    "bomb": lambda file: Image.new("1", (70_000, 2_000)).save(file, "PNG"),
    "32 bits": lambda file: Image.new("I", (8, 8), 70_000).save(file, "TIFF"),
    "floats of 0 to 255": lambda file: Image.new("F", (8, 8), 200.0).save(file, "TIFF"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_cannot_be_read_is_found_before_anything_rests_on_it(photos: Path, fault: str) -> None:
    BROKEN[fault](photos / "train" / "dog" / "2.png")
    [bad] = contents(photos).bad
    assert bad.name == "train/dog/2.png"
    assert bad.cause
    without = opened(photos, skipped=(bad.name,))
    assert without.train.labels == [0, 0, 1, 1]
    assert without.train.pixels(range(4), RGB).shape == (4, 3, 8, 8)


# -- how images are read ------------------------------------------------------------------------------


def grey16(value: int) -> Image.Image:
    return Image.new("I;16", (8, 8), value)


def turned(_: object = None) -> Image.Image:
    """An image whose left half is red, stored lying on its side."""
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.paste((0, 0, 255), (4, 0, 8, 8))
    image.getexif()[0x0112] = 3
    return image


TRAITS: dict[str, tuple[Image.Image, str, str]] = {
    "16 bits": (grey16(128 * 257), "PNG", "more than 8 bits"),
    "orientation": (turned(), "JPEG", "EXIF orientation"),
    "alpha": (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "PNG", "transparency"),
    "grey with alpha": (Image.new("LA", (8, 8), (9, 0)), "PNG", "transparency"),
    "CMYK": (Image.new("CMYK", (8, 8)), "JPEG", "CMYK"),
    "floats": (Image.new("F", (8, 8), 0.5), "TIFF", "more than 8 bits"),
}


@pytest.mark.parametrize("trait", TRAITS)
def test_what_is_changed_when_an_image_is_read_is_told(photos: Path, trait: str) -> None:
    image, kind, said = TRAITS[trait]
    suffix = kind.lower()
    image.save(
        photos / "train" / "cat" / f"2.{suffix}", kind, **({"exif": image.getexif()} if "orien" in trait else {})
    )
    notes = contents(photos).notes
    assert any(note.startswith("1 image has") and said in note for note in notes)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_read_and_told(photos: Path, kind: str) -> None:
    path = photos / "train" / "cat" / f"2.{kind.lower()}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((0, 255, 0), (255, 0, 0))]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    assert any("several frames" in note for note in contents(photos).notes)
    assert decode(path, RGB)[0, 0].argmax() == 1


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (grey16(128 * 257), "PNG", 128),
        (grey16(65_535), "TIFF", 255),
        (grey16(200), "PNG", 1),
        (Image.new("I", (8, 8), 32_896), "PPM", 128),
        (Image.new("F", (8, 8), 0.5), "TIFF", 128),
        (Image.new("1", (8, 8), 1), "PNG", 255),
    ],
)
def test_values_are_scaled_to_eight_bits(tmp_path: Path, image: Image.Image, kind: str, expected: int) -> None:
    image.save(tmp_path / "x", kind)
    for channels in (1, 3):
        values = decode(tmp_path / "x", Preprocessing(channels, 8, 8))
        assert (values.min(), values.max()) == (expected, expected)


def test_orientation_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    turned().save(tmp_path / "x.jpg", exif=turned().getexif(), quality=100)
    left = [decode(tmp_path / "x.jpg", RGB, turned=asked)[4, 1].argmax() for asked in (False, True)]
    assert left == [0, 2]
