"""Reports on models, as pages."""

from ledger.desk.asked import ModelKey, ReportFiles
from ledger.report.writing import all_pages, report_files
from ledger.service.ledger import Ledger

from .names import model_name


class LocalReports:
    """Draws reports.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def one(self, model: ModelKey, *, tables: bool = False) -> ReportFiles:
        """Return the report on a model, with the numbers behind its pictures if asked for.

        Raises:
            NotFoundError: There is no such model.
        """
        page, numbers = report_files(self._ledger, model_name(self._ledger, model), tables=tables)
        return ReportFiles(page, numbers)

    def every(self) -> dict[str, str]:
        """Return a page for each model, and an index before them, by name of the file."""
        return all_pages(self._ledger)
