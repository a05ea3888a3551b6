"""An index of the reports on all models of a ledger, with links to their pages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.report.charts.words import minute
from ledger.report.data.model_report import ModelReport
from ledger.report.sections.verdict import verdict
from ledger.report.templates import render_template

TEMPLATE = "index.html.j2"
MOST_NAME = 80
"""Characters of a model's name that its file is called by."""


@dataclass(frozen=True)
class IndexEntry:
    """One model in the index."""

    name: str
    page: str
    """The file of its report."""
    verdict: str
    live: int
    since: str
    open: int
    overdue: int
    forgotten: int
    classes: int
    verified: bool


def page_names(models: Sequence[str]) -> dict[str, str]:
    """Return a file name for the page of each model: plain letters, no two alike on any file system, never the index.

    Args:
        models: Names of the models, which may hold any sign.
    """
    taken, found = {"index.html"}, {}
    for name in models:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:MOST_NAME] or "model"
        number, file = 1, f"{plain}.html"
        while file.lower() in taken:
            number += 1
            file = f"{plain}-{number}.html"
        taken.add(file.lower())
        found[name] = file
    return found


def index_entries(reports: Sequence[ModelReport], pages: Mapping[str, str]) -> list[IndexEntry]:
    """Return what the index says of each model."""
    return [
        IndexEntry(
            name=report.model.name,
            page=pages[report.model.name],
            verdict=verdict(report),
            live=report.live.number,
            since=minute(report.local(report.live.created_at)),
            open=len(report.open_requests),
            overdue=len(report.overdue),
            forgotten=len(report.live.forgotten),
            classes=len(report.model.labels),
            verified=report.audit.verified,
        )
        for report in reports
    ]


def render_index(entries: Sequence[IndexEntry], now: datetime) -> str:
    """Return the index page."""
    return render_template(TEMPLATE, entries=entries, now=now)
