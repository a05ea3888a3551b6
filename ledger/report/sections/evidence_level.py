"""How much was tested on a version, and what was not: it stands before every figure."""

from dataclasses import dataclass

from ledger.domain.command_lines import command
from ledger.domain.levels import EvidenceLevel
from ledger.domain.versions import Version
from ledger.report.charts.svg import shorten
from ledger.report.charts.words import count
from ledger.report.data.audit_facts import VersionWaiver
from ledger.report.data.model_report import ModelReport

from .evaluator_words import not_tested

MOST_REASON = 1200
"""Width of a reason, in pixels."""


@dataclass(frozen=True)
class LevelStep:
    """One level."""

    title: str
    looks_at: str
    reached: bool
    missing: str
    """What it lacks, in words; empty if it is reached."""


@dataclass(frozen=True)
class LevelSummary:
    """The level that the evidence on a version reaches."""

    title: str
    looks_at: str
    steps: tuple[LevelStep, ...]
    untested: tuple[str, ...]
    """What the levels above it lack, in words."""
    further: str
    """The command that tests what comes next; empty if everything is tested."""


def level_summary(report: ModelReport, version: Version) -> LevelSummary:
    """Return what was tested on a version and what was not."""
    found = report.evidence_on(version)
    reached = found.level
    steps = tuple(
        LevelStep(
            level.title,
            level.looks_at,
            level <= reached,
            "" if level <= reached else not_tested(level, _added(found.missing(level), report, version, level)),
        )
        for level in EvidenceLevel
        if level is not EvidenceLevel.APPLIED
    )
    reference = f"{report.model.name}:{version.number}"
    further = ""
    if reached < EvidenceLevel.REPRESENTATION:
        further = command("evaluate", reference, "--level", reached.value + 1)
    elif reached < EvidenceLevel.RETRAINED:
        further = command("evaluate", reference, "--level", reached.value, "--retrained", "WEIGHTS")
    untested = tuple(step.missing for step in steps if step.missing)
    return LevelSummary(reached.title, reached.looks_at, steps, untested, further)


def waivers(report: ModelReport) -> tuple[str, ...]:
    """Return which versions a person accepted although they missed gates, of those that the live one rests on."""
    told = []
    for version in report.history.versions:
        waived = report.audit_facts.waived.get(version.number)
        if waived is not None and version.forgotten & report.live.forgotten:
            told.append(f"version {version.number} although it missed {waived_gates(waived)}")
    return tuple(told)


def waived_gates(waived: VersionWaiver) -> str:
    """Return in words which gates were missed, and why a person waived them."""
    names = f" ({', '.join(waived.names)})" if waived.names else ""
    reason = f", reason given: “{shorten(waived.reason, MOST_REASON)}”" if waived.reason else ", no reason given"
    return f"{count(waived.missed, 'quality gate')}{names}{reason}"


def _added(missing: list[str], report: ModelReport, version: Version, level: EvidenceLevel) -> list[str]:
    """Return what a level lacks and the one below it does not."""
    below = set(report.evidence_on(version).missing(EvidenceLevel(level.value - 1)))
    return [name for name in missing if name not in below] or missing
