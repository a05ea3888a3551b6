"""How answers are told: problems, entity tags, pages, idempotency, headers, and what nobody may learn from them."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.access import Scope
from ledger.service.access.sessions import create_login_link, use_login_link
from ledger.service.ledger import open_ledger
from ledger.web.api.values import PREFIX
from ledger.web.security.cookies import PLAIN_NAME
from ledger.web.security.logins import own_path

if TYPE_CHECKING:
    from tests.web.conftest import Served

PROBLEM = "application/problem+json"


def get(served: Served, path: str, *scopes: Scope, **options: Any) -> Any:
    """Ask as a caller with these scopes; with all if none is named."""
    return served.client.get(f"{PREFIX}/{path}", headers=served.headers(*(scopes or tuple(Scope))), **options)


def post(served: Served, path: str, body: Any, *scopes: Scope, **headers: str) -> Any:
    """Send as a caller with these scopes; with all if none is named."""
    asked = {**served.headers(*(scopes or tuple(Scope))), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return served.client.post(f"{PREFIX}/{path}", json=body, headers=asked)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("GET", "models/99", None, 404, "NotFoundError"),
        ("GET", "nowhere", None, 404, "NotFoundError"),
        ("DELETE", "models", None, 405, "UsageError"),
        ("POST", "models/1/requests", b"{", 400, "UsageError"),
        ("POST", "models/1/requests", b'{"requests": []}', 422, "UsageError"),
        ("POST", "models/1/requests", b'{"requests": [{"classes": ["nobody"]}]}', 422, "UnknownClassError"),
        ("POST", "models/1/requests", b'{"requests": [{"classes": [1], "path": "/etc"}]}', 422, "UsageError"),
        ("POST", "models/1/requests", b" " * (2**20 + 1), 413, "UsageError"),
        ("GET", "requests?limit=0", None, 422, "UsageError"),
        ("GET", "models/1/live?at=yesterday", None, 422, "UsageError"),
        ("GET", "models/1/live?at=0001-01-01T00:00:00%2B23:59", None, 422, "UsageError"),
        ("POST", "requests/3/decisions", b'{"action": "approve"}', 409, "TransitionError"),
        ("GET", "audit/proof?leaf=99999", None, 404, "NotFoundError"),
    ],
)
def test_every_error_is_a_problem(
    served: Served, method: str, path: str, content: bytes | None, status: int, error: str
) -> None:
    headers = {**served.headers(*Scope), "Content-Type": "application/json"}
    answer = served.client.request(method, f"{PREFIX}/{path}", content=content, headers=headers)
    said = answer.json()
    assert (answer.status_code, said["status"], said["error"]) == (status, status, error)
    assert answer.headers["content-type"] == PROBLEM
    assert said["detail"]
    assert said["exit_code"] > 0


def test_an_address_says_which_methods_it_takes(served: Served) -> None:
    answer = served.client.put(f"{PREFIX}/certificates", headers=served.headers(*Scope))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_who_may_not_read_learns_no_name_of_a_class(served: Served) -> None:
    body = {"requests": [{"classes": ["kit"]}]}
    told = post(served, "models/1/requests", body, *Scope).json()
    untold = post(served, "models/1/requests", body, Scope.FILE)
    assert "kite" in f"{told['detail']} {told['hint']}"
    assert untold.status_code == 422
    assert "kit" not in untold.text
    filed = post(served, "models/1/requests", {"requests": [{"classes": ["kite"]}]}, Scope.FILE)
    assert filed.status_code == 201
    assert "kite" not in filed.text
    assert filed.json()["items"][0].keys() == {"id", "state", "received_at", "due_at", "repeated"}


def test_an_auditor_sees_history_and_no_names(served: Served) -> None:
    log = get(served, "audit", Scope.AUDIT)
    assert log.status_code == 200
    assert all(entry["note"] is None for entry in log.json()["items"])
    assert "the owls complained" in get(served, "audit", Scope.AUDIT, Scope.READ).text
    for path in ("requests", "models", "models/1/report", "status", "certificates/1/openings"):
        assert get(served, path, Scope.AUDIT).status_code == 403
    assert "owl" not in log.text


def test_a_legal_basis_is_left_out_for_who_may_not_read(served: Served) -> None:
    said = {"classes": ["kite"], "reason": "asked to", "basis": "the kite withdrew"}
    assert post(served, "models/1/requests", {"requests": [said]}).status_code == 201
    filed = [one for one in get(served, "audit", Scope.AUDIT).json()["items"] if one["kind"] == "request.received"]
    entries = get(served, "audit", Scope.AUDIT, Scope.READ).json()["items"]
    entry, whole = filed[-1], entries[filed[-1]["seq"] - 1]
    assert entry == {**whole, "note": None, "leaf": None, "data": {**whole["data"], "basis": None}}
    assert whole["data"]["basis"] == "the kite withdrew"
    assert "the kite withdrew" in whole["leaf"]
    # An export that left it out would not verify: the documentation says so.
    assert "the kite withdrew" in get(served, "audit/export", Scope.AUDIT).text


def test_a_token_ends_after_90_days_unless_somebody_says_otherwise(served: Served) -> None:
    body = {"name": "nightly", "scopes": ["read"]}
    left_out = post(served, "tokens", body).json()
    ends, made = (datetime.fromisoformat(left_out[key]) for key in ("expires_at", "created_at"))
    assert abs(ends - made - timedelta(days=90)) < timedelta(seconds=1)
    assert post(served, "tokens", {**body, "expires_at": None}).json()["expires_at"] is None
    far = post(served, "tokens", {**body, "expires_at": "9999-12-31T23:59:59-14:00"})
    assert (far.status_code, far.json()["error"]) == (422, "UsageError")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"action": "retry", "waive_gates": True}, "takes a reason"),
        ({"action": "withdraw", "waive_gates": True}, "takes a reason"),
        ({"action": "hold", "reason": "so", "waive_gates": True}, "computes nothing"),
        ({"action": "deny", "reason": "so", "solvers": ["projection"]}, "computes nothing"),
    ],
)
def test_a_decision_ignores_nothing_that_it_is_told(served: Served, body: dict[str, Any], said: str) -> None:
    refused = post(served, "requests/3/decisions", body)
    assert (refused.status_code, refused.json()["error"]) == (422, "UsageError")
    assert said in refused.json()["detail"]
    assert get(served, "requests/3").json()["state"] == "queued"


@pytest.mark.parametrize("key", ["k" * 191, ""])
def test_a_key_that_can_be_none_is_refused_by_a_problem_of_its_own(served: Served, key: str) -> None:
    for scopes in ((Scope.FILE,), (Scope.FILE, Scope.READ)):
        headers = {**served.headers(*scopes), "Idempotency-Key": key}
        body = {"requests": [{"classes": [5]}]}
        refused = served.client.post("/api/v1/models/1/requests", json=body, headers=headers)
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:unledger:problem:IdempotencyKeyError"
        assert "1 to 190 characters" in refused.json()["detail"]
        assert refused.json()["hint"] == ("use a shorter one" if key else "send one, or do without")


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_is_not_announced_as_json_is_told_so(served: Served, kind: str | None) -> None:
    headers = served.headers(Scope.FILE) | ({} if kind is None else {"Content-Type": kind})
    body = b'{"requests": [{"classes": [5]}]}'
    refused = served.client.post("/api/v1/models/1/requests", content=body, headers=headers)
    assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)
    assert "Content-Type: application/json" in refused.json()["hint"]
    taken = served.client.post(
        "/api/v1/models/1/requests", content=body, headers={**headers, "Content-Type": "application/json"}
    )
    assert taken.status_code == 201


@pytest.mark.parametrize("due", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "1800-01-01T00:00:00Z"])
def test_dates_lie_in_the_calendar_of_every_time_zone(served: Served, due: str) -> None:
    one = {"classes": ["crow"], "due_at": due}
    for refused in (
        post(served, "models/1/requests", {"requests": [one]}),
        post(served, "requests/3/extensions", {"due_at": due, "reason": "for ever"}),
    ):
        assert (refused.status_code, refused.json()["error"]) == (422, "UsageError")
        assert "is not between 1900 and 9998" in refused.json()["detail"]


def test_an_empty_key_is_refused(served: Served) -> None:
    body = {"requests": [{"classes": ["crow"], "idempotency_key": ""}]}
    assert post(served, "models/1/requests", body).status_code == 422
    lines = '{"classes": ["crow"], "idempotency_key": ""}'
    assert post(served, "models/1/requests/bulk", {"text": lines, "format": "jsonl"}).status_code == 422


def test_a_decision_is_about_the_state_that_was_seen(served: Served) -> None:
    seen = get(served, "requests/3")
    tag = seen.headers["etag"]
    held = post(served, "requests/3/decisions", {"action": "hold", "reason": "waits"}, if_match=tag)
    assert held.status_code == 200
    assert held.headers["etag"] != tag
    stale = post(served, "requests/3/decisions", {"action": "release"}, if_match=tag)
    assert (stale.status_code, stale.json()["error"]) == (412, "PreconditionError")
    now = get(served, "requests/3").headers["etag"]
    assert now == held.headers["etag"]
    assert post(served, "requests/3/decisions", {"action": "release"}, if_match=now).status_code == 200
    assert post(served, "requests/3/decisions", {"action": "cancel"}, if_match="*").status_code == 200


def test_what_is_live_is_told_of_now_if_no_moment_is_named(served: Served) -> None:
    now = get(served, "models/1/live")
    assert now.status_code == 200
    model = get(served, "models/1").json()
    assert [item["version"] for item in now.json()["items"]] == [model["version"]["version"]]


def test_the_bodies_that_the_documentation_shows_are_understood(served: Served) -> None:
    table = (Path(__file__).parents[2] / "docs/api.md").read_text().partition("## Bodies")[2]
    shown = re.findall(r"^\| `(/[^`]+)`[^|]*\| `(\{.*?\})`", table, re.MULTILINE)
    assert len(shown) > 12
    for path, body in shown:
        answer = post(served, path.removeprefix("/"), json.loads(body))
        assert "faults" not in answer.json(), (path, answer.text)
        assert answer.status_code not in (400, 405, 500), (path, answer.text)


def test_a_key_files_once(served: Served) -> None:
    body = {"requests": [{"classes": ["crow"]}]}
    first = post(served, "models/1/requests", body, idempotency_key="K-1")
    again = post(served, "models/1/requests", body, idempotency_key="K-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["location"] == again.headers["location"]
    assert again.json()["items"][0]["repeated"] is True
    other = {"requests": [{"classes": ["wren"]}]}
    assert post(served, "models/1/requests", other, idempotency_key="K-1").json()["error"] == "IdempotencyConflictError"
    several = {"requests": [{"classes": ["crow"]}, {"classes": ["robin"]}]}
    numbers = [post(served, "models/1/requests", several, idempotency_key="K-2").json() for _ in range(2)]
    assert [i["id"] for i in numbers[0]["items"]] == [i["id"] for i in numbers[1]["items"]]


@pytest.mark.parametrize(
    "other",
    [
        {"requests": [{"classes": ["crow"]}, {"classes": ["wren"]}]},
        {"requests": [{"classes": ["crow"]}]},
        {"requests": [{"classes": ["crow"]}, {"classes": ["robin"]}, {"classes": ["crow"]}]},
        {"requests": [{"classes": ["robin"]}, {"classes": ["crow"]}]},
        {"requests": [{"classes": ["crow"]}, {"classes": ["robin"]}], "needs_approval": True},
    ],
    ids=["another class", "fewer", "more", "another order", "approval"],
)
def test_a_key_stands_for_the_whole_body(served: Served, other: dict[str, Any]) -> None:
    body = {"requests": [{"classes": ["crow"]}, {"classes": ["robin"]}]}
    assert post(served, "models/1/requests", body, idempotency_key="K").status_code == 201
    count = len(get(served, "requests").json()["items"])
    refused = post(served, "models/1/requests", other, idempotency_key="K")
    assert (refused.status_code, refused.json()["error"]) == (409, "IdempotencyConflictError")
    assert len(get(served, "requests").json()["items"]) == count
    # And in the other direction.
    assert post(served, "models/1/requests", other, idempotency_key="L").status_code == 201
    assert post(served, "models/1/requests", body, idempotency_key="L").status_code == 409
    assert post(served, "models/1/requests", body, idempotency_key="K").status_code == 200


def test_one_key_for_all_and_one_of_its_own_contradict_each_other(served: Served) -> None:
    body = {"requests": [{"classes": ["crow"], "idempotency_key": "own"}]}
    assert post(served, "models/1/requests", body, idempotency_key="K").status_code == 422
    assert post(served, "models/1/requests", body).status_code == 201
    longest = {"requests": [{"classes": ["crow"]}] * 3}
    assert post(served, "models/1/requests", longest, idempotency_key="k" * 191).status_code == 422
    assert post(served, "models/1/requests", longest, idempotency_key="k" * 190).status_code == 201


@pytest.mark.parametrize(("path", "key"), [("requests", "id"), ("audit", "seq"), ("models/1/versions", "version")])
def test_pages_follow_each_other(served: Served, path: str, key: str) -> None:
    whole = [item[key] for item in get(served, path).json()["items"]]
    found, address = [], f"{PREFIX}/{path}?limit=2"
    while address:
        answer = served.client.get(address, headers=served.headers(*Scope))
        items = [item[key] for item in answer.json()["items"]]
        assert len(items) <= 2
        found += items
        address = answer.links.get("next", {}).get("url", "")
    assert found == whole
    assert len(whole) > 2


def test_rollback_takes_the_word_of_its_plan(served: Served) -> None:
    plan = post(served, "models/1/rollback-plans", {"to": 0}).json()
    wrong = post(served, "models/1/rollbacks", {"to": 0, "confirmation": "another"})
    assert wrong.status_code == 409
    done = post(served, "models/1/rollbacks", {"to": 0, "confirmation": plan["confirmation"], "reason": "test"})
    assert done.status_code == 200
    repeated = post(served, "models/1/rollbacks", {"to": 0, "confirmation": plan["confirmation"]})
    assert repeated.status_code == 409


def test_times_have_a_zone(served: Served) -> None:
    item = get(served, "requests").json()["items"][0]
    assert all(datetime.fromisoformat(item[name]).tzinfo for name in ("received_at", "due_at", "created_at"))


def test_every_answer_is_guarded(served: Served) -> None:
    for answer in (get(served, "models"), get(served, "nowhere"), served.client.get("/nowhere")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"]
    report = get(served, "models/1/report")
    assert "script-src" not in report.headers["content-security-policy"]


def test_request_ids_are_taken_over_if_they_are_some(served: Served) -> None:
    given = served.client.get(f"{PREFIX}/models", headers={"X-Request-ID": "abcdef0123456789"})
    assert given.headers["x-request-id"] == "abcdef0123456789"
    odd = served.client.get(f"{PREFIX}/models", headers={"X-Request-ID": "a b<c>"})
    assert odd.headers["x-request-id"] != "a b<c>"


def test_other_names_are_refused(served: Served) -> None:
    answer = served.client.get(f"{PREFIX}/models", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (421, PROBLEM)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
def test_another_site_changes_nothing_with_a_session(served: Served, headers: dict[str, str], status: int) -> None:
    ledger = open_ledger(served.app.state.config, "ada")
    cookie = use_login_link(ledger, create_login_link(ledger))
    ledger.close()
    served.client.cookies.set(PLAIN_NAME, cookie)
    assert served.client.get(f"{PREFIX}/models").status_code == 200
    body = {"requests": [{"classes": ["crow"]}]}
    assert served.client.post(f"{PREFIX}/models/1/requests", json=body, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("/requests/3?x=1", "/requests/3?x=1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("", "/"),
        ("/a\nb", "/"),
    ],
)
def test_a_login_leads_nowhere_else(address: str, own: str) -> None:
    assert own_path(address) == own
