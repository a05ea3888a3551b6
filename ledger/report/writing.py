"""Reports as files: one page, the tables behind its pictures, or pages of all models with an index."""

from collections.abc import Mapping
from pathlib import Path

from ledger.config import Config
from ledger.durable_files import is_vacant, reason, write_folder
from ledger.errors import ConflictError, LedgerError
from ledger.report.data.gathering import gather, model_names
from ledger.report.data.tables import to_csv
from ledger.report.index import index_entries, page_names, render_index
from ledger.report.page import page_tables, render
from ledger.service.ledger import Ledger
from ledger.service.output_files import require_outside_ledgers, write_output

INDEX = "index.html"


def report_files(ledger: Ledger, model_name: str, *, tables: bool = False) -> tuple[str, dict[str, str]]:
    """Return a report on a model as HTML, and the numbers behind its pictures if asked for: CSV, by name of the file.

    Raises:
        NotFoundError: There is no such model.
    """
    report = gather(ledger, model_name)
    numbers = {f"{table.name}.csv": to_csv(table).decode() for table in page_tables(report)} if tables else {}
    return render(report), numbers


def all_pages(ledger: Ledger) -> dict[str, str]:
    """Return a page for each model as HTML, by name of the file, the index first."""
    reports = [gather(ledger, name) for name in model_names(ledger)]
    pages = page_names([report.model.name for report in reports])
    index = render_index(index_entries(reports, pages), ledger.clock().astimezone(ledger.config.zone))
    return {INDEX: index, **{pages[report.model.name]: render(report) for report in reports}}


def write_pages(config: Config | None, folder: Path, files: Mapping[str, str], *, force: bool) -> tuple[Path, ...]:
    """Write files to a folder: all or none to a new one, one by one over those of a folder that is in use.

    Returns:
        The files.

    Raises:
        RefusedError: The folder belongs to a ledger, or is a link.
        LedgerError: A file cannot be written.
    """
    contents = {name: text.encode() for name, text in files.items()}
    if folder.is_dir() and not is_vacant(folder):
        for name, data in contents.items():
            write_output(config, folder / name, data, force=force)
        return tuple(folder / name for name in contents)
    try:
        write_folder(folder, contents)
    except OSError as error:
        raise LedgerError(
            f"cannot write to {folder}: {reason(error)}", "check that it can be written, then run it again"
        ) from error
    return tuple(folder / name for name in contents)


def require_folder(config: Config | None, folder: Path, *, force: bool) -> None:
    """Refuse a folder that pages could not be written to, before they are drawn.

    Raises:
        RefusedError: It belongs to a ledger, or is a link.
        ConflictError: It is in use, and nothing in it is to be replaced.
    """
    require_outside_ledgers(config, folder)
    usable = is_vacant(folder) or (force and folder.is_dir())
    if folder.exists() and not usable:
        raise ConflictError(
            f"{folder} is not an empty folder", "name a new folder, or add --force to replace files in it"
        )
