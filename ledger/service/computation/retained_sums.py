"""What a computation needs of all classes, put together from what is kept and as few class spaces as possible.

The sums of the retained classes are kept (:mod:`ledger.spaces.retained`). A request takes from them the classes that
are forgotten since, and adds those that came back; it reads the class spaces of these alone, and of the forgotten
classes. The sums are exact, so the result is the same, to the last bit, as from the class spaces of all classes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ledger.domain.class_spaces import ClassSpace, NewClassSpace
from ledger.domain.kept_results import KeptPart, KeptResult, ResultKind
from ledger.engine.gathering import edited_shapes, empty_forget_basis
from ledger.errors import ObjectError, WeightsError
from ledger.service.progress import Progress, counted
from ledger.spaces.bases import Basis
from ledger.spaces.retained import (
    ChangedBasis,
    Changes,
    MapShape,
    PartHead,
    RetainBasis,
    RetainedClasses,
    RetainedMap,
    has_means,
    part_tensors,
    read_part,
)
from ledger.spaces.statistics import ClassStatistics
from ledger.weights import tensor_files

from .class_space_cache import ClassSpaceCache, CollectedSpace, FoundSpace
from .kept_results import PART_BYTES, cut, find_kept_result, keep_result
from .workbench import Workbench

MOST_CHANGES = 8
"""Classes by which kept sums may differ from what a request needs. Beyond, new ones are kept in their place."""
LEAST_SAVING = 2
"""Sums are kept if they take so many times fewer bytes than the class spaces in them."""


class DamagedSumError(ObjectError):
    """A stored part of kept sums is missing or damaged. Everything in it can be computed again."""


@dataclass(frozen=True)
class Bases:
    """What a computation needs of all classes."""

    retain: RetainedClasses
    forget: Basis
    seen: tuple[NewClassSpace, ...]
    """The record of every class space that the bases are made of, in class order."""


class BasisGathering:
    """Gathers the bases for one set of forgotten classes.

    Args:
        workbench: The model.
        forgotten: All classes to forget.
        store: Whether what is collected and summed up is stored.
    """

    def __init__(self, workbench: Workbench, forgotten: frozenset[int], *, store: bool) -> None:
        self._workbench = workbench
        self._cache = ClassSpaceCache(workbench)
        self._all_forgotten = forgotten
        self._forgotten = forgotten - workbench.anchor.forgotten
        self._store = store
        known = len(workbench.model.labels) - len(workbench.anchor.forgotten)
        self._shapes = edited_shapes(workbench.network, known, workbench.model.settings)

    def gather(self, progress: Progress, *, use_kept: bool = True) -> Bases:
        """Return the bases.

        Args:
            progress: Counts class spaces.
            use_kept: Start from kept sums, if they save anything.

        Raises:
            DataError: Images changed, or one cannot be read.
            AuditError: The audit log does not verify.
            RowError: A row is not what the audit log says.
        """
        found = self._cache.find_all(self._all_forgotten, progress, store=self._store)
        plan = self._plan(found) if use_kept else None
        if plan is None:
            return self._from_all(found, progress)
        return self._from_kept(found, plan, progress)

    # -- from all class spaces --------------------------------------------------------------------

    def from_collected(self, collected: Iterable[CollectedSpace[NewClassSpace]]) -> Bases:
        """Return the bases from the class spaces of all classes."""
        retain = RetainBasis(self._shapes, self._workbench.device)
        forget = self._empty_forget()
        seen: list[NewClassSpace] = []
        for one in collected:
            k = one.record.class_index
            seen.append(one.record)
            (forget if k in self._forgotten else retain).add(k, one.statistics)
        if self._store and retain.head.classes:
            self._keep_all(retain, seen)
        return Bases(retain, forget, tuple(seen))

    def _from_all(self, found: Sequence[FoundSpace], progress: Progress) -> Bases:
        progress.phase(self._phase(found), len(found))
        return self.from_collected(self._cache.load(one, store=self._store) for one in counted(progress, found))

    def _keep_all(self, retain: RetainBasis, seen: Sequence[NewClassSpace]) -> None:
        """Keep the sums, if that saves anything."""
        parts = list(cut(retain.maps, lambda key: retain.maps[key].tensor_bytes, PART_BYTES))
        own = sum(one.tensor_bytes for one in retain.maps.values())
        if own * LEAST_SAVING <= sum(r.size for r in seen if r.class_index not in self._forgotten):
            self._keep(retain.head, seen, parts, retain.maps.__getitem__)

    def _empty_forget(self) -> Basis:
        return empty_forget_basis(self._shapes, self._workbench.device)

    def _phase(self, found: Sequence[FoundSpace]) -> str:
        return "class spaces" if self._store else self._cache.phase_of(found)

    # -- from kept sums ---------------------------------------------------------------------------

    def _plan(self, found: Sequence[FoundSpace]) -> "_Plan | None":
        """Return how kept sums differ from what is needed; None if they are not there, or save nothing."""
        kept = find_kept_result(self._workbench, ResultKind.RETAINED)
        keys = [shape.key for shape in self._shapes]
        if kept is None or [key for part in kept.parts for key in part.names] != keys:
            return None
        wanted = {
            one.class_index: None if one.record is None else one.record.object_digest
            for one in found
            if one.class_index not in self._forgotten
        }
        held = dict(kept.members)
        removed = []
        for k, digest in held.items():
            if wanted.get(k) != digest:
                record = self._record(k, digest)
                if record is None:
                    return None
                removed.append(record)
        added = [one for one in found if one.class_index in wanted and not _held(held, one)]
        return _Plan(kept, removed, added) if len(removed) + len(added) < len(wanted) else None

    def _record(self, class_index: int, digest: str) -> ClassSpace | None:
        with self._workbench.ledger.database.read() as tx:
            record = tx.class_spaces.of_object(self._workbench.model, class_index, digest)
            if record is not None:
                tx.trusted.class_space(self._workbench.model.name, class_index, record.spec_digest)
        return record

    def _from_kept(self, found: Sequence[FoundSpace], plan: "_Plan", progress: Progress) -> Bases:
        forget = self._empty_forget()
        records: dict[int, NewClassSpace] = {one.class_index: one.record for one in found if one.record is not None}
        wanted = [one for one in found if one.class_index in self._forgotten]
        progress.phase(self._phase(found), len(plan.removed) + len(plan.added) + len(wanted))
        removed: dict[int, ClassStatistics] = {}
        for record in counted(progress, plan.removed):
            statistics = self._cache.read(record)
            if statistics is None:
                # What is to be taken away is gone: the sums are made anew.
                return self._from_all(found, progress)
            removed[record.class_index] = statistics
        added: dict[int, ClassStatistics] = {}
        for one in counted(progress, plan.added):
            loaded = self._cache.load(one, store=self._store)
            records[one.class_index], added[one.class_index] = loaded.record, loaded.statistics
        for one in counted(progress, wanted):
            loaded = self._cache.load(one, store=self._store)
            records[one.class_index] = loaded.record
            forget.add(one.class_index, loaded.statistics)
        parts = KeptParts(self._workbench, plan.kept, self._shapes)
        head = parts.head.changed(removed, {k: has_means(s, parts.places) for k, s in added.items()})
        seen = tuple(records[one.class_index] for one in found)
        retain = ChangedBasis(parts.load, Changes(removed, added, head.with_means), self._workbench.device)
        if self._store and len(removed) + len(added) > MOST_CHANGES:
            kept = self._keep(head, seen, [part.names for part in plan.kept.parts], retain.changed)
            if kept is not None:
                fresh = KeptParts(self._workbench, kept, self._shapes)
                retain = ChangedBasis(fresh.load, Changes({}, {}, head.with_means), self._workbench.device)
        return Bases(retain, forget, seen)

    def _keep(
        self,
        head: PartHead,
        seen: Sequence[NewClassSpace],
        parts: Sequence[Sequence[str]],
        one: Callable[[str], RetainedMap],
    ) -> KeptResult | None:
        members = [(r.class_index, r.object_digest) for r in seen if r.class_index not in self._forgotten]
        contents = ((keys, tensor_files.serialise(part_tensors(head, [one(key) for key in keys]))) for keys in parts)
        return keep_result(self._workbench, ResultKind.RETAINED, members, contents)


@dataclass(frozen=True)
class _Plan:
    """How kept sums differ from what is needed."""

    kept: KeptResult
    removed: Sequence[ClassSpace]
    added: Sequence[FoundSpace]


class KeptParts:
    """Reads maps of kept sums; the last part that was read is held.

    Args:
        workbench: The model.
        kept: The sums.
        shapes: Of all maps in them.
    """

    def __init__(self, workbench: Workbench, kept: KeptResult, shapes: Sequence[MapShape]) -> None:
        self._workbench = workbench
        self._shapes = {shape.key: shape for shape in shapes}
        self.places = {key: (part, place) for part in kept.parts for place, key in enumerate(part.names)}
        """Of each map: its part, and its place in it."""
        self._last: tuple[KeptPart, dict[str, Tensor]] | None = None
        self.head = PartHead.of(self._tensors(kept.parts[-1]))

    def load(self, key: str) -> RetainedMap:
        """Return one map, anew each time.

        Raises:
            DamagedSumError: Its part is missing, damaged or not what it should be.
        """
        part, place = self.places[key]
        try:
            return read_part(self._tensors(part), [self._shapes[name] for name in part.names], place)
        except WeightsError as error:
            raise DamagedSumError(error.message, "it is computed again") from error

    def _tensors(self, part: KeptPart) -> dict[str, Tensor]:
        if self._last is None or self._last[0] != part:
            try:
                data = self._workbench.ledger.objects.get(part.object_digest)
                self._last = part, tensor_files.parse(data, f"kept sums of {self._workbench.model.name}")
            except (ObjectError, WeightsError) as error:
                raise DamagedSumError(error.message, "it is computed again") from error
        return self._last[1]


def _held(held: Mapping[int, str], one: FoundSpace) -> bool:
    return one.record is not None and held.get(one.class_index) == one.record.object_digest
