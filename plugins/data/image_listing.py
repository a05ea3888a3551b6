"""Which files of a folder are images, in the order in which they count; and what was left out, to be told."""

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SUFFIXES = frozenset(
    f".{name}"
    for name in "apng avif bmp gif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
"""How names of images end, in lower case. The content of a file decides what it is."""
FOREIGN = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"})
"""Names, in lower case, of what operating systems and file servers put beside the files of a person."""
MOST_NAMED = 3
"""Files of a kind that a sentence names."""


class ImageFile(NamedTuple):
    """A file that is named like an image, and what tells whether it changed."""

    name: str
    """Path within the class's folder, with ``/``, as the disk spells it."""
    size: int
    """In bytes; negative for what is not a regular file, or is not there."""
    changed: tuple[int, ...] = ()
    """Times of modification and change in nanoseconds, number of the file and of its disk."""
    cause: str = ""
    """Why it cannot be read at all; empty if it may be."""


@dataclass
class LeftOut:
    """What was left out of a source, by kind, and what was counted although a person may not expect it."""

    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, kind: str, name: str) -> None:
        """Note one file or folder of a kind."""
        self.names[kind].append(name)

    def sentences(self) -> list[str]:
        """Return a sentence for each kind, with some names."""
        return [
            f"{kind}: {len(names):,} ({', '.join(map(shown, sorted(names)[:MOST_NAMED]))}"
            f"{', ...' if len(names) > MOST_NAMED else ''})"
            for kind, names in self.names.items()
        ]


def shown(name: str) -> str:
    """Return a file name that any terminal and database takes: bytes that are not UTF-8 are spelled out."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def normal(name: str) -> str:
    """Return a name as NFC: the same name is spelled in another way on a Mac than elsewhere."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_foreign(name: str) -> bool:
    """Whether a name is hidden, or one that a system gave: never an image or a class of the person's."""
    return name.startswith(".") or name.lower() in FOREIGN


def list_images(folder: Path, within: str, left_out: LeftOut) -> list[ImageFile]:
    """List the images of a folder and the folders in it, in order of their paths.

    Links are followed, to folders too, as ``torchvision.datasets.ImageFolder`` does; a link back to where it comes from
    is not. Hidden files, and what operating systems leave behind, do not count.

    Args:
        folder: A class's folder.
        within: What to call it in a sentence, e.g. ``train/cat``.
        left_out: Takes note of everything that is left out.
    """
    walk = _Walk(within, left_out)
    walk.read(os.fspath(folder), "")
    found = walk.found
    if any("/" in one.name or not one.name.isascii() for one in found):
        # Part by part, as paths are compared, in one spelling; where two are spelled the same, the raw names decide.
        found.sort(key=lambda one: (normal(one.name).split("/"), one.name))
    else:
        found.sort()
    return found


class _Walk:
    """Reads one class's folder and those below it."""

    def __init__(self, within: str, left_out: LeftOut) -> None:
        self.found: list[ImageFile] = []
        self._within = within
        self._left_out = left_out
        self._linked: set[tuple[int, int]] = set()
        """Folders that links led to, and those that such links lie in: each is read once."""

    def read(self, folder: str, prefix: str) -> None:
        """Read one folder; ``prefix`` is its path within the class's, with a slash at its end."""
        folders: list[tuple[bool, str, str, os.stat_result]] = []
        for entry in _entries(folder, f"{self._within}/{prefix}".rstrip("/"), self._left_out):
            name = entry.name
            if name[0] == "." or name.lower() in FOREIGN:
                self._note("hidden files and folders are left out", prefix + name)
                continue
            try:
                status = entry.stat()
            except OSError as error:
                # A link that leads nowhere, or a file that went away.
                self._missing(prefix + name, error)
                continue
            mode = status.st_mode
            if stat.S_ISDIR(mode):
                folders.append((entry.is_symlink(), name, entry.path, status))
            elif not _is_image(name):
                self._note("files that are not named like images are left out", prefix + name)
            elif stat.S_ISREG(mode):
                changed = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
                self.found.append(ImageFile(prefix + name, status.st_size, changed))
            else:
                self.found.append(ImageFile(prefix + name, -1, cause="it is not a regular file"))
        # Folders are searched for images, whatever they are called; links last, so that they depend on nothing else.
        for linked, name, path, status in sorted(folders, key=lambda one: one[:2]):
            if not linked:
                self.read(path, f"{prefix}{name}/")
            elif self._is_new(folder, status):
                self._note("linked folders are read as if they were here", prefix + name)
                self.read(path, f"{prefix}{name}/")
            else:
                self._note("links to a folder that is read anyway are left out", prefix + name)

    def _note(self, kind: str, name: str) -> None:
        self._left_out.note(kind, f"{self._within}/{name}")

    def _missing(self, name: str, error: OSError) -> None:
        if _is_image(name):
            self.found.append(ImageFile(name, -1, cause=error.strerror or type(error).__name__))
        else:
            self._note("links that lead nowhere are left out", name)

    def _is_new(self, folder: str, status: os.stat_result) -> bool:
        """Whether a link in a folder leads to where the walk has not been."""
        target, real = _identity(status), Path(folder).resolve()
        if target in self._linked or any(_identity(parent.stat()) == target for parent in (real, *real.parents)):
            return False
        self._linked |= {target, *(_identity(parent.stat()) for parent in (real, *real.parents))}
        return True


def _entries(folder: str, within: str, left_out: LeftOut) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        left_out.note(f"folders that cannot be read ({error.strerror}) are left out", within)


def _is_image(name: str) -> bool:
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and f".{suffix.lower()}" in SUFFIXES


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
