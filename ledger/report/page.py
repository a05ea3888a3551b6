"""Write the report as one HTML file, without scripts, external links or anything to load."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version as installed_version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from ledger.domain.versions import Version
from ledger.report.charts import words
from ledger.report.charts.deadlines import deadlines
from ledger.report.charts.svg import named, plain
from ledger.report.charts.timeline import TimelineVersion, lanes_left_out, timeline
from ledger.report.data.gathering import gather
from ledger.report.data.model_report import ModelReport
from ledger.report.sections.computation import single_values
from ledger.report.sections.verdict import untested, verdict
from ledger.report.sections.version_section import VersionSection, version_sections
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers, write_output

TEMPLATE, STYLE = "page.html.j2", "page.css"


def write_report(ledger: Ledger, model_name: str, output: Path, *, force: bool = False) -> None:
    """Write a report on a model. An earlier report is replaced atomically, another file only with ``force``.

    Raises:
        NotFoundError: There is no such model.
        RefusedError: The file belongs to a ledger, or is a link.
        LedgerError: The file is not a report, or cannot be written.
    """
    require_outside_ledgers(ledger.config, output)
    write_output(
        ledger.config,
        output,
        render(gather(ledger, model_name)).encode(),
        force=force,
        own_kind=_is_report,
        hint="check that the folder exists and can be written",
    )


def render(report: ModelReport) -> str:
    """Return the page.

    Two pages of the same ledger differ only in the printed time and in what depends on it: days left, and requests that
    are overdue.
    """
    style = _resource(STYLE)
    sections = version_sections(report)
    waiting, closed = deadlines(report)
    nodes = [_node(report, version) for version in report.history.versions]
    return _template().render(
        report=report,
        model=report.model,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        verdict=verdict(report),
        forgotten=report.model.labels.names(report.live.forgotten),
        timeline=timeline("timeline", nodes, report.model.labels.labels),
        lanes_left_out=lanes_left_out(nodes),
        nodes=nodes,
        periods={v.number: _periods(report, v) for v in report.history.versions},
        sections=sections,
        environment=single_values(report.live.recipe.environment),
        unmeasured=_unmeasured(report, sections),
        waiting=waiting,
        closed=closed,
        untested=untested(report),
        release=installed_version("unledger"),
        words=words,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["named"] = named
    return environment.get_template(TEMPLATE)


def _resource(name: str) -> str:
    return (files("ledger.report") / name).read_text(encoding="utf-8")


def _printable(value: object) -> object:
    # Markup has been cleaned already; jinja escapes the rest.
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)


def _node(report: ModelReport, version: Version) -> TimelineVersion:
    newly, again = report.changes(version)
    labels = report.model.labels
    return TimelineVersion(
        number=version.number,
        kind=version.kind,
        date=words.day(version.created_at),
        live=version == report.live,
        newly=labels.names(newly),
        again=labels.names(again),
        forgotten=version.forgotten,
        restores=version.restores,
        reopened=report.audit_facts.reopened.get(version.number, ()),
    )


def _periods(report: ModelReport, version: Version) -> str:
    told = (f"{words.day(a)} – {words.day(b) if b else 'today'}" for a, b in report.periods(version))
    return ", ".join(told)


def _unmeasured(report: ModelReport, sections: Sequence[VersionSection]) -> tuple[int, ...]:
    drawn = {section.version.number for section in sections}
    return tuple(v.number for v in report.history.versions if v.number not in drawn)


def _is_report(beginning: bytes) -> bool:
    return beginning.startswith(b"<!DOCTYPE html>") and b"<title>Unlearning report: " in beginning
