"""Reports written to files, straight from an opened ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.desk.local.reports import LocalReports
from ledger.desk.report_files import write_all as write_pages_of
from ledger.desk.report_files import write_report as write_report_of

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.service.ledger import Ledger


def write_report(ledger: Ledger, model: str, output: Path, **options: Any) -> tuple[Path, ...]:
    """Write a report on a model; return the files of numbers."""
    return write_report_of(LocalReports(ledger), ledger.config, model, output, **options)


def write_all(ledger: Ledger, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write reports on all models, and an index."""
    return write_pages_of(LocalReports(ledger), ledger.config, folder, force=force)
