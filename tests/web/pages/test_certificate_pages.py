"""A certificate is issued after what it would say was shown, and its page says in words what it states."""

import re
from pathlib import Path

from ledger.service.requests.listing import list_requests
from tests.web.pages.conftest import MODEL, Served, fill, serving
from tests.web.pages.reading import text_of


def _confirmation(page: str) -> str:
    found = re.search('name="confirmation" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_a_certificate_is_shown_before_it_is_signed_and_says_in_words_what_it_states(tmp_path: Path) -> None:
    with serving(fill(tmp_path / "ledger")) as served, served.client() as client:
        number = _fulfilled(served)
        address = f"/requests/{number}/certificate"
        assert f'href="{address}"' in client.get(f"/requests/{number}").text
        plan = client.get(address).text
        assert "Nothing has been signed yet" in plan
        assert "Not tested:" in plan
        assert client.post(address).status_code == 422
        assert client.post(address, data={"confirmation": "0" * 64}).status_code == 409
        assert "No certificate has been issued" in client.get("/certificates").text
        page = client.post(address, data={"confirmation": _confirmation(plan)})
        said = text_of(page.text)
        assert page.url.path == "/certificates/1"
        assert re.search(
            rf"request {number}, for 1 class, was received on [-0-9]+ and fulfilled on [-0-9]+, in time", said
        )
        assert "version 1 was made by projection: 3 of 5 layers were edited" in said
        assert re.search(r"accuracy [-0-9]+ .*retained drop 0\.05", said)
        assert said.index("What it states") < said.index("Not tested:")
        again = client.get(address).text
        assert "says just this already" in again
        assert "nothing was issued" in client.post(address, data={"confirmation": _confirmation(again)}).text


def _fulfilled(served: Served) -> int:
    return next(one.id for _, one in list_requests(served.ledger, MODEL) if one.state == "fulfilled")
