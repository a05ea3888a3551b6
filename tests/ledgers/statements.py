"""Which statements a block executes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from ledger.service.ledger import Ledger
from ledger.store.database.open_transaction import OpenTransaction


@contextmanager
def statements(ledger: Ledger) -> Iterator[list[str]]:
    """Collect the statements that a block executes; one for many rows counts once."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    by_driver = OpenTransaction._by_driver

    def note_driver(transaction: OpenTransaction, method: str, statement: str, values: Any) -> Any:
        seen.append(statement)
        return by_driver(transaction, method, statement, values)

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(OpenTransaction, "_by_driver", note_driver)
            yield seen
    finally:
        event.remove(ledger.database.engine, "before_cursor_execute", note)
