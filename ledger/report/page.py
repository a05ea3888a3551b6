"""The report on a model as one HTML file, without scripts, external links or anything to load."""

from ledger.report.charts.deadlines import deadlines, deadlines_table
from ledger.report.charts.timeline import lanes_left_out, timeline
from ledger.report.data.model_report import ModelReport
from ledger.report.data.tables import Table
from ledger.report.sections.computation import single_values
from ledger.report.sections.evidence_level import waivers
from ledger.report.sections.history_nodes import chronicle, chronicle_table, timeline_nodes
from ledger.report.sections.interference import interference
from ledger.report.sections.network_words import NETWORK_NAMES, NETWORK_NOTES
from ledger.report.sections.verdict import untested, verdict
from ledger.report.sections.version_section import version_sections
from ledger.report.templates import render_template

TEMPLATE = "page.html.j2"
MOST_ROWS = 200
"""Rows of a long table that the page shows."""


def render(report: ModelReport) -> str:
    """Return the page.

    Two pages of the same ledger differ only in the printed time and in what depends on it: days left, and requests that
    are overdue.
    """
    sections = version_sections(report)
    unmeasured = tuple(v.number for v in report.history.versions if not report.evidence_on(v).measured)
    live = next(section for section in sections if section.live)
    waiting, closed = deadlines(report, MOST_ROWS)
    nodes = timeline_nodes(report)
    return render_template(
        TEMPLATE,
        report=report,
        model=report.model,
        verdict=verdict(report),
        level=live.level,
        waivers=waivers(report),
        interference=interference(report),
        forgotten=report.model.labels.names(report.live.forgotten),
        timeline=timeline("timeline", nodes, report.model.labels.labels),
        lanes_left_out=lanes_left_out(nodes),
        most_rows=MOST_ROWS,
        chronicle=list(reversed(chronicle(report))),
        sections=sections,
        environment=single_values(report.live.recipe.environment),
        unmeasured=unmeasured,
        waiting=waiting,
        closed=closed,
        untested=untested(report),
        network_names=NETWORK_NAMES,
        network_notes=NETWORK_NOTES,
    )


def page_tables(report: ModelReport) -> list[Table]:
    """Return the numbers behind every picture of the page, complete where the picture shows a selection."""
    tables = [chronicle_table(report), deadlines_table(report)]
    tables += [figure.table for figure in interference(report) if figure.table is not None]
    for section in version_sections(report):
        if section.compared is not None:
            tables.append(section.compared.table(f"version-{section.version.number}-side-by-side"))
        tables += [figure.table for figure in section.all_figures if figure.table is not None]
    return tables
