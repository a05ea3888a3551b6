"""The class spaces of a model: found in the ledger, or collected from images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Generic, TypeVar

from ledger.digest import json_digest
from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.models import Model
from ledger.errors import DataError, ObjectError
from ledger.service.progress import Progress, counted
from ledger.spaces import files
from ledger.spaces.statistics import ClassStatistics, MapSpaces
from ledger.store.unit_of_work import Transaction

from .class_space_collection import Specs, class_space_specs, collect_class_space
from .class_space_store import ClassSpaceStore
from .collection_tasks import CollectionTask
from .kept_class_spaces import find_kept
from .workbench import Workbench

LookUp = Callable[[int, str], ClassSpace | None]
"""Returns the class space of a class that was collected to a specification, if the ledger has it."""
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
    specs: Specs | None
    """What it is found by; None where the images are gone."""
    forgotten: bool
    """Whether its forget samples are wanted."""


@dataclass(frozen=True)
class FoundSpace:
    """What the ledger has of a class space that is wanted."""

    wanted: _Wanted
    """What is looked for."""
    spec_digest: str
    """What it goes by, or will go by once it is collected."""
    record: ClassSpace | None
    bare: bool = False
    """Whether the record is one that an earlier release stored without means."""
    outdated: bool = False
    """Whether there is only one without means, and it is not enough."""

    @property
    def class_index(self) -> int:
        """The class."""
        return self.wanted.class_index


def _known_by_specs(tx: Transaction, model: Model, specs: Sequence[Specs]) -> LookUp:
    """Read the class spaces of many classes at once: one by one, a thousand of them would take seconds."""
    asked = {one.full for one in specs}
    known = tx.class_spaces.of_specs(model, asked)
    if len(known) < len(specs):
        bare = {one.bare for one in specs}
        known |= tx.class_spaces.of_specs(model, bare)
        asked |= bare

    def look_up(class_index: int, spec_digest: str) -> ClassSpace | None:
        if spec_digest in asked:
            return known.get((class_index, spec_digest))
        return tx.class_spaces.find(model, class_index, spec_digest) if spec_digest else None

    return look_up


class ClassSpaceCache:
    """Finds the class spaces that a computation needs in the ledger, or collects them.

    They are read one by one, so a thousand classes need not be in memory together. Classes that the anchor version has
    forgotten have no space: nothing of them is needed any more.

    Args:
        workbench: The model.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._ledger = workbench.ledger
        self._store = ClassSpaceStore(workbench)

    def find_all(self, forgotten: frozenset[int], progress: Progress, *, store: bool) -> list[FoundSpace]:
        """Return what the ledger has of the space of every class, in class order; read none of them.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes that are collected, where there are any.
            store: Collect and store those that the ledger lacks first, soon after they are collected. So interrupted
                work continues where it stopped, and later requests find the spaces of earlier ones.
        """
        everything = self._wanted(forgotten)
        found = self._find_all(everything)
        missing = [one for one in found if one.record is None]
        if not (store and missing):
            return found
        self._collect_missing(missing, progress)
        return self._find_all(everything)

    def collect_and_store(self, forgotten: frozenset[int], progress: Progress) -> Iterator[CollectedSpace[ClassSpace]]:
        """Yield the space of every class, in class order; collect and store those that the ledger lacks.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes: first those to collect, where there are any, then all.
        """
        everything = self.find_all(forgotten, progress, store=True)
        progress.phase("class spaces", len(everything))
        return (self.load_stored(found) for found in counted(progress, everything))

    def collect_only(self, forgotten: frozenset[int], progress: Progress) -> Iterator[CollectedSpace[NewClassSpace]]:
        """Yield the space of every class, in class order; collect those that the ledger lacks, and write nothing.

        Args:
            forgotten: Classes whose forget samples are wanted; of the others, the retain samples.
            progress: Counts classes.
        """
        everything = self.find_all(forgotten, progress, store=False)
        progress.phase(self.phase_of(everything), len(everything))
        return (self.load(found, store=False) for found in counted(progress, everything))

    def phase_of(self, found: Sequence[FoundSpace]) -> str:
        """Return what reading class spaces is called that may have to be collected meanwhile."""
        outdated = sum(one.outdated for one in found) if self._needs_means else 0
        return f"class spaces, {outdated} again for their means" if outdated else "class spaces"

    def load_stored(self, found: FoundSpace) -> CollectedSpace[ClassSpace]:
        """Return the statistics of a class, as :meth:`load` does; what is collected is stored."""
        data = None if found.record is None else self._read(found.record)
        if found.record is not None and data is not None:
            return self._load(found.record, data)
        collected, data = self._collect(found)
        stored = self._store.add([(collected, data)])[0] if found.record is None else self._store.renew(collected, data)
        return self._load(stored, data)

    def load(self, found: FoundSpace, *, store: bool) -> CollectedSpace[NewClassSpace]:
        """Return the statistics of a class; collect them if the ledger lacks them, or if their bytes are damaged.

        Args:
            found: From :meth:`find_all`.
            store: Store what is collected.
        """
        if store:
            return self.load_stored(found)
        data = None if found.record is None else self._read(found.record)
        if found.record is not None and data is not None:
            return self._load(found.record, data)
        return self._load(*self._collect(found))

    def read(self, record: ClassSpace) -> ClassStatistics | None:
        """Return the statistics of a class as they are stored; None if their bytes are missing or damaged."""
        data = self._read(record)
        return None if data is None else self._load(record, data).statistics

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
                    everything.append(_Wanted(k, (), count, None, k in forgotten))
                continue
            samples = self._workbench.samples(k)
            images = samples.forget if k in forgotten else samples.retain
            specs = class_space_specs(self._workbench, k, images)
            everything.append(_Wanted(k, images, len(images), specs, k in forgotten))
        return everything

    def _is_kept(self, class_index: int, count: int) -> bool:
        with self._ledger.database.read() as tx:
            kept = (find_kept(tx, self._workbench, class_index, count, full=full) for full in (True, False))
            return any(one is not None for one in kept)

    @cached_property
    def _needs_means(self) -> bool:
        """Whether a solver of the model computes with means."""
        solvers = self._ledger.plugins.solvers(self._workbench.settings.solvers)
        return any(getattr(solver, "needs_means", False) for solver in solvers.values())

    def _find_all(self, everything: Sequence[_Wanted]) -> list[FoundSpace]:
        model = self._workbench.model
        with self._ledger.database.read() as tx:
            look_up = _known_by_specs(tx, model, [wanted.specs for wanted in everything if wanted.specs is not None])
            everywhere = [self._find_in(tx, look_up, wanted) for wanted in everything]
            specs = frozenset(found.spec_digest for found in everywhere if found.record is not None)
            tx.trusted.class_spaces_of(model.name, specs)
        return everywhere

    def _find_in(self, tx: Transaction, look_up: LookUp, wanted: _Wanted) -> FoundSpace:
        """Look for a space that covers every map read now, and holds means if they are needed.

        Else return what a new one will go by. Versions that used an older one keep it.
        """
        found = self._find_kind(tx, look_up, wanted, full=True)
        if found.record is None:
            earlier = self._find_kind(tx, look_up, wanted, full=False)
            # Of images that are gone there will never be means: a retained class does without.
            enough = not self._needs_means or not (wanted.images or wanted.forgotten)
            if earlier.record is not None and enough:
                found = replace(earlier, bare=True)
            else:
                found = replace(found, outdated=earlier.record is not None)
        return found

    def _find_kind(self, tx: Transaction, look_up: LookUp, wanted: _Wanted, *, full: bool) -> FoundSpace:
        """Look for a space with means, or without, that covers every map read now."""
        model, network = self._workbench.model, self._workbench.network
        own = "" if wanted.specs is None else wanted.specs.full if full else wanted.specs.bare
        record = look_up(wanted.class_index, own)
        if record is None:
            record = find_kept(tx, self._workbench, wanted.class_index, wanted.count, full=full)
        digest = own if record is None else record.spec_digest
        if record is not None and not files.covers(record, network.map_groups):
            # Collected when some of these layers had no handler: a wider one is added.
            digest = json_digest({"spec": digest, "maps": sorted(m.key for m in network.maps)})
            record = tx.class_spaces.find(model, wanted.class_index, digest)
        return FoundSpace(wanted, digest, record)

    def _read(self, record: ClassSpace) -> bytes | None:
        """Return a class space's stored bytes; None if they are missing or damaged: it can be collected again."""
        try:
            return self._ledger.objects.get(record.object_digest)
        except ObjectError:
            return None

    # -- collect ----------------------------------------------------------------------------------

    def _require_images(self, found: FoundSpace) -> None:
        if found.wanted.images:
            return
        label = self._workbench.model.labels[found.wanted.class_index]
        what = f"the images of {label} are gone, and the ledger has no class space of it that could be used"
        if found.outdated:
            what = (
                f"the images of {label} are gone, and an earlier release stored its class space without the means that "
                "a solver of this model needs"
            )
        raise DataError(what, f"restore them, then: unledger model rebind {self._workbench.model.name}")

    def _collect(self, found: FoundSpace) -> tuple[NewClassSpace, bytes]:
        self._require_images(found)
        wanted = found.wanted
        # In the place of one whose bytes were lost, the same bytes.
        return collect_class_space(
            self._workbench, wanted.class_index, wanted.images, found.spec_digest, bare=found.bare
        )

    def _collect_each(self, some: Sequence[FoundSpace]) -> Iterator[tuple[NewClassSpace, bytes]]:
        """Collect several, in order; the ledger's engine runs as many at a time as it can."""
        return self._ledger.engine.each(
            CollectionTask(
                self._workbench,
                found.wanted.class_index,
                found.wanted.images,
                found.spec_digest,
                found.bare,
                partial(self._collect, found),
            )
            for found in some
        )

    def _load(self, record: Record, data: bytes) -> CollectedSpace[Record]:
        """Read the spaces from their stored form, also right after collecting them: the same bytes either way."""
        return CollectedSpace(record, files.parse(data, record, self._workbench.network.map_groups))

    def _collect_missing(self, missing: Sequence[FoundSpace], progress: Progress) -> None:
        """Collect and store what the ledger lacks."""
        for found in missing:
            self._require_images(found)
        outdated = [found for found in missing if found.outdated]
        for name, some in (
            ("collect", [found for found in missing if not found.outdated]),
            ("collect again for their means, which an earlier release did not store", outdated),
        ):
            if some:
                progress.phase(name, len(some))
            self._store.add_each(counted(progress, self._collect_each(some)))
