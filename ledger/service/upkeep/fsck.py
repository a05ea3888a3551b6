"""Check a whole ledger: database, history, and every stored object; quarantine the versions that are affected.

What is found is named; nothing is repaired. A version whose weights are not what was recorded is *quarantined*:
nobody gets it until its object is restored and a later check finds it whole. A damaged class space, a damaged sum of
class spaces or a damaged answer quarantines nothing, because no version is served from it: the next request computes it
again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ledger.domain.class_spaces import ClassSpace
from ledger.domain.events.versions import VersionQuarantined, VersionReleased
from ledger.domain.kept_results import KeptResult, ResultKind
from ledger.domain.models import Model
from ledger.domain.versions import Version
from ledger.errors import AccessError, AuditError, LedgerError, ObjectError, OlderDatabaseError, RowError
from ledger.service.audit.replay import differences
from ledger.service.ledger import Ledger
from ledger.service.objects import disk_errors
from ledger.service.progress import Progress
from ledger.store.unit_of_work import Transaction

from .garbage import find_garbage
from .kept_answers import differing_answers
from .kept_sums import differing_parts

REPAIR = "restore it from a backup and check again"


UNREADABLE = "no access"
"""Fault of a file that this account may not read, which is no damage."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    fault: str
    """In a word or two: ``missing``, ``truncated``, ``altered``, ``key missing``, ``unreferenced``, ..."""
    what: str
    """``database``, ``history``, ``rows``, or an object's digest or a temporary file's path."""
    detail: str
    used_by: tuple[str, ...] = ()
    """Versions and class spaces that need it."""
    severe: bool = True
    """False for what costs only space, or is merely not as the newest release would write it."""


@dataclass(frozen=True)
class FsckResult:
    """What a check found."""

    objects: int
    """Objects checked."""
    findings: tuple[Finding, ...]
    quarantined: tuple[str, ...]
    """Versions that this check quarantined, as ``MODEL:N``."""
    released: tuple[str, ...]
    """Versions that were quarantined earlier and are whole again."""

    @property
    def sound(self) -> bool:
        """Whether nothing severe was found."""
        return not any(finding.severe for finding in self.findings)

    @property
    def only_unreadable(self) -> bool:
        """Whether all that is severe is that this account may not read some files."""
        return not self.sound and all(f.fault == UNREADABLE for f in self.findings if f.severe)


