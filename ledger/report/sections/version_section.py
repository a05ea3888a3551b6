"""The section of the page on one version: its evidence and computation as charts, sentences and tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.digest import canonical_json
from ledger.domain.evidence import Evidence
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import listing, minute, number, numbered, short_listing
from ledger.report.data.model_report import ModelReport

from .accuracy_figures import ClassRow, accuracy_figures, class_rows
from .attack_figures import membership_figures, roc_figures
from .computation import class_space_rows, computation_facts, computation_figures
from .confusion_figures import Destination, confusion_figures, destinations
from .destination_figures import destination_figures
from .evaluator_words import looked_at
from .evidence_level import LevelSummary, level_summary, waived_gates
from .feature_figures import feature_figures
from .figure import Figure
from .saliency_figures import saliency_figures
from .shown_version import ShownVersion
from .side_by_side import SideBySide, side_by_side

MOST_TEXT = 2400
"""Width of free text, in pixels."""
TOLD = frozenset({"accuracy", "confusion", "membership", "saliency"})
"""Evaluators whose figures are all in pictures and tables; those of others are listed as well."""


@dataclass(frozen=True)
class VersionSection:
    """What the page shows of one version."""

    version: Version
    live: bool
    heading: str
    made: str
    remarks: tuple[str, ...]
    level: LevelSummary
    compared: SideBySide | None
    """Figures of four networks side by side; None if nothing was measured."""
    figures: tuple[Figure, ...]
    beside: tuple[Figure, ...]
    """Small charts, shown next to the destinations."""
    further: tuple[Figure, ...]
    """Charts of attacks on single images and of features."""
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
        return (*self.figures, *self.beside, *self.further, *self.computation)

    @property
    def anchor(self) -> str:
        """Target of links to this version."""
        return f"version-{self.version.number}"


def version_sections(report: ModelReport) -> tuple[VersionSection, ...]:
    """Return a section for the live version and for every other version with evidence, newest first.

    Of versions with the very same weights only the newest has one, since evidence belongs to weights.
    """
    told: set[tuple[str, frozenset[int]]] = set()
    sections = []
    for version in reversed(report.history.versions):
        weights = (version.weights, version.forgotten)
        if version == report.live or (report.evidence_on(version).measured and weights not in told):
            sections.append(_section(report, version))
            told.add(weights)
    return tuple(sections)


def _section(report: ModelReport, version: Version) -> VersionSection:
    shown = ShownVersion(report, version)
    recipe = version.recipe
    went = tuple(destination_figures(shown))
    return VersionSection(
        version=version,
        live=version == report.live,
        heading=_heading(report, version),
        made=_made(report, version),
        remarks=tuple(_remarks(report, version)),
        level=level_summary(report, version),
        compared=side_by_side(shown),
        figures=(*accuracy_figures(shown), *went, *confusion_figures(shown)),
        beside=tuple(membership_figures(shown)),
        further=(*roc_figures(shown), *feature_figures(shown), *saliency_figures(shown)),
        computation=tuple(computation_figures(report, version, recipe)),
        destinations=() if went else tuple(destinations(shown)),
        rows=tuple(class_rows(shown)),
        others=tuple(_others(report, version)),
        recipe=recipe,
        facts=tuple(computation_facts(report, recipe)),
        spaces=tuple(class_space_rows(report, version)),
        sources=tuple(_sources(report, version)),
    )


def _others(report: ModelReport, version: Version) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield what has no picture: other evaluators, and comparisons with something else than the original."""
    for name, evidence in sorted(report.shown(version).items()):
        if name not in TOLD:
            yield name, tuple(_flat(evidence.metrics))
    for evidence in report.evidence_on(version).compared:
        yield f"{evidence.evaluator}, against {report.compared(evidence)}", tuple(_flat(evidence.metrics))


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


def _remarks(report: ModelReport, version: Version) -> Iterator[str]:
    if elsewhere := report.measured_on(version):
        yield f"Measured on {numbered('version', elsewhere)}, which has the very same weights."
    unknown = report.model.labels.names(report.not_known_before(version))
    if unknown:
        yield (
            f"{short_listing(unknown)}: not known before. The registered weights recognised no more of these images "
            "than chance would, so figures near zero are no result of forgetting."
        )
    if version.kind is VersionKind.ROLLBACK:
        yield f"The recipe below is that of version {version.restores}."
    waived = report.audit_facts.waived.get(version.number)
    if waived is not None:
        yield f"A person accepted this version although it missed {waived_gates(waived)}."


def _sources(report: ModelReport, version: Version) -> Iterator[str]:
    shown = sorted(report.shown(version).items())
    for name, evidence in (*shown, *((one.evaluator, one) for one in report.evidence_on(version).compared)):
        samples = listing([f"{amount:,} {what}" for what, amount in sorted(evidence.samples.items())])
        when = minute(report.local(evidence.created_at))
        retrained = ""
        if evidence.provenance.retrained:
            who = evidence.provenance.declared_by or "somebody"
            retrained = f", beside {evidence.provenance.retrained[:12]}, which {who} declared to be trained without"
        yield (
            f"{name} ({looked_at(name)}): {when}, {_plugin(evidence)}, {samples or 'images not counted'}, against "
            f"{report.compared(evidence)}{retrained}, inputs {evidence.inputs_digest[:12]}"
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
