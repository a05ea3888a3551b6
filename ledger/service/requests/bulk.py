"""File the requests of a whole file, or say what is wrong with each of its lines."""

from dataclasses import dataclass

from ledger.service.ledger import Ledger
from ledger.service.models.lookup import get_model

from .bulk_files import BadLine, BulkFile, BulkFormat, detect, read_bulk
from .filing import Receipt, enqueue, refusals


@dataclass(frozen=True)
class BulkCheck:
    """What would become of a file of requests."""

    form: BulkFormat
    fit: int
    """Requests that could be filed if the bad lines were not there."""
    bad: tuple[BadLine, ...]
    """In the order of their lines."""


def check_bulk(
    ledger: Ledger,
    model_name: str,
    text: str,
    *,
    form: BulkFormat | None = None,
    name: str = "",
    approval: bool = False,
) -> BulkCheck:
    """Say what is wrong with each line of a file of requests; nothing is filed.

    Args:
        ledger: The ledger.
        model_name: The model that shall forget.
        text: What the file holds.
        form: How it is written; None tells that from its name and its first line.
        name: What to call it.
        approval: Whether a person must approve.

    Raises:
        NotFoundError: There is no such model.
        UsageError: It is too large, holds no request, or has columns that no request has.
    """
    read = _read(ledger, model_name, text, form, name)
    refused = refusals(ledger, model_name, read.requests, approval=approval)
    bad = [BadLine(line, error) for line, error in zip(read.lines, refused, strict=True) if error is not None]
    return BulkCheck(read.form, len(read.requests) - len(bad), tuple(sorted([*read.bad, *bad], key=lambda b: b.line)))


def file_bulk(
    ledger: Ledger,
    model_name: str,
    text: str,
    *,
    form: BulkFormat | None = None,
    name: str = "",
    approval: bool = False,
) -> list[Receipt]:
    """File the requests of a file, as :func:`enqueue` files them; where one line is bad, none.

    Args:
        ledger: The ledger.
        model_name: The model that shall forget.
        text: What the file holds.
        form: How it is written; None tells that from its name and its first line.
        name: What to call it.
        approval: Whether a person must approve.

    Raises:
        NotFoundError: There is no such model.
        UsageError: A line is no request, or the file is too large or empty.
        LedgerError: As :func:`enqueue` raises.
    """
    read = _read(ledger, model_name, text, form, name)
    if read.bad:
        error = read.bad[0].located(name or "the file")
        if len(read.bad) > 1:
            others = f"{len(read.bad) - 1} more lines are bad: --dry-run names them all"
            error.hint = f"{error.hint}; {others}" if error.hint else others
        raise error
    return enqueue(ledger, model_name, read.requests, approval=approval)


def _read(ledger: Ledger, model_name: str, text: str, form: BulkFormat | None, name: str) -> BulkFile:
    model = get_model(ledger, model_name)
    return read_bulk(
        text,
        form or detect(text, name),
        model.labels,
        ledger.actor,
        ledger.clock(),
        ledger.config.zone,
        source=name or "the file",
    )
