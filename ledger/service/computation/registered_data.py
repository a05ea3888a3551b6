"""The images of a model, compared with those that its results rest on: class by class, by their content."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.digest import json_digest
from ledger.domain.command_lines import RETRY_FAILED
from ledger.domain.data_record import ClassContent, ClassRecord, DataOptions, SourceContents
from ledger.domain.labels import LabelMap
from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.errors import DataError
from ledger.hookspecs import DataSource
from ledger.plugin_manager import guarded
from ledger.service.ledger import Ledger

CACHE = "image-digests.db"
"""File of the ledger in which data sources remember digests of what they read."""
MANY = 1000
"""Images from which on a person is told that they are read again."""
MOST_NAMED = 5
"""Classes that a sentence names."""


@dataclass(frozen=True)
class ClassChange:
    """A class whose images are not those that results rest on."""

    class_index: int
    before: ClassRecord
    now: ClassContent

    @property
    def went(self) -> bool:
        """Whether the class has no training images any more."""
        return self.now.train_images == 0

    @property
    def came_back(self) -> bool:
        """Whether the images were gone, and are again what they were."""
        return self.before.gone and (self.before.train, self.before.test) == (self.now.train, self.now.test)

    def sentence(self, labels: LabelMap) -> str:
        """Say what changed, e.g. ``cat (train 120 -> 119 images)``."""
        before, now = self.before, self.now
        if before.gone:
            return f"{labels[self.class_index]} (train {now.train_images:,} images, which were gone, are back)"
        parts = []
        for split, digests, counts in (
            ("train", (before.train, now.train), (before.train_images, now.train_images)),
            ("test", (before.test, now.test), (before.test_images, now.test_images)),
        ):
            if counts[0] != counts[1]:
                parts.append(f"{split} {counts[0]:,} -> {counts[1]:,} images")
            elif digests[0] != digests[1]:
                parts.append(f"{split} images or their names are others")
        return f"{labels[self.class_index]} ({'; '.join(parts)})"

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return what the audit log records of it: class index, training and test images before and now."""
        before, now = self.before, self.now
        return self.class_index, before.train_images, now.train_images, before.test_images, now.test_images


def normal(label: str) -> str:
    """Return a label in the spelling in which a model's label map holds it."""
    return unicodedata.normalize("NFC", label)


def cache_of(ledger: Ledger) -> Path:
    """Return the file in which data sources of a ledger may remember digests."""
    return ledger.config.root / CACHE


def read_contents(
    source: DataSource, begin: Callable[[int], Callable[[], None]], *, check: bool = False
) -> SourceContents | None:
    """Return what a source says of each class, by label in one spelling; None if it only has a digest of the whole."""
    contents = getattr(source, "contents", None)
    if contents is None:
        return None
    found: SourceContents = guarded(lambda: contents(begin, check=check), "the data source")
    classes = {normal(label): one for label, one in found.classes.items()}
    return SourceContents(classes, found.bad, found.notes)


def data_digest(labels: LabelMap, classes: Sequence[ClassRecord]) -> str:
    """Return the digest of a model's images: of each class, its label and its content."""
    return json_digest(
        {
            label: [one.train, one.test, *(["gone"] if one.gone else [])]
            for label, one in zip(labels.labels, classes, strict=True)
        }
    )


def records(labels: LabelMap, classes: Mapping[str, ClassContent]) -> tuple[ClassRecord, ...]:
    """Return the classes of a source in the order of a model's labels; a class that it lacks has no images."""
    nothing = ClassContent("", "", 0, 0)
    return tuple(ClassRecord(**vars(classes.get(label, nothing))) for label in labels.labels)


def changes(model: Model, contents: SourceContents, forgotten: frozenset[int]) -> list[ClassChange]:
    """Return the classes whose images are not those that the results of a model rest on.

    Args:
        model: The model; its record knows each class.
        contents: What the images are now.
        forgotten: Classes that computations start without: nothing rests on their images any more.
    """
    found = []
    now = records(model.labels, contents.classes)
    for k, (before, after) in enumerate(zip(model.data.classes, now, strict=True)):
        absent = before.gone and not after.train_images
        same = (before.train, before.test) == (after.train, after.test) and not before.gone
        if k not in forgotten and not absent and not same:
            found.append(ClassChange(k, before, after))
    return found


def open_source(ledger: Ledger, spec: str, options: DataOptions) -> DataSource:
    """Open a data source, with the ledger's memory of what was read of it."""
    return ledger.plugins.data_source(spec, options, cache_of(ledger))


def open_registered(ledger: Ledger, model: Model, anchor: Version) -> DataSource:
    """Open a model's images, and check that they are what its results rest on.

    Images of classes that the anchor version has forgotten do not matter any more. A model that an earlier release
    registered is compared as that release did: files by name and size.

    Raises:
        DataError: They changed, or are not there any more; names the classes, and the command that goes on.
    """
    try:
        source = open_source(ledger, model.data_spec, model.data.options)
    except DataError as error:
        raise DataError(
            f"the images of {model.name} cannot be read: {error.message}",
            f"if they moved, say where they are: unledger model rebind {model.name} --data SPEC, and {RETRY_FAILED}",
        ) from error
    if model.data.classes:
        contents = read_contents(source, lambda total: _tell_many(ledger, model, total))
        found = [] if contents is None else changes(model, contents, anchor.forgotten)
        if contents is None or found:
            raise _changed(model, found)
        return source
    if (getattr(source, "earlier_digest", None) or source.digest) != model.data_digest:
        raise _changed(model, [])
    if hasattr(source, "contents"):
        ledger.tell(
            f"note: {model.name} was registered by an earlier release, which told images apart by name and size only; "
            f"to have changes noticed that keep both: unledger model rebind {model.name}"
        )
    return source


def _tell_many(ledger: Ledger, model: Model, total: int) -> Callable[[], None]:
    if total >= MANY:
        ledger.tell(f"note: reading {total:,} images of {model.name}, since they are not known as unchanged")
    return lambda: None


def _changed(model: Model, found: Sequence[ClassChange]) -> DataError:
    described = describe(model.labels, found)
    return DataError(
        f"the data of {model.name} ({model.data_spec}) changed since it was registered"
        + (f": {described}" if described else ""),
        "restore it, or go on with it as it is: "
        f"unledger model rebind {model.name} --accept-changes REASON, and {RETRY_FAILED}",
    )


def describe(labels: LabelMap, found: Sequence[ClassChange]) -> str:
    """Return the changed classes as one text, the first few by name."""
    named = ", ".join(change.sentence(labels) for change in found[:MOST_NAMED])
    return named + (f", and {len(found) - MOST_NAMED:,} more classes" if len(found) > MOST_NAMED else "")
