"""Requests that nobody sends by mistake: they are refused as any other, and nothing is told of what is within."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.access import Scope
from ledger.service.access.sessions import create_login_link, use_login_link
from ledger.service.ledger import open_ledger
from ledger.web.api.values import LONGEST_NOTE, PREFIX
from ledger.web.security.cookies import PLAIN_NAME

if TYPE_CHECKING:
    from tests.web.conftest import Served

OWN = {"Sec-Fetch-Site": "same-origin"}


def post(served: Served, path: str, body: Any) -> Any:
    """Send as somebody with every scope."""
    return served.client.post(f"{PREFIX}/{path}", json=body, headers=served.headers(*Scope))


def sign_in(served: Served, *scopes: Scope) -> None:
    """Give the client the cookie of somebody with some scopes."""
    ledger = open_ledger(served.app.state.config, "ada")
    served.client.cookies.set(PLAIN_NAME, use_login_link(ledger, create_login_link(ledger, "grace", frozenset(scopes))))
    ledger.close()


def submit(served: Served, path: str, **fields: str) -> Any:
    """Send a form from a page."""
    return served.client.post(path, data=fields, headers=OWN, follow_redirects=False)


@pytest.mark.parametrize("path", ["/inbox", "/requests/3"])
def test_pages_let_decide_whom_the_api_lets(served: Served, path: str) -> None:
    sign_in(served, Scope.DECIDE)
    form = {"action": "cancel", "reason": "no", "request": "3"}
    assert submit(served, path, **form).status_code == 403
    asked = {"action": "cancel", "reason": "no"}
    assert served.client.post(f"{PREFIX}/requests/3/decisions", json=asked, headers=OWN).status_code == 403
    seen = served.client.get(f"{PREFIX}/requests/3", headers=served.headers(*Scope)).json()
    assert seen["state"] == "queued"
    sign_in(served, Scope.READ, Scope.DECIDE)
    assert submit(served, path, **form).status_code in (200, 303)
    seen = served.client.get(f"{PREFIX}/requests/3", headers=served.headers(*Scope)).json()
    assert seen["state"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("models/1/requests", {"requests": [{"classes": [2**70]}]}, {"body.requests.0.classes.0"}),
        ("models/1/requests", {"requests": [{"classes": [None]}]}, {"body.requests.0.classes.0"}),
        ("models/1/requests", {"requests": [{}]}, {"body.requests.0.classes"}),
        ("models/1/requests", {}, {"body.requests"}),
        ("models/1/requests", {"requests": [{"classes": [1], "due_at": "x"}]}, {"body.requests.0.due_at"}),
        ("models/1/requests", {"requests": [{"classes": [1], "a b": 1}]}, {"body.requests.0"}),
        ("models/1/requests", [1], {"body"}),
        ("models/1/rollback-plans", {"to": -1}, {"body.to"}),
        ("models/0/rollback-plans", {"to": 1}, {"path.model"}),
    ],
)
def test_a_fault_is_where_the_sender_put_it(served: Served, path: str, body: Any, places: set[str]) -> None:
    answer = post(served, path, body)
    assert answer.status_code == 422
    assert {fault["at"] for fault in answer.json()["faults"]} == places
    for inner in ("function", "validator", "0x", "constrained", "partial", "<"):
        assert inner not in answer.text


@pytest.mark.parametrize("wanted", ["//[", "//%5B", "http://[", "/\\[", "//evil.example", "/a\x00b", "/é"])
def test_an_odd_way_on_leads_to_the_first_page(served: Served, wanted: str) -> None:
    assert 'name="next" value="/"' in served.client.get("/login", params={"next": wanted}).text
    ledger = open_ledger(served.app.state.config, "ada")
    link = create_login_link(ledger, "grace")
    ledger.close()
    entered = served.client.get("/login", params={"next": wanted, "link": link}, follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    if "\x00" not in wanted:
        typed = submit(served, "/login", token=served.token(*Scope), next=wanted)
        assert (typed.status_code, typed.headers["location"]) == (303, "/")


@pytest.mark.parametrize("address", ["http://[", "http://[::", "//[", "http://]["])
def test_an_address_that_is_none_comes_from_elsewhere(served: Served, address: str) -> None:
    page = served.client.get("/nowhere", headers={"Referer": address})
    assert (page.status_code, 'href="/"' in page.text) == (404, True)
    for path, form in (("/logout", {}), ("/login", {"token": served.token(*Scope)})):
        answer = served.client.post(path, data=form, headers={"Origin": address}, follow_redirects=False)
        assert answer.status_code == 403
    assert served.client.get("/nowhere", headers={"Host": address.removeprefix("http:")}).status_code == 421


def test_a_link_to_the_next_page_holds_what_a_header_can(served: Served) -> None:
    headers = served.headers(*Scope)
    for model in ("%E2%80%831", "%EF%BC%91", "1"):
        answer = served.client.get(f"{PREFIX}/models/{model}/versions?limit=1", headers=headers)
        assert answer.status_code in (200, 404, 422)
        if answer.status_code == 200:
            following = served.client.get(answer.links["next"]["url"], headers=headers)
            assert following.json()["items"][0]["version"] == 1


MOMENTS = [
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T00:00:00Z",
    "9999-01-01T00:00:00+00:00",
    "9998-12-31T12:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T00:00:00Z",
    "1900-01-01T12:00:00Z",
    "2026-01-01T00:00:00+99:00",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments_lie_where_every_zone_has_a_calendar(served: Served, moment: str) -> None:
    filed = [{"classes": [1], name: moment} for name in ("due_at", "received_at")]
    asked: list[tuple[str, Any]] = [("models/1/requests", {"requests": [one]}) for one in filed]
    asked += [("requests/3/extensions", {"due_at": moment, "reason": "x"})]
    asked += [("tokens", {"name": "x", "scopes": ["read"], "expires_at": moment})]
    for path, body in asked:
        answer = post(served, path, body)
        assert (answer.status_code, answer.json()["error"]) == (422, "UsageError"), path
    read = served.client.get(f"{PREFIX}/models/1/live", params={"at": moment}, headers=served.headers(*Scope))
    assert (read.status_code, read.json()["error"]) == (422, "UsageError")


@pytest.mark.parametrize("due", ["9999-12-30", "0001-01-02", "1899-12-31"])
def test_days_of_forms_lie_there_too(served: Served, due: str) -> None:
    sign_in(served, *Scope)
    assert submit(served, "/requests/3", action="extend", reason="x", due=due).status_code == 422


@pytest.mark.parametrize(
    ("kept", "key"),
    [
        ("no\nnote", None),
        ("unledger\n1\nAAAA\n\n", None),
        ("{\n", None),
        ("{}\n", None),
        ("ledger\n1\n" + "A" * 43 + "=\n\n\u2014 other AAAA\n", None),
        ("x" * 100_000 + "\n", None),
        ("nonsense", None),
        (None, "nonsense"),
        (None, "a+b+\u00e9"),
    ],
)
def test_what_was_kept_and_cannot_be_read_is_the_senders_fault(
    served: Served, kept: str | None, key: str | None
) -> None:
    answer = post(served, "audit/verifications", {"kept": kept, "key": key})
    said = answer.json()
    assert (answer.status_code, said["status"]) == (422, 422)
    assert said["error"] in {"SignatureError", "UsageError"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/requests/3", {"action": "hold", "reason": "a\x00b"}),
        ("/inbox", {"action": "hold", "reason": "a\x00b", "request": "3"}),
        ("/inbox", {"action": "hold", "reason": "a" * (LONGEST_NOTE + 1), "request": "3"}),
        ("/models/1/preview", {"names": "a\x00b"}),
        ("/models/1/rollback/0", {"confirmation": "x", "reason": "a\x00b"}),
        ("/tokens", {"name": "a\x00b", "scope": "read", "days": "90"}),
        ("/webhooks", {"url": "https://a\x00b"}),
        (f"/previews/{'0' * 32}/file", {"reason": "x", "basis": "a\x00b"}),
    ],
)
def test_fields_take_what_the_api_takes(served: Served, path: str, fields: dict[str, str]) -> None:
    sign_in(served, *Scope)
    assert submit(served, path, **fields).status_code == 422


def test_a_long_reason_is_taken_as_the_api_takes_it(served: Served) -> None:
    sign_in(served, *Scope)
    assert submit(served, "/requests/3", action="hold", reason="a" * LONGEST_NOTE).status_code == 303


def test_a_page_about_an_error_keeps_what_its_headers_say(served: Served) -> None:
    answer = served.client.put("/inbox")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert "html" in answer.headers["content-type"]


@pytest.mark.parametrize("scope", [Scope.FILE, Scope.DECIDE, Scope.OPERATE])
def test_whom_no_page_is_for_is_told_what_they_may_do(served: Served, scope: Scope) -> None:
    sign_in(served, scope)
    answer = served.client.get("/", follow_redirects=False)
    assert answer.status_code == 200
    assert f"<li>{scope.value}:" in answer.text
    assert answer.text.count("<li>") == 1
