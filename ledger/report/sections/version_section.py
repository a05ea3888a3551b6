"""The section of the page on one version: its evidence and computation as charts, sentences and tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.digest import canonical_json
from ledger.domain.evidence import Evidence
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import count, listing, minute, number, short_listing
from ledger.report.data.model_report import ModelReport, VersionEvidence

from .computation import class_space_rows, computation_facts, computation_figures
from .evidence_figures import ClassRow, Destination, EvidenceFigures
from .figure import Figure

MOST_TEXT = 2400
"""Width of free text, in pixels."""
BUILT_IN = frozenset({"accuracy", "confusion", "membership"})


@dataclass(frozen=True)
class VersionSection:
    """What the page shows of one version."""

    version: Version
    live: bool
    heading: str
    made: str
    remarks: tuple[str, ...]
    figures: tuple[Figure, ...]
    beside: tuple[Figure, ...]
    """Small charts, shown next to the destinations."""
    computation: tuple[Figure, ...]
    destinations: tuple[Destination, ...]
    """One for each forgotten class, the one still recognised most first."""
    rows: tuple[ClassRow, ...]
    others: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    recipe: VersionRecipe
    facts: tuple[tuple[str, str], ...]
    spaces: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]

    @property
    def all_figures(self) -> tuple[Figure, ...]:
        """Every picture of the section."""
        return (*self.figures, *self.beside, *self.computation)

    @property
    def anchor(self) -> str:
        """Target of links to this version."""
        return f"version-{self.version.number}"


def version_sections(report: ModelReport) -> tuple[VersionSection, ...]:
    """Return a section for the live version and for every other version with evidence of its own, newest first."""
    shown = [v for v in report.history.versions if report.history.evidence.get(v.number) or v == report.live]
    return tuple(_section(report, version) for version in reversed(shown))


def _section(report: ModelReport, version: Version) -> VersionSection:
    found = report.evidence_on(version) or VersionEvidence(version.number, {})
    figures = EvidenceFigures(report, version, found)
    recipe = version.recipe
    others = [(name, tuple(_flat(e.metrics))) for name, e in sorted(found.evidence.items()) if name not in BUILT_IN]
    return VersionSection(
        version=version,
        live=version == report.live,
        heading=_heading(report, version),
        made=_made(report, version),
        remarks=tuple(_remarks(report, version, found)),
        figures=tuple(figures.evidence()),
        beside=tuple(figures.membership()),
        computation=tuple(computation_figures(report, version, recipe)),
        destinations=tuple(figures.destinations()),
        rows=tuple(figures.rows()),
        others=tuple(others),
        recipe=recipe,
        facts=tuple(computation_facts(report, recipe)),
        spaces=tuple(class_space_rows(report, version)),
        sources=tuple(_sources(report, found)),
    )


def _heading(report: ModelReport, version: Version) -> str:
    unknown = report.not_known_before(version)
    names = report.model.labels.names(version.forgotten - unknown)
    text = f"forgets {short_listing(names, 4)}" if names else "forgets nothing"
    note = f"; {short_listing(report.model.labels.names(unknown), 4)} not known before" if unknown else ""
    return text + note


def _made(report: ModelReport, version: Version) -> str:
    when = minute(report.local(version.created_at))
    match version.kind:
        case VersionKind.BASE:
            return f"Registered {when}."
        case VersionKind.FORGET:
            return f"Made {when} for request {version.request_id}."
        case VersionKind.WITHDRAW:
            return f"Made {when} because request {version.request_id} was withdrawn."
        case VersionKind.ROLLBACK:
            reason = report.audit_facts.reasons.get(version.number, "")
            why = f" Reason given: “{shorten(reason, MOST_TEXT)}”." if reason else ""
            return f"Rolled back {when} to version {version.restores}, whose weights it has.{why}"


def _remarks(report: ModelReport, version: Version, found: VersionEvidence) -> Iterator[str]:
    if found.evidence and found.source != version.number:
        yield f"Measured on version {found.source}, which has the very same weights."
    unknown = report.model.labels.names(report.not_known_before(version))
    if unknown:
        yield (
            f"{short_listing(unknown)}: not known before. The registered weights recognised no more of these images "
            "than chance would, so figures near zero are no result of forgetting."
        )
    if version.kind is VersionKind.ROLLBACK:
        yield f"The recipe below is that of version {version.restores}."
    missed = report.audit_facts.gates_missed.get(version.number, 0)
    if missed:
        yield f"A person accepted this version although it missed {count(missed, 'quality gate')}."


def _sources(report: ModelReport, found: VersionEvidence) -> Iterator[str]:
    for name, evidence in sorted(found.evidence.items()):
        samples = listing([f"{amount:,} {what}" for what, amount in sorted(evidence.samples.items())])
        when = minute(report.local(evidence.created_at))
        yield (
            f"{name}: {when}, {_plugin(evidence)}, {samples or 'images not counted'}, against "
            f"{report.compared(found.source, name)}, inputs {evidence.inputs_digest[:12]}"
        )


def _plugin(evidence: Evidence) -> str:
    return f"{evidence.plugin} {evidence.plugin_version}".strip()


def _flat(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of every metric of an evaluator that has no chart here."""
    for name, value in sorted(metrics.items()):
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield key, shorten(value if isinstance(value, str) else canonical_json(value).decode(), MOST_TEXT)
        else:
            yield key, number(value)
