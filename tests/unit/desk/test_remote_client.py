"""Questions to a server, with the server's answers made up: pages, problems, and what else may answer."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ledger import errors
from ledger.desk.asked import FiledRequest
from ledger.desk.remote.client import ServerClient, checked_address, is_private
from ledger.desk.remote.desk import RemoteDesk
from ledger.desk.remote.problems import error_of
from ledger.documents.errors import error_part
from ledger.domain.states import Action, RequestState
from ledger.errors import LedgerError, NotFoundError, RetryLaterError, UnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://ledger.example.org"
MODELS = {
    "schema": "unledger.models/1",
    "items": [{"id": 7, "name": "b/../c?d", "labels": ["x", "y"]}, {"id": 2, "name": "a", "labels": ["z"]}],
}
ERRORS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, LedgerError)]
DATA: dict[str, Any] = {
    "seq": 3,
    "fault": "missing",
    "size": 1,
    "signed": 2,
    "fits": ["x"],
    "missed": ["level"],
    "gates": None,
    "current": "r",
    "extra": "engine",
}
"""What constructors of errors ask for beside message and hint."""


def asked(answer: Callable[[httpx.Request], httpx.Response], token: str | None = "ul_1_2") -> RemoteDesk:
    return RemoteDesk(ServerClient(URL, token, httpx.MockTransport(answer)))


def numbers(request: httpx.Request) -> httpx.Response:
    """Answer with pages of the numbers from 1 to 25, ten at most on each."""
    after, limit = int(request.url.params.get("after", 0)), min(int(request.url.params["limit"]), 10)
    items = [{"id": number} for number in range(after + 1, min(after + limit, 25) + 1)]
    more = 25 - items[-1]["id"]
    link = {"Link": f'</elsewhere/requests?after={items[-1]["id"]}&limit={limit}>; rel="next"'} if more else {}
    return httpx.Response(200, json={"schema": "unledger.requests/1", "items": items, "more": more}, headers=link)


@pytest.mark.parametrize("limit", [None, 1, 10, 11, 20, 25, 26])
def test_pages_are_followed_as_far_as_is_wanted(limit: int | None) -> None:
    found = asked(numbers).requests.all(limit=limit)
    wanted = min(limit or 25, 25)
    assert [item["id"] for item in found["items"]] == list(range(1, wanted + 1))
    assert found["more"] == 25 - wanted


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_comes_back_as_it_went(kind: type[LedgerError]) -> None:
    known = {name: DATA[name] for name in inspect.signature(kind.__init__).parameters if name in DATA}
    error = kind("what is wrong", "what to do", **known)
    part = error_part(error)
    body = {"type": "t", "title": "t", "status": 500, "detail": part.pop("message"), **part}
    again = error_of(500, json.loads(json.dumps(body)))
    assert type(again) is kind
    assert error_part(again) == json.loads(json.dumps(error_part(error)))
    assert (str(again), again.exit_code) == (str(error), error.exit_code)


@pytest.mark.parametrize("name", ["dict", "LedgerErrors", "__doc__", "annotations", None, 3, ["UsageError"]])
def test_a_server_names_no_other_class(name: object) -> None:
    assert type(error_of(404, {"detail": "gone", "error": name})) is NotFoundError
    assert type(error_of(418, {"detail": "gone", "error": name})) is LedgerError


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"3", b'{"detail": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_problem_is_told_by_its_status(body: bytes) -> None:
    with pytest.raises(RetryLaterError, match="status 502"):
        asked(lambda _: httpx.Response(502, content=body)).upkeep.facts()
    with pytest.raises(LedgerError, match="no ledger's server"):
        asked(lambda _: httpx.Response(200, content=body)).upkeep.facts()


def test_we_are_not_sent_elsewhere_with_our_token() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://attacker.example/"})

    with pytest.raises(UsageError, match=r"attacker\.example"):
        asked(answer).upkeep.facts()
    assert seen == ["ledger.example.org"]


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError])
def test_a_server_that_is_away_is_unreachable(error: type[httpx.TransportError]) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise error("no way")

    with pytest.raises(UnreachableError):
        asked(answer).models.all()


def test_names_stay_out_of_addresses() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(
            200, json=MODELS if request.url.path == "/api/v1/models" else {"schema": "s", "items": []}
        )

    desk = asked(answer)
    name = "b/../c?d"
    assert [model["name"] for model in desk.models.all()["items"]] == ["a", name]
    desk.models.show(name)
    desk.versions.live_at(name, datetime(2026, 1, 5, tzinfo=UTC))
    desk.requests.all(name, [RequestState.QUEUED, RequestState.FAILED], after=-3)
    desk.versions.plan_purge(name, timedelta(hours=12))
    desk.requests.file(name, [FiledRequest(["index:1", "x"], reason="why", due_at=datetime(2026, 2, 1, tzinfo=UTC))])
    assert desk.models.labels(name) == ["x", "y"]
    paths = [request.url.raw_path.decode() for request in seen if request.url.path != "/api/v1/models"]
    assert paths == [
        "/api/v1/models/7",
        "/api/v1/models/7/live?at=2026-01-05T00%3A00%3A00%2B00%3A00",
        "/api/v1/requests?model=7&state=queued&state=failed&after=0&limit=1000",
        "/api/v1/models/7/purge-plans",
        "/api/v1/models/7/requests",
    ]
    assert json.loads(seen[-1].content) == {
        "requests": [{"classes": [1, "x"], "reason": "why", "due_at": "2026-02-01T00:00:00+00:00"}],
        "needs_approval": False,
    }
    assert json.loads(seen[-2].content) == {"older_than_days": 0.5}
    with pytest.raises(NotFoundError, match="no model called 'nobody'") as caught:
        desk.models.show("nobody")
    assert caught.value.hint == f"models: a, {name}"


def test_numbers_that_nothing_bears_are_not_asked_for() -> None:
    desk = asked(lambda _: httpx.Response(500))
    for number in (0, -1, 2**60):
        with pytest.raises(NotFoundError, match=f"no request {number}"):
            desk.requests.show(number)
        with pytest.raises(NotFoundError, match=f"no certificate {number}"):
            desk.certificates.show(number)


def test_a_decision_names_the_revision_that_it_is_about() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("If-Match"))
        return httpx.Response(200, json={"schema": "unledger.decision/1"})

    desk = asked(answer)
    desk.requests.decide(3, Action.DENY, "no", expected="r1")
    desk.requests.withdraw(3)
    assert seen == ['"r1"', None]


def test_many_requests_are_sent_in_parts_and_told_how_far_they_got() -> None:
    parts = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=MODELS)
        parts.append(len(json.loads(request.content)["requests"]))
        if len(parts) == 3:
            return httpx.Response(503, json={"detail": "busy", "hint": "later", "error": "BusyError"})
        items = [{"id": len(parts)}] * parts[-1]
        return httpx.Response(201, json={"schema": "unledger.receipts/1", "items": items})

    desk = asked(answer)
    with pytest.raises(errors.BusyError) as caught:
        desk.requests.file("a", [FiledRequest(["z"])] * 2500)
    assert parts == [1000, 1000, 500]
    assert caught.value.hint.startswith("the first 2000 of 2500 requests were filed")
    assert caught.value.hint.endswith("; later")
    parts.clear()
    long = FiledRequest(["z"], reason="r" * 400_000)
    assert len(desk.requests.file("a", [long, long])["items"]) == 2
    with pytest.raises(UsageError, match="a server reads"):
        desk.requests.file("a", [FiledRequest(["z"], reason="r" * 1_000_000)])


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("https://ledger.example.org/", True),
        ("http://localhost:8000", True),
        ("http://[::1]:8000/ledger/", True),
        ("http://ledger.example.org", False),
        ("http://127.0.0.1.example.org", False),
    ],
)
def test_addresses(address: str, private: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert checked_address(address) == address.rstrip("/")
    assert is_private(address) is private


@pytest.mark.parametrize("token", ["with space", "line\nbreak", "été", ""])
def test_what_is_no_token_is_not_sent(token: str) -> None:
    with pytest.raises(UsageError, match="no token"):
        asked(lambda _: httpx.Response(500), token)