@dataclass
class _Uses:
    """What the rows say about one object."""

    length: int | None = None
    """Plain bytes; None if no row describes it."""
    versions: list[tuple[Model, Version]] = field(default_factory=list)
    spaces: list[tuple[Model, ClassSpace]] = field(default_factory=list)
    results: list[tuple[Model, KeptResult]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """Versions, class spaces, kept sums and kept answers, in words."""
        versions = [f"{model.name}:{version.number}" for model, version in self.versions]
        spaces = [f"class space of {m.labels[s.class_index]} ({m.name})" for m, s in self.spaces]
        return (*versions, *spaces, *(_told_kept(m, one.kind) for m, one in self.results))


@disk_errors()
def fsck(ledger: Ledger, progress: Progress, *, model_name: str | None = None, read_data: bool = False) -> FsckResult:
    """Check a ledger, or the objects of one model.

    Args:
        ledger: The ledger.
        progress: Counts objects.
        model_name: Only this model's objects; None for all, and for what no model uses.
        read_data: Read, authenticate and hash every object, instead of looking at size and key. Objects of
            quarantined versions are read in any case.

    Raises:
        NotFoundError: There is no such model.
    """
    findings = [*_database(ledger), *_history(ledger)]
    # Objects are listed before the rows are read: what is stored meanwhile is not taken for garbage.
    there = set(ledger.objects.digests())
    try:
        with ledger.database.read() as tx:
            models = [tx.models.get(model_name)] if model_name else tx.models.all()
            uses, destroyed, leased = _uses(tx, models), tx.objects.destroyed(), tx.leases.live()
            referred = tx.objects.referred()
    except RowError as error:
        # What the rows do not say, nothing can be compared with.
        return FsckResult(0, (*findings, Finding("damaged", "rows", error.message)), (), ())
    progress.phase("objects", len(uses))
    obstacle = _obstacle(ledger)
    if obstacle is not None:
        findings.append(obstacle)
    problems: dict[str, ObjectError] = {}
    proven: set[str] = set()
    for digest, used in sorted(uses.items()):
        read = read_data or any(version.quarantined for _, version in used.versions)
        try:
            problem = _problem(ledger, digest, used, destroyed, read=read)
            findings += _told(ledger, digest, used, problem, judged=obstacle is None)
        except AccessError as error:
            findings.append(Finding(UNREADABLE, digest, f"{error.message}; {error.hint}", used.names))
        else:
            if problem is not None:
                problems[digest] = problem
            elif read:
                proven.add(digest)
        progress.step()
    findings += _kept(ledger, models if read_data and obstacle is None else [], problems)
    if model_name is None:
        findings += _left_over(ledger, there, referred, destroyed, leased)
    if obstacle is not None:
        # Who has other keys or an older database sets nothing apart for everybody.
        return FsckResult(len(uses), tuple(findings), (), ())
    quarantined, released = _quarantine(ledger, uses, problems, proven)
    return FsckResult(len(uses), tuple(findings), quarantined, released)


def _obstacle(ledger: Ledger) -> Finding | None:
    """Return why this host cannot judge the ledger: its keys, or its database, are not the ones that belong to it."""
    problem = ledger.problem()
    if problem is None:
        return None
    detail = f"{problem.message}; {problem.hint}"
    if isinstance(problem, AccessError):
        return Finding(UNREADABLE, "keys", detail)
    if isinstance(problem, OlderDatabaseError):
        return Finding("older", "history", detail)
    return Finding("wrong keys", "keys", detail)


def _database(ledger: Ledger) -> Iterator[Finding]:
    for problem in ledger.database.problems():
        yield Finding("damaged", "database", problem)


def _history(ledger: Ledger) -> Iterator[Finding]:
    try:
        with ledger.database.read() as tx:
            tx.audit.verify()
    except AuditError as error:
        yield Finding("altered", "history", f"entry {error.seq}: {error.message}")
        return
    # From a history that does not verify, nothing follows about the rows.
    for difference in differences(ledger):
        yield Finding("altered", "rows", difference)


def _uses(tx: Transaction, models: list[Model]) -> dict[str, _Uses]:
    """Return what needs which object: kept versions their weights, models the class spaces they still compute from."""
    uses: defaultdict[str, _Uses] = defaultdict(_Uses)
    for model in models:
        for version in tx.versions.all(model):
            if version.purged_at is None:
                uses[version.weights].versions.append((model, version))
        for space in tx.class_spaces.all(model):
            if space.anchor >= model.anchor:
                uses[space.object_digest].spaces.append((model, space))
        for result in (one for one in tx.kept_results.all(model) if one.anchor >= model.anchor):
            for part in result.parts:
                uses[part.object_digest].results.append((model, result))
    for digest, length, _ in tx.objects.kept():
        if digest in uses:
            uses[digest].length = length
    return dict(uses)


def _kept(ledger: Ledger, models: list[Model], problems: Collection[str]) -> Iterator[Finding]:
    """Yield kept results that are not what comes out when they are computed again; damaged ones are left out."""
    for model in models:
        with ledger.database.read() as tx:
            results = [tx.kept_results.find(model, model.anchor, kind) for kind in ResultKind]
        for kept in results:
            if kept is not None and not {*(d for _, d in kept.members), *(p.object_digest for p in kept.parts)} & {
                *problems
            }:
                yield from (_sums if kept.kind is ResultKind.RETAINED else _answers)(ledger, model, kept)


def _sums(ledger: Ledger, model: Model, kept: KeptResult) -> Iterator[Finding]:
    """Yield sums that are not what the class spaces in them add up to."""
    name = (_told_kept(model, kept.kind),)
    try:
        for digest in differing_parts(ledger, model, kept):
            yield Finding("wrong sum", digest, "it is not what the class spaces in it add up to", name)
    except LedgerError as error:
        yield Finding("wrong sum", model.name, f"it cannot be computed again: {error.message}", name)


def _answers(ledger: Ledger, model: Model, kept: KeptResult) -> Iterator[Finding]:
    """Yield answers that are not the network's; where network or images are missing, say that nobody can tell."""
    name = (_told_kept(model, kept.kind),)
    try:
        for digest in differing_answers(ledger, model, kept):
            yield Finding("wrong answers", digest, "it is not what the network answers to the images in it", name)
    except LedgerError as error:
        detail = f"kept answers cannot be given again here: {error.message}"
        yield Finding("not judged", model.name, detail, name, severe=False)


def _told_kept(model: Model, kind: ResultKind) -> str:
    what = {
        ResultKind.RETAINED: "sums",
        ResultKind.ANSWERS: "answers",
        ResultKind.ACTIVATIONS: "activations",
        ResultKind.EVALUATION: "answers of evaluations",
    }
    return f"kept {what[kind]} ({model.name})"


def _problem(ledger: Ledger, digest: str, used: _Uses, destroyed: frozenset[str], *, read: bool) -> ObjectError | None:
    if digest in destroyed:
        return ObjectError(f"object {digest} was destroyed, although something kept needs it", REPAIR, fault="dangling")
    if used.length is None:
        return ObjectError(f"no row describes object {digest}", REPAIR, fault="dangling")
    try:
        ledger.objects.check(digest, used.length, read_data=read)
    except ObjectError as error:
        return error
    return None


def _told(ledger: Ledger, digest: str, used: _Uses, problem: ObjectError | None, *, judged: bool) -> Iterator[Finding]:
    if problem is None:
        if not ledger.objects.is_encrypted(digest):
            detail = "stored by an earlier release; storing the same bytes again encrypts it"
            yield Finding("unencrypted", digest, detail, used.names, severe=False)
    elif problem.fault.startswith("key") and not judged:
        yield Finding("not judged", digest, f"cannot be judged here: {problem.message}", used.names, severe=False)
    else:
        yield Finding(problem.fault, digest, problem.message, used.names)


def _left_over(
    ledger: Ledger, there: set[str], referred: frozenset[str], destroyed: frozenset[str], leased: frozenset[str]
) -> Iterator[Finding]:
    """Yield what is there although nothing needs it."""
    back = (there | set(ledger.objects.keys.digests())) & destroyed - leased
    for digest in sorted(back):
        yield Finding("not destroyed", digest, "it was destroyed on purpose, but it or its key is there")
    wanted = referred | leased | back | there
    for digest in sorted(there - referred - leased - back):
        yield Finding("unreferenced", digest, "nothing refers to it: unledger gc removes it", severe=False)
    for garbage in find_garbage(ledger, wanted, float("inf")):
        fault = {"key": "key without object"}.get(garbage.kind, garbage.kind)
        if garbage.kind != "object":
            yield Finding(fault, garbage.name, "unledger gc removes it", severe=False)


def _quarantine(
    ledger: Ledger, uses: dict[str, _Uses], problems: dict[str, ObjectError], proven: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Quarantine the versions whose weights are damaged; release those whose weights were read and are whole."""
    now = ledger.clock()
    changes: list[tuple[Model, Version, str | None]] = []
    for digest, used in sorted(uses.items()):
        problem = problems.get(digest)
        if problem is not None and problem.fault != "other size":
            changes += [(m, v, problem.message) for m, v in used.versions if v.quarantined != problem.message]
        elif digest in proven:
            changes += [(m, v, None) for m, v in used.versions if v.quarantined is not None]
    quarantined: list[str] = []
    released: list[str] = []
    if changes:
        with ledger.database.write() as tx:
            for model, version, text in sorted(changes, key=lambda change: (change[0].name, change[1].number)):
                current = tx.versions.get(model, version.number)
                if current.purged_at is not None:
                    continue
                tx.versions.quarantine(current, text)
                (released if text is None else quarantined).append(f"{model.name}:{version.number}")
                event = (
                    VersionQuarantined(
                        version=version.number, weights=version.weights, fault=problems[version.weights].fault
                    )
                    if text
                    else VersionReleased(version=version.number, weights=version.weights)
                )
                tx.audit.append(event, at=now, actor=ledger.actor, model=model.name)
    return tuple(quarantined), tuple(released)
