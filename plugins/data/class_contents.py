"""What sources that list images class by class have in common: what they consist of, and its digest."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from ledger.digest import json_digest
from ledger.domain.data_record import ClassContent, SourceContents

from .image_contents import ContentsReader
from .image_listing import ImageList
from .image_traits import read_as

ClassImages = tuple[Path, str, ImageList]
"""Where a class's images are, what to call that, and the images."""


class DigestedByClass:
    """A source whose digest is that of what each class consists of."""

    @cached_property
    def digest(self) -> str:
        """Digest of every image of each class."""
        contents = self.contents(lambda _total: lambda: None)
        return json_digest({label: [one.train, one.test] for label, one in contents.classes.items()})

    @property
    def earlier_digest(self) -> str:
        """The same: no release read such a source in another way."""
        return self.digest

    def contents(self, begin: Callable[[int], Callable[[], None]], *, check: bool = False) -> SourceContents:
        """Return the digests of each class; with ``check``, decode every image that was not decoded before."""
        raise NotImplementedError


def read_contents(
    reader: ContentsReader,
    labels: Sequence[str],
    train: Sequence[ClassImages],
    test: Sequence[ClassImages],
    begin: Callable[[int], Callable[[], None]],
    *,
    check: bool,
    upright: bool,
    notes: Iterable[str],
) -> SourceContents:
    """Read the images of each class, and sum up what they consist of.

    Args:
        reader: Reads them.
        labels: Of the classes.
        train: Training images of each.
        test: Test images of each.
        begin: Called with the number of images to be read, if there are any; returns what to call after each.
        check: Also decode what was not decoded before.
        upright: Whether images are turned as their files say.
        notes: What else a person may not expect.
    """
    found = reader.read([*train, *test], begin, check=check)
    count = len(labels)
    pairs = zip(labels, found[:count], found[count:], train, test, strict=True)
    classes = {
        label: ClassContent(of_train.digest, of_test.digest, len(trained), len(tested))
        for label, of_train, of_test, (_, _, trained), (_, _, tested) in pairs
    }
    traits = sum((one.traits or Counter() for one in found), Counter[str]())
    bad = tuple(bad for one in found for bad in one.bad)
    return SourceContents(classes, bad, (*notes, *read_as(traits, upright=upright)))
