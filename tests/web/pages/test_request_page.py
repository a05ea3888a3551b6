"""The page of a request: what it proposes to decide, and what it tells of previews, due dates and references."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.domain.events.requests import RequestFulfilled
from ledger.domain.previews import PreviewOutcome
from ledger.domain.states import Action, RequestState
from ledger.service.requests.decisions import decide
from tests.web.pages.conftest import CROW, MODEL, WREN, Served, fill, serving
from tests.web.pages.foretelling import previewed
from tests.web.pages.reading import text_of


def _chosen(page: str) -> list[str]:
    return re.findall(r'<input type="radio" name="action" value="(\w+)"[^>]* checked', page)


@pytest.mark.parametrize(
    ("approval", "held", "chosen"), [(True, False, ["approve"]), (False, False, []), (False, True, [])]
)
def test_nothing_but_an_approval_is_chosen_before_somebody_chooses(
    served: Served, *, approval: bool, held: bool, chosen: list[str]
) -> None:
    request = served.file(CROW, approval=approval)
    if held:
        decide(served.ledger, request.id, Action.HOLD, "who asks?")
    with served.client() as client:
        page = client.get(f"/requests/{request.id}").text
    assert 'value="deny"' in page
    assert _chosen(page) == chosen


def _fulfil(served: Served, number: int, preview: PreviewOutcome | None = None) -> None:
    """Say that what is live fulfils a request."""
    at = datetime.now(UTC)
    with served.ledger.database.write() as tx:
        live = tx.versions.live(tx.models.get(MODEL)).number
        tx.requests.act(number, Action.CLAIM, at=at)
        tx.requests.act(number, Action.FULFIL, at=at, version=live)
        done = RequestFulfilled(version=live, no_op=False, state=RequestState.FULFILLED, epoch=1, preview=preview)
        tx.audit.append(done, at=at, actor="worker", model=MODEL, request_id=number)


def test_a_request_tells_the_preview_it_is_bound_to_and_how_the_result_compared(tmp_path: Path) -> None:
    says = {
        PreviewOutcome.EXACT: "every figure is the one that was shown",
        PreviewOutcome.WITHIN: "their figures lie within the intervals shown",
        PreviewOutcome.CONTRADICTED: "what was made is not what was shown",
    }
    with serving(fill(tmp_path / "ledger")) as served, served.client() as client:
        address = previewed(served, WREN)
        digest = re.findall("[0-9a-f]{64}", client.get(address.replace("/previews", "/api/v1/previews")).text)
        for outcome, words in says.items():
            page = client.post(f"{address}/file", data={"key": outcome})
            assert "compared with the result when that is there" in text_of(page.text)
            _fulfil(served, int(page.url.path.rpartition("/")[2]), outcome)
            told = client.get(page.url.path).text
            assert f"{outcome} " in text_of(told)
            assert words in text_of(told)
            assert re.search(r'bound to a preview</dt><dd><code title="([0-9a-f]{64})', told)[1] in digest  # type: ignore[index]


def test_a_request_that_is_bound_to_no_preview_tells_of_none(served: Served) -> None:
    with served.client() as client:
        assert "bound to a preview" not in client.get(f"/requests/{served.file(CROW).id}").text


@pytest.mark.parametrize(("days_ago", "told"), [(45, "days late"), (1, "in time")])
def test_a_fulfilled_request_tells_whether_it_was_in_time(tmp_path: Path, days_ago: int, told: str) -> None:
    with serving(fill(tmp_path / "ledger")) as served, served.client() as client:
        request = served.file(WREN, received_at=datetime.now(UTC) - timedelta(days=days_ago))
        assert "fulfilled 2" not in text_of(client.get(f"/requests/{request.id}").text)
        _fulfil(served, request.id)
        page = text_of(client.get(f"/requests/{request.id}").text)
    assert re.search(rf"fulfilled \d{{4}}-\d\d-\d\d (\d+ )?{told}", page)


def test_a_reference_is_not_taken_for_a_legal_basis(served: Served) -> None:
    bare = served.file(CROW, external_id="TICKET-77")
    both = served.file(CROW, basis="GDPR art. 17", external_id="TICKET-78")
    with served.client() as client:
        rows = [text_of(row) for row in re.findall("<tr.*?</tr>", client.get("/inbox?show=all").text, re.DOTALL)]
    assert " basis or reference " in rows[0]
    assert [row for row in rows if f" {bare.id} " in row and " reference: TICKET-77 " in row]
    assert [row for row in rows if f" {both.id} " in row and " GDPR art. 17 reference: TICKET-78 " in row]
