"""Which files of a folder are images, in the order in which they count; and what was left out, to be told."""

import hashlib
import marshal
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

SUFFIXES = frozenset(
    "apng avif bmp gif jfif jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905 - easier to read
)
"""How names of images end, in lower case. The content of a file decides what it is."""
FOREIGN = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"})
"""Names, in lower case, of what operating systems and file servers put beside the files of a person."""
FMT = 0o170000
"""Bits of a file's mode that say what it is."""
MOST_NAMED = 3
"""Files of a kind that a sentence names."""


class ImageFile(NamedTuple):
    """A file that is named like an image, and what tells whether it changed."""

    name: str
    """Path within the class's folder, with ``/``, as the disk spells it."""
    size: int
    """In bytes; negative for what is not a regular file, or is not there."""
    modified_ns: int = 0
    changed_ns: int = 0
    number: int = 0
    """The inode."""
    cause: str = ""
    """Why it cannot be read at all; empty if it may be."""


Listed = tuple[str, int, int, int, int]
"""The values of an :class:`ImageFile` that can be read: making 60,000 of these takes a third of the time."""


class ImageList:
    """The images of a class's folder, in order.

    Args:
        listed: The values of each.
        causes: Why some cannot be read, by name.
        disks: Numbers of the disks that they are on.
        part: Which part of the folder's images they are, if not all.
    """

    def __init__(
        self,
        listed: list[Listed],
        causes: Mapping[str, str] = MappingProxyType({}),
        disks: Collection[int] = (),
        part: str = "",
    ) -> None:
        self._part = part
        self._listed = listed
        self._causes = causes
        self._disks = sorted(disks)

    def __len__(self) -> int:
        return len(self._listed)

    @cached_property
    def files(self) -> list[ImageFile]:
        """The images."""
        return [ImageFile(*values, self._causes.get(values[0], "")) for values in self._listed]

    def without(self, names: Collection[str]) -> "ImageList":
        """Return the list without some names, as :func:`shown` spells them."""
        kept = [values for values in self._listed if shown(values[0]) not in names]
        return ImageList(kept, self._causes, self._disks, self._part)

    def only(self, positions: Collection[int], part: str) -> "ImageList":
        """Return some of the images, in order, under a name for this part of the folder."""
        return ImageList([self._listed[k] for k in positions], self._causes, self._disks, part)

    def place(self, folder: str) -> str:
        """Return under what the list is remembered.

        Args:
            folder: Where the images are.
        """
        return f"{folder}\0{self._part}" if self._part else folder

    def fingerprint(self, folder: str) -> bytes:
        """Return what tells whether any of the files changed, was added or removed.

        Args:
            folder: Where they are.
        """
        # The second version of this format has the same bytes for equal values, and is the quickest of all.
        return hashlib.sha256(
            marshal.dumps((self.place(folder), self._disks, sorted(self._causes.items()), self._listed), 2)
        ).digest()


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


def list_images(folder: Path, within: str, left_out: LeftOut) -> ImageList:
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
    if walk.deep or not "".join(map(itemgetter(0), found)).isascii():
        # Part by part, as paths are compared, in one spelling; where two are spelled the same, the raw names decide.
        found.sort(key=lambda one: (normal(one[0]).split("/"), one[0]))
    else:
        found.sort(key=itemgetter(0))
    return ImageList(found, walk.causes, walk.disks)


class _Walk:
    """Reads one class's folder and those below it."""

    def __init__(self, within: str, left_out: LeftOut) -> None:
        self.found: list[Listed] = []
        self.causes: dict[str, str] = {}
        self.disks: set[int] = set()
        self.deep = False
        """Whether there are folders below."""
        self._within = within
        self._left_out = left_out
        self._linked: set[tuple[int, int]] = set()
        """Folders that links led to, and those that such links lie in: each is read once."""

    def read(self, folder: str, prefix: str) -> None:
        """Read one folder; ``prefix`` is its path within the class's, with a slash at its end."""
        others: list[tuple[os.DirEntry[str], os.stat_result]] = []
        add, suffixes, what, regular = self.found.append, SUFFIXES, FMT, stat.S_IFREG
        try:
            self.disks.add(Path(folder).stat().st_dev)
            with os.scandir(folder) as entries:
                # Written out: this is done for every file before every request.
                for entry in entries:
                    name = entry.name
                    try:
                        status = entry.stat()
                    except OSError as error:
                        # A link that leads nowhere, or a file that went away.
                        self._missing(prefix, name, error)
                        continue
                    if name[name.rfind(".") + 1 :] in suffixes and name[0] != "." and status.st_mode & what == regular:
                        size, modified, changed = status.st_size, status.st_mtime_ns, status.st_ctime_ns
                        add((prefix + name, size, modified, changed, status.st_ino))
                    else:
                        others.append((entry, status))
        except OSError as error:
            self._note(f"folders that cannot be read ({error.strerror}) are left out", prefix.rstrip("/"))
        self._look_at(folder, prefix, others)

    def _look_at(self, folder: str, prefix: str, others: list[tuple[os.DirEntry[str], os.stat_result]]) -> None:
        """Look at what is no image of an ordinary name."""
        folders: list[tuple[bool, str, str, os.stat_result]] = []
        for entry, status in others:
            name = entry.name
            if is_foreign(name):
                self._note("hidden files and folders are left out", prefix + name)
            elif stat.S_ISDIR(status.st_mode):
                folders.append((entry.is_symlink(), name, entry.path, status))
            elif not is_image(name):
                self._note("files that are not named like images are left out", prefix + name)
            elif stat.S_ISREG(status.st_mode):
                size, modified, changed = status.st_size, status.st_mtime_ns, status.st_ctime_ns
                self.found.append((prefix + name, size, modified, changed, status.st_ino))
            else:
                self._unreadable(prefix + name, "it is not a regular file")
        self.deep = self.deep or bool(folders)
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

    def _unreadable(self, name: str, cause: str) -> None:
        self.found.append((name, -1, 0, 0, 0))
        self.causes[name] = cause

    def _missing(self, prefix: str, name: str, error: OSError) -> None:
        if is_foreign(name):
            self._note("hidden files and folders are left out", prefix + name)
        elif is_image(name):
            self._unreadable(prefix + name, error.strerror or type(error).__name__)
        else:
            self._note("links that lead nowhere are left out", prefix + name)

    def _is_new(self, folder: str, status: os.stat_result) -> bool:
        """Whether a link in a folder leads to where the walk has not been."""
        target, real = _identity(status), Path(folder).resolve()
        if target in self._linked or any(_identity(parent.stat()) == target for parent in (real, *real.parents)):
            return False
        self._linked |= {target, *(_identity(parent.stat()) for parent in (real, *real.parents))}
        return True


def is_image(name: str) -> bool:
    """Whether a file's name ends like that of an image."""
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and suffix.lower() in SUFFIXES


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
