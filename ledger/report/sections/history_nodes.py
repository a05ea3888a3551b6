"""The versions of a model as nodes of the timeline, and everything that happened in one list, with times of day."""

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.domain.versions import Version, VersionKind
from ledger.report.charts.timeline import TimelineVersion
from ledger.report.charts.words import day, listing, minute, numbered, short_listing
from ledger.report.data.audit_facts import Happening, HappeningKind
from ledger.report.data.model_report import ModelReport
from ledger.report.data.tables import Table


@dataclass(frozen=True)
class ChronicleRow:
    """One thing that happened."""

    when: str
    what: str
    version: int | None
    """The version that it is about; None if there are several."""
    details: str
    weights: str = ""
    """Of a new version: the digest of its weights."""


def timeline_nodes(report: ModelReport) -> list[TimelineVersion]:
    """Return the nodes of the timeline, in the order of their numbers."""
    return [_node(report, version) for version in report.history.versions]


def chronicle(report: ModelReport) -> list[ChronicleRow]:
    """Return versions, exports, certificates and purges in the order in which they happened."""
    made = [(version.created_at, 0, row) for version, row in _versions(report)]
    later = [(happening.at, 1, _happening(report, happening)) for happening in report.audit_facts.happenings]
    return [row for _, _, row in sorted((*made, *later), key=lambda entry: entry[:2])]


def chronicle_table(report: ModelReport) -> Table:
    """Return the same for a file."""
    rows = tuple((row.when, row.what, row.version, row.details, row.weights) for row in chronicle(report))
    return Table("history", ("when", "what", "version", "details", "weights_sha256"), rows)


def live_periods(report: ModelReport, version: Version) -> str:
    """Return the periods in which a version was live; empty if it never was."""
    return ", ".join(
        f"{minute(report.local(begin))} – {minute(report.local(end)) if end else 'now'}"
        for begin, end in report.periods(version)
    )


def _node(report: ModelReport, version: Version) -> TimelineVersion:
    newly, again = report.changes(version)
    labels = report.model.labels
    made = report.local(version.created_at)
    return TimelineVersion(
        number=version.number,
        kind=version.kind,
        date=day(made),
        time=f"{made:%H:%M}",
        live=version == report.live,
        newly=labels.names(newly),
        again=labels.names(again),
        forgotten=version.forgotten,
        restores=version.restores,
        reopened=report.audit_facts.reopened.get(version.number, ()),
        purged=minute(report.local(version.purged_at)) if version.purged_at else "",
        marks=tuple(_marks(report, version)),
    )


def _marks(report: ModelReport, version: Version) -> Iterator[str]:
    purged = False
    for happening in report.audit_facts.happenings:
        if version.number not in happening.versions:
            continue
        when = f"{report.local(happening.at):%m-%d %H:%M}"
        match happening.kind:
            case HappeningKind.EXPORT:
                yield f"exported {when}"
            case HappeningKind.CERTIFICATE:
                yield f"cert. {happening.number} {when}"
            case HappeningKind.PURGE:
                purged = True
                yield f"purged {when}"
    if version.purged_at is not None and not purged:
        yield f"purged {report.local(version.purged_at):%m-%d %H:%M}"


def _versions(report: ModelReport) -> Iterator[tuple[Version, ChronicleRow]]:
    labels = report.model.labels
    for version in report.history.versions:
        newly, again = (labels.names(classes) for classes in report.changes(version))
        told = [_why(report, version)]
        told += [f"forgets {short_listing(newly)}"] if newly else []
        told += [f"knows {short_listing(again)} again"] if again else []
        if periods := live_periods(report, version):
            told.append(f"live {periods}")
        when = minute(report.local(version.created_at))
        yield version, ChronicleRow(when, "version made", version.number, "; ".join(told), version.weights)


def _why(report: ModelReport, version: Version) -> str:
    match version.kind:
        case VersionKind.BASE:
            return "registered"
        case VersionKind.FORGET:
            return f"for request {version.request_id}"
        case VersionKind.WITHDRAW:
            return f"request {version.request_id} withdrawn"
        case VersionKind.ROLLBACK:
            reopened = report.audit_facts.reopened.get(version.number, ())
            more = f", reopened {numbered('request', reopened)}" if reopened else ""
            return f"back to version {version.restores}{more}"


def _happening(report: ModelReport, happening: Happening) -> ChronicleRow:
    when = minute(report.local(happening.at))
    first = happening.versions[0] if happening.versions else None
    match happening.kind:
        case HappeningKind.EXPORT:
            return ChronicleRow(when, "exported", first, "a copy left the ledger")
        case HappeningKind.CERTIFICATE:
            about = f" for request {happening.request}" if happening.request is not None else ""
            return ChronicleRow(when, "certificate issued", first, f"certificate {happening.number}{about}")
        case HappeningKind.PURGE:
            gone = listing([str(number) for number in happening.versions], 12)
            kept = f"; version {happening.number} is what computations start from now"
            return ChronicleRow(when, "purged", None, f"weights of versions {gone} destroyed{kept}")
