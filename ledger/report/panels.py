"""One version with its evidence: figures, sentences and tables, ready for the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.digest import canonical_json
from ledger.domain.evidence import Evidence
from ledger.domain.versions import Version, VersionKind
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import count, day, listing, number, short_listing

from . import measured
from .computation import facts, how, spaces
from .figures import ClassRow, Destination, EvidenceFigures, Figure
from .measured import Recipe
from .view import Measurement, Report

MOST_TEXT = 2400
"""Pixels that free text may take."""
BUILT_IN = frozenset({"accuracy", "confusion", "membership"})


@dataclass(frozen=True)
class Panel:
    """Everything said about one version."""

    version: Version
    live: bool
    heading: str
    made: str
    remarks: tuple[str, ...]
    figures: tuple[Figure, ...]
    beside: tuple[Figure, ...]
    """Small figures that go with the destinations."""
    how: tuple[Figure, ...]
    destinations: tuple[Destination, ...]
    """Of the forgotten classes that are still recognised most, then of the others."""
    rows: tuple[ClassRow, ...]
    others: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    recipe: Recipe
    facts: tuple[tuple[str, str], ...]
    spaces: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Where links to this version lead."""
        return f"version-{self.version.number}"


def panels(report: Report) -> tuple[Panel, ...]:
    """Return the live version and every other one with evidence of its own, newest first."""
    shown = [v for v in report.history.versions if report.history.evidence.get(v.number) or v == report.live]
    return tuple(_panel(report, version) for version in reversed(shown))


def _panel(report: Report, version: Version) -> Panel:
    found = report.measurement(version) or Measurement(version.number, {})
    figures = EvidenceFigures(report, version, found)
    recipe = measured.recipe(version.recipe)
    others = [(name, tuple(_flat(e.metrics))) for name, e in sorted(found.evidence.items()) if name not in BUILT_IN]
    return Panel(
        version=version,
        live=version == report.live,
        heading=_heading(report, version),
        made=_made(report, version),
        remarks=tuple(_remarks(report, version, found)),
        figures=tuple(figures.evidence()),
        beside=tuple(figures.membership()),
        how=tuple(how(report, version, recipe)),
        destinations=tuple(figures.destinations()),
        rows=tuple(figures.rows()),
        others=tuple(others),
        recipe=recipe,
        facts=tuple(facts(report, recipe)),
        spaces=tuple(spaces(report, version)),
        sources=tuple(_sources(report, found)),
    )


def _heading(report: Report, version: Version) -> str:
    names = report.model.labels.names(version.forgotten)
    return f"forgets {short_listing(names, 4)}" if names else "forgets nothing"


def _made(report: Report, version: Version) -> str:
    when = day(version.created_at)
    match version.kind:
        case VersionKind.BASE:
            return f"Registered {when}."
        case VersionKind.FORGET:
            return f"Made {when} for request {version.request_id}."
        case VersionKind.WITHDRAW:
            return f"Made {when} because request {version.request_id} was withdrawn."
        case VersionKind.ROLLBACK:
            reason = report.remarks.reasons.get(version.number, "")
            why = f" Reason given: “{shorten(reason, MOST_TEXT)}”." if reason else ""
            return f"Rolled back {when} to version {version.restores}, whose weights it has.{why}"


def _remarks(report: Report, version: Version, found: Measurement) -> Iterator[str]:
    if found.evidence and found.source != version.number:
        yield f"Measured on version {found.source}, which has the very same weights."
    if version.kind is VersionKind.ROLLBACK:
        yield f"The recipe below is that of version {version.restores}."
    missed = report.remarks.gates_missed.get(version.number, 0)
    if missed:
        yield f"A person accepted this version although it missed {count(missed, 'quality gate')}."


def _sources(report: Report, found: Measurement) -> Iterator[str]:
    for name, evidence in sorted(found.evidence.items()):
        samples = listing([f"{amount:,} {what}" for what, amount in sorted(evidence.samples.items())])
        yield (
            f"{name}: {day(evidence.created_at)}, {_plugin(evidence)}, {samples or 'images not counted'}, against "
            f"{report.compared(found.source, name)}, inputs {evidence.inputs_digest[:12]}"
        )


def _plugin(evidence: Evidence) -> str:
    return f"{evidence.plugin} {evidence.plugin_version}".strip()


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the metrics of an evaluator that this release has no chart for."""
    for name, value in sorted(metrics.items()):
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield key, shorten(value if isinstance(value, str) else canonical_json(value).decode(), MOST_TEXT)
        else:
            yield key, number(value)
