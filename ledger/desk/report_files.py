"""Write reports to files that a person names, whichever desk draws them."""

from pathlib import Path

from ledger.config import Config
from ledger.report.writing import require_folder, write_pages
from ledger.service.output_files import require_free, require_outside_ledgers, write_output

from .asked import ModelKey
from .desk import ReportsDesk


def write_report(
    reports: ReportsDesk,
    config: Config | None,
    model: ModelKey,
    output: Path,
    *,
    force: bool = False,
    csv: Path | None = None,
) -> tuple[Path, ...]:
    """Write a report on a model, and the numbers behind its pictures if asked for. Nothing is replaced unasked.

    Args:
        reports: Who draws it.
        config: The ledger of this machine that it comes from; None if from elsewhere.
        model: The model.
        output: The HTML file.
        force: Replace files of these names.
        csv: A folder for one CSV file for each picture and table; new, or empty unless ``force`` is given.

    Returns:
        The CSV files.

    Raises:
        NotFoundError: There is no such model.
        RefusedError: A place belongs to a ledger, or is a link.
        ConflictError: Something is there already.
        LedgerError: A file cannot be written.
    """
    require_outside_ledgers(config, output)
    if csv is not None:
        require_folder(config, csv, force=force)
        require_free(config, output, force=force)
    drawn = reports.one(model, tables=csv is not None)
    hint = "check that the folder exists and can be written"
    write_output(config, output, drawn.page.encode(), force=force, hint=hint)
    return () if csv is None else write_pages(config, csv, drawn.tables, force=force)


def write_all(reports: ReportsDesk, config: Config | None, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write a page for each model, and an index of them, to a folder.

    Args:
        reports: Who draws them.
        config: The ledger of this machine that they come from; None if from elsewhere.
        folder: New, or empty unless ``force`` is given.
        force: Replace the files of these names; others in the folder stay.

    Returns:
        The files, the index first.

    Raises:
        RefusedError: The folder belongs to a ledger, or is a link.
        ConflictError: Something is there already.
        LedgerError: A file cannot be written.
    """
    require_folder(config, folder, force=force)
    return write_pages(config, folder, reports.every(), force=force)
