"""Write reports to files: one page, the tables behind its pictures, or pages of all models with an index."""

from collections.abc import Mapping
from pathlib import Path

from ledger.durable_files import is_vacant, reason, write_folder
from ledger.errors import ConflictError, LedgerError
from ledger.report.data.gathering import gather, model_names
from ledger.report.data.tables import to_csv
from ledger.report.index import index_entries, page_names, render_index
from ledger.report.page import page_tables, render
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_free, require_outside_ledgers, write_output

INDEX = "index.html"


def write_report(
    ledger: Ledger, model_name: str, output: Path, *, force: bool = False, csv: Path | None = None
) -> tuple[Path, ...]:
    """Write a report on a model, and the numbers behind its pictures if asked for. Nothing is replaced unasked.

    Args:
        ledger: The ledger.
        model_name: The model.
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
    require_outside_ledgers(ledger.config, output)
    if csv is not None:
        _require_folder(ledger, csv, force=force)
        require_free(ledger.config, output, force=force)
    report = gather(ledger, model_name)
    page = render(report).encode()
    tables = {} if csv is None else {f"{table.name}.csv": to_csv(table) for table in page_tables(report)}
    write_output(ledger.config, output, page, force=force, hint="check that the folder exists and can be written")
    if csv is None:
        return ()
    _write_files(ledger, csv, tables, force=force)
    return tuple(csv / name for name in tables)


def write_all(ledger: Ledger, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write a page for each model, and an index of them, to a folder.

    Args:
        ledger: The ledger.
        folder: New, or empty unless ``force`` is given.
        force: Replace the files of these names; others in the folder stay.

    Returns:
        The files, the index first.

    Raises:
        RefusedError: The folder belongs to a ledger, or is a link.
        ConflictError: Something is there already.
        LedgerError: A file cannot be written.
    """
    _require_folder(ledger, folder, force=force)
    reports = [gather(ledger, name) for name in model_names(ledger)]
    pages = page_names([report.model.name for report in reports])
    files = {INDEX: render_index(index_entries(reports, pages), ledger.clock().astimezone(ledger.config.zone)).encode()}
    files |= {pages[report.model.name]: render(report).encode() for report in reports}
    _write_files(ledger, folder, files, force=force)
    return tuple(folder / name for name in files)


def _require_folder(ledger: Ledger, folder: Path, *, force: bool) -> None:
    require_outside_ledgers(ledger.config, folder)
    usable = is_vacant(folder) or (force and folder.is_dir())
    if folder.exists() and not usable:
        raise ConflictError(
            f"{folder} is not an empty folder", "name a new folder, or add --force to replace files in it"
        )


def _write_files(ledger: Ledger, folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files to a folder: all or none to a new one, one by one over those of a folder that is in use."""
    if folder.is_dir() and not is_vacant(folder):
        for name, data in files.items():
            write_output(ledger.config, folder / name, data, force=force)
        return
    try:
        write_folder(folder, files)
    except OSError as error:
        raise LedgerError(
            f"cannot write to {folder}: {reason(error)}", "check that it can be written, then run it again"
        ) from error
