"""Where a tree of images has its splits and its classes, and what to do where they are not where they should be."""

import os
from pathlib import Path
from typing import NamedTuple

from ledger.domain.command_lines import quoted
from ledger.domain.data_record import DEFAULT_DATA_OPTIONS, DataOptions
from ledger.errors import DataError

from .image_listing import LeftOut, is_foreign, is_image, normal, shown

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "val", "validation", "valid", "testing")
BEGINNING = 512
TAR_MAGIC = slice(257, 262)
ARCHIVES = {
    b"PK\x03\x04": "unzip {file} -d {folder}",
    b"\x1f\x8b": "mkdir {folder} && tar -xzf {file} -C {folder}",
    b"ustar": "mkdir {folder} && tar -xf {file} -C {folder}",
    b"7z\xbc\xaf": "7z x {file} -o{folder}",
    b"Rar!": "unrar x {file}",
}
"""How archives begin, and what unpacks them."""
LAYOUT = "lay the images out as PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg"


class Splits(NamedTuple):
    """The folders of both splits."""

    train: Path
    test: Path | None


def find_splits(root: Path, options: DataOptions = DEFAULT_DATA_OPTIONS) -> Splits:
    """Find ``train/`` and ``test/``, or what else they are often called; case does not matter.

    Where a part of the images is to be set aside, ``test/`` may be missing, and classes may lie in ``root`` itself.

    Raises:
        DataError: One of them is missing; says what is there instead.
    """
    if root.is_file():
        raise _of_file(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {shown(str(root))}", "check the path after folder:")
    folders = {entry.name.lower(): entry.name for entry in sorted(root.iterdir(), reverse=True) if entry.is_dir()}
    train = next((root / folders[name] for name in TRAIN_NAMES if name in folders), None)
    test = next((root / folders[name] for name in TEST_NAMES if name in folders), None)
    if train is not None and test is not None:
        return Splits(train, test)
    if options.test_share and test is None:
        return Splits(train or root, None)
    said = f"{shown(str(root))} has no train/ folder beside a test/ or val/ folder"
    if train is not None:
        raise DataError(
            f"{said}: only {train.name}/",
            "forgetting is measured on images that the model was not trained on: "
            f"put some of each class into {shown(str(root / 'test'))}/CLASS, or set a part of each class aside, which "
            "is recorded: --split 0.8/0.2",
        )
    if root.name.lower() in (*TRAIN_NAMES, *TEST_NAMES):
        raise DataError(
            said,
            f"name the folder above it: {quoted(f'folder:{root.parent}')}; or set a part of each class in this one "
            "aside: --split 0.8/0.2",
        )
    raise DataError(said, _of_layout(root))


def _of_file(path: Path) -> DataError:
    """Return the error for a file in the place of a folder."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    for magic, unpack in ARCHIVES.items():
        if beginning[TAR_MAGIC if magic == b"ustar" else slice(0, None)].startswith(magic):
            folder = path.name.partition(".")[0] or "images"
            return DataError(
                f"{shown(str(path))} is an archive, not a folder",
                f"unpack it, and name the folder: {unpack.format(file=quoted(str(path)), folder=quoted(folder))}",
            )
    return DataError(
        f"{shown(str(path))} is a file, not a folder",
        "a table is csv:FILE, Parquet is parquet:FILE, an archive of arrays npz:FILE",
    )


def _of_layout(root: Path) -> str:
    """Say what to do about a folder without train/ and test/."""
    entries = [entry for entry in sorted(root.iterdir()) if not is_foreign(entry.name)]
    if any(entry.is_dir() for entry in entries):
        return f"{LAYOUT}; if its folders are the classes, set a part of each aside as test images: --split 0.8/0.2"
    if any(is_image(entry.name) for entry in entries):
        return f"{LAYOUT}; or say what each file shows in a table of path,label,split: --data csv:FILE"
    return LAYOUT


def list_class_folders(train: Path, test: Path | None, left_out: LeftOut) -> dict[str, tuple[str, str | None]]:
    """Return the classes of both splits: by label, the names of their folders as the disk spells them.

    Labels are compared in one spelling (NFC), since a Mac may spell an accent in another way than other systems.

    Raises:
        DataError: There is no class, a name cannot be that of a class, two have the same name, or ``test/`` has a class
            that ``train/`` lacks.
    """
    trained = _folders(train, left_out)
    tested = {} if test is None else _folders(test, left_out)
    for label in trained:
        # What is no UTF-8 on disk comes as halves of characters, which no database takes.
        if not label.isprintable():
            raise DataError(
                f"{shown(label)!r} in {shown(str(train))} cannot be the name of a class",
                "rename the folder, in UTF-8 and without control characters",
            )
    if not trained:
        raise DataError(f"{shown(str(train))} has no folder of a class", _of_layout(train))
    strangers = sorted(set(tested) - set(trained))
    if strangers:
        folded = {label.casefold(): label for label in trained}
        same = next(
            (f"{name!r} is {folded[name.casefold()]!r} in train/" for name in strangers if name.casefold() in folded),
            "",
        )
        raise DataError(
            f"{shown(str(test or ''))} has classes that train/ lacks: {', '.join(map(shown, strangers[:5]))}",
            f"upper and lower case count: {same}" if same else "remove them, or name them as in train/",
        )
    return {label: (name, tested.get(label)) for label, name in trained.items()}


def _folders(split: Path, left_out: LeftOut) -> dict[str, str]:
    found: dict[str, str] = {}
    with os.scandir(split) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            within = f"{split.name}/{entry.name}"
            if is_foreign(entry.name):
                left_out.note("hidden files and folders are left out", within)
            elif not entry.is_dir():
                left_out.note("files outside the folders of classes are left out", within)
            elif normal(entry.name) in found:
                raise DataError(
                    f"two folders in {shown(str(split))} are called {normal(entry.name)!r}, spelled in two ways",
                    "put their images into one of them",
                )
            else:
                found[normal(entry.name)] = entry.name
    return found
