"""The class spaces of a model: found in the ledger, or collected from images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ledger.digest import json_digest
from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.errors import DataError, ObjectError
from ledger.service.objects import store_object
from ledger.service.progress import Progress, counted
from ledger.service.versions.recording import append_class_space
from ledger.spaces import files
from ledger.spaces.statistics import ClassStatistics, MapSpaces
from ledger.store.unit_of_work import Transaction

from .class_space_collection import class_space_spec, collect_class_space
from .kept_class_spaces import find_kept
from .workbench import Workbench

Record = TypeVar("Record", bound=NewClassSpace)
Record_co = TypeVar("Record_co", bound=NewClassSpace, covariant=True)


@dataclass(frozen=True)
class CollectedSpace(Generic[Record_co]):
    """A class's statistics in memory."""

    record: Record_co
    """A :class:`ClassSpace` where the ledger keeps it, else a :class:`NewClassSpace`."""
    statistics: ClassStatistics

    @property
    def spaces(self) -> MapSpaces:
        """The spaces, by key of a group of maps."""
        return self.statistics.spaces


@dataclass(frozen=True)
class _Wanted:
    """A class space that a computation needs."""

    class_index: int
    images: tuple[int, ...]
    """Indices into the training split, in collection order; none where they are gone."""
    count: int
    """Number of images wanted."""
    spec_digest: str


class ClassSpaceCache:
    """Yields the class spaces that a computation needs, from the ledger where they are there.

    Both ways to ask yield in class order and read spaces one by one, so a thousand classes need not be in memory
    together. Classes that the anchor version has forgotten have no space: nothing of them is needed any more.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._ledger = workbench.ledger

    def collect_and_store(self, forgotten: frozenset[int], progress: Progress) -> Iterator[CollectedSpace[ClassSpace]]:
        """Yield the space of every class; collect and store those that the ledger lacks.

        Each is stored as soon as it is collected. So interrupted work continues where it stopped, and later requests
        find the spaces of earlier ones.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes: first those to collect, where there are any, then all.
        """
        everything = self._wanted(forgotten)
        self._store_missing(everything, progress)
        progress.phase("class spaces", len(everything))
        for one in counted(progress, everything):
            wanted, record = self._find(one)
            data = None if record is None else self._read(record)
            if record is None or data is None:
                collected, data = self._collect(wanted)
                record = self._add(collected, data) if record is None else self._renew(collected, data)
            yield self._load(record, data)

    def collect_only(self, forgotten: frozenset[int], progress: Progress) -> Iterator[CollectedSpace[NewClassSpace]]:
        """Yield the space of every class; collect those that the ledger lacks, and write nothing.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes.
        """
        everything = self._wanted(forgotten)
        progress.phase("class spaces", len(everything))
        for one in counted(progress, everything):
            wanted, record = self._find(one)
            data = None if record is None else self._read(record)
            if record is None or data is None:
                yield self._load(*self._collect(wanted))
            else:
                yield self._load(record, data)

    # -- find -------------------------------------------------------------------------------------

    def _wanted(self, forgotten: frozenset[int]) -> list[_Wanted]:
        """Return what is needed of each class, in class order."""
        everything = []
        settings = self._workbench.model.settings
        for k in range(len(self._workbench.model.labels)):
            if k in self._workbench.anchor.forgotten:
                continue
            if k in self._workbench.gone:
                count = settings.forget_samples if k in forgotten else settings.retain_samples
                if k in forgotten or self._is_kept(k, count):
                    everything.append(_Wanted(k, (), count, ""))
                continue
            samples = self._workbench.samples(k)
            images = samples.forget if k in forgotten else samples.retain
            everything.append(_Wanted(k, images, len(images), class_space_spec(self._workbench, k, images)))
        return everything

    def _is_kept(self, class_index: int, count: int) -> bool:
        with self._ledger.database.read() as tx:
            return find_kept(tx, self._workbench, class_index, count) is not None

    def _find(self, wanted: _Wanted) -> tuple[_Wanted, ClassSpace | None]:
        with self._ledger.database.read() as tx:
            return self._find_in(tx, wanted)

    def _find_in(self, tx: Transaction, wanted: _Wanted) -> tuple[_Wanted, ClassSpace | None]:
        """Look for a space that covers every map read now; return what is wanted, with the digest it goes by."""
        model, network = self._workbench.model, self._workbench.network
        record = tx.class_spaces.find(model, wanted.class_index, wanted.spec_digest)
        if record is None:
            record = find_kept(tx, self._workbench, wanted.class_index, wanted.count)
            wanted = wanted if record is None else replace(wanted, spec_digest=record.spec_digest)
        if record is not None and not files.covers(record, network.map_groups):
            # Collected when some of these layers had no handler. Versions that used it keep it; a wider one is added.
            digest = json_digest({"spec": wanted.spec_digest, "maps": sorted(m.key for m in network.maps)})
            wanted = replace(wanted, spec_digest=digest)
            record = tx.class_spaces.find(model, wanted.class_index, digest)
        if record is not None:
            tx.trusted.class_space(model.name, wanted.class_index, wanted.spec_digest)
        return wanted, record

    def _read(self, record: ClassSpace) -> bytes | None:
        """Return a class space's stored bytes; None if they are missing or damaged: it can be collected again."""
        try:
            return self._ledger.objects.get(record.object_digest)
        except ObjectError:
            return None

    # -- collect ----------------------------------------------------------------------------------

    def _collect(self, wanted: _Wanted) -> tuple[NewClassSpace, bytes]:
        if not wanted.images:
            label = self._workbench.model.labels[wanted.class_index]
            raise DataError(
                f"the images of {label} are gone, and the ledger has no class space of it that could be used",
                f"restore them, then: unledger model rebind {self._workbench.model.name}",
            )
        return collect_class_space(self._workbench, wanted.class_index, wanted.images, wanted.spec_digest)

    def _load(self, record: Record, data: bytes) -> CollectedSpace[Record]:
        """Read the spaces from their stored form, also right after collecting them: the same bytes either way."""
        return CollectedSpace(record, files.parse(data, record, self._workbench.network.map_groups))

    # -- store ------------------------------------------------------------------------------------

    def _store_missing(self, everything: Sequence[_Wanted], progress: Progress) -> None:
        """Collect and store what the ledger lacks, each class in a transaction of its own."""
        with self._ledger.database.read() as tx:
            found = [self._find_in(tx, wanted) for wanted in everything]
        missing = [wanted for wanted, record in found if record is None]
        if missing:
            progress.phase("collect", len(missing))
        for wanted in counted(progress, missing):
            self._add(*self._collect(wanted))

    def _add(self, record: NewClassSpace, data: bytes) -> ClassSpace:
        """Store a class space that the ledger lacks; return its record as stored."""
        return self._store(record, data, lambda tx: tx.class_spaces.add)

    def _renew(self, record: NewClassSpace, data: bytes) -> ClassSpace:
        """Store a class space again whose bytes were lost; return its record as stored."""
        return self._store(record, data, lambda tx: tx.class_spaces.renew)

    def _store(
        self, record: NewClassSpace, data: bytes, how: Callable[[Transaction], Callable[[NewClassSpace], ClassSpace]]
    ) -> ClassSpace:
        """Store the bytes of a class space, then its record together with the audit event."""
        store_object(self._ledger, data)
        with self._ledger.database.write() as tx:
            model, actor = self._workbench.model, self._ledger.actor
            return append_class_space(tx, model, record, actor=actor, save=how(tx))
