"""A preview tells how far each figure may be off, and is filed from with the day that somebody chose."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.domain.paired_difference import PairedCounts
from ledger.domain.requests import NewRequest
from ledger.errors import IdempotencyConflictError
from ledger.report.charts import words
from ledger.service.requests.filing import enqueue
from ledger.service.requests.listing import show_request
from tests.web.pages.conftest import MODEL, WREN, Served, fill, serving
from tests.web.pages.foretelling import previewed
from tests.web.pages.reading import text_of


def _interval(masked: int, foretold: int) -> tuple[float, float]:
    found = PairedCounts(30, masked, foretold, foretold).interval()
    assert found is not None
    return found


def test_a_preview_tells_the_interval_of_every_change(served: Served) -> None:
    with served.client() as client:
        page = client.get(previewed(served, WREN)).text
    rows = [text_of(row) for row in re.findall("<tr>.*?</tr>", page)]
    for name, then, masked, foretold in (
        ("robin", "retained", 29, 28),
        ("kite", "retained", 29, 29),
        ("wren", "forgotten", 0, 0),
    ):
        low, high = (words.points(-bound) for bound in reversed(_interval(masked, foretold)))
        change = words.points((foretold - masked) / 30)
        assert f" {name} {then} 30 29 {masked} {foretold} {change} {low} to {high} " in rows
    assert re.search(r"points: what forgetting costs; 95 % interval −[0-9.]+ to [+−][0-9.]+", text_of(page))
    assert "±" not in page


def test_a_day_of_receipt_begins_where_the_ledger_is_kept_and_the_due_date_ends_there(tmp_path: Path) -> None:
    with serving(fill(tmp_path / "ledger", "Pacific/Auckland")) as served, served.client() as client:
        address = previewed(served, WREN)
        filed = client.post(f"{address}/file", data={"reason": "moved away", "received": "2020-06-30"})
        request = show_request(served.ledger, int(filed.url.path.rpartition("/")[2]))[1]
        # In winter that zone is twelve hours ahead of UTC.
        assert request.received_at == datetime(2020, 6, 29, 12, tzinfo=UTC)
        assert request.due_at == datetime(2020, 7, 30, 11, 59, 59, tzinfo=UTC)
        page = text_of(filed.text)
        assert "received 2020-06-30" in page
        assert "due 2020-07-30" in page


def test_a_day_of_receipt_that_has_not_come_is_refused(served: Served) -> None:
    with served.client() as client:
        address = previewed(served, WREN)
        refused = client.post(f"{address}/file", data={"received": "2099-01-01"})
    assert refused.status_code == 422
    assert "cannot be received in the future" in refused.text


def test_a_key_stands_for_the_preview_that_a_request_is_bound_to(served: Served) -> None:
    with served.client() as client:
        filed = client.post(f"{previewed(served, WREN)}/file", data={"key": "once"})
        assert filed.url.path.startswith("/requests/")
    unbound = NewRequest(frozenset({WREN}), "grace", idempotency_key="once")
    with pytest.raises(IdempotencyConflictError):
        enqueue(served.ledger, MODEL, [unbound])
