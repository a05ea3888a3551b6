"""Bodies: from whom they are read, and how much of them is taken apart."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from starlette.concurrency import run_in_threadpool

from ledger.domain.access import Scope
from ledger.web.api.values import PREFIX
from ledger.web.openapi import routes_of
from ledger.web.security.guarded_routes import MOST_VALUES, GuardedRoute, holds_too_much
from ledger.web.security.scopes import ScopeCheck, admission

if TYPE_CHECKING:
    from tests.web.conftest import Served

BULK = f"{PREFIX}/models/1/requests/bulk"
JSON = {"Content-Type": "application/json"}


def _status_without_body(served: Served, path: str, headers: dict[str, str]) -> int:
    """Ask with a body that must not be waited for, and return the status of the answer."""
    said: list[Any] = []
    told = [(name.lower().encode(), value.encode()) for name, value in {"Host": "localhost", **JSON, **headers}.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": told,
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        said.append(message)

    async def ask() -> None:
        await served.app(scope, receive, send)

    # In a thread of its own: a browser that other tests opened keeps an event loop running in this one.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(anyio.run, ask).result()
    return int(said[0]["status"])


@pytest.mark.parametrize("path", [BULK, f"{PREFIX}/models/1/requests", f"{PREFIX}/tokens"])
def test_no_body_is_read_from_who_is_not_let_in(served: Served, path: str) -> None:
    assert _status_without_body(served, path, {}) == 401
    assert _status_without_body(served, path, {"Authorization": "Bearer ul_1_2"}) == 401
    assert _status_without_body(served, path, served.headers(Scope.AUDIT)) == 403


@pytest.mark.parametrize("path", ["/inbox", "/requests/1", "/models/1/preview", "/tokens"])
def test_no_form_is_read_from_who_is_not_let_in(served: Served, path: str) -> None:
    assert _status_without_body(served, path, {}) == 303
    assert _status_without_body(served, path, served.headers(Scope.AUDIT)) == 403


def test_every_route_that_takes_a_body_guards_it(served: Served) -> None:
    guarded = 0
    for route in routes_of(served.app):
        if isinstance(admission(route), ScopeCheck) and route.body_field is not None:
            assert isinstance(route.original_route, GuardedRoute), route.path
            guarded += 1
    assert guarded > 20


@pytest.mark.parametrize(
    "body",
    [
        b'{"requests": [' + b"[],[]," * 150_000 + b"[]]}",
        b'{"requests": [' + b"[" * 900_000,
        b'{"requests": [{"classes": [1], ' + b",".join(b'"a%06d":1' % n for n in range(80_000)) + b"}]}",
        b'{"requests": [{"classes": [' + b"1," * 500_000 + b"1]}]}",
        b'{"requests": ["' + b'","' * 300_000 + b'"]}',
        b'{"requests": ["' + b'\\\\","' * 170_000 + b'"]}',
    ],
    ids=["lists", "depth", "names", "numbers", "strings", "strings that end in a backslash"],
)
def test_a_body_of_very_many_values_is_not_taken_apart(served: Served, body: bytes) -> None:
    assert len(body) <= 2**20
    headers = {**served.headers(*Scope), **JSON}
    answer = served.client.post(f"{PREFIX}/models/1/requests", content=body, headers=headers)
    assert (answer.status_code, answer.json()["title"]) == (413, "The body is too large")


@pytest.mark.parametrize(
    "body",
    [
        {"requests": [{f"a{n}": n for n in range(MOST_VALUES - 10)}]},
        {"requests": [{"classes": [None] * 9_000} for _ in range(5)]},
        {"requests": [None] * 900},
        {f"a{n}": n for n in range(MOST_VALUES - 10)},
    ],
    ids=["names of a request", "classes", "requests", "names"],
)
def test_of_very_many_faults_a_few_are_told(served: Served, body: dict[str, Any]) -> None:
    answer = served.client.post(f"{PREFIX}/models/1/requests", json=body, headers=served.headers(*Scope))
    assert answer.status_code == 422
    assert 0 < len(answer.json()["faults"]) < 10


def test_a_file_of_requests_is_one_string_however_long() -> None:
    line = json.dumps({"classes": ["a", "b", 'c "and" d\\'], "reason": "[a, b, {c"})
    assert not holds_too_much(json.dumps({"text": f"{line}\n" * 50_000, "format": "jsonl"}).encode())
    assert holds_too_much(json.dumps({"text": line, "more": [[] for _ in range(MOST_VALUES)]}).encode())


def test_json_is_utf_8(served: Served) -> None:
    headers = {**served.headers(*Scope), **JSON}
    body = json.dumps({"requests": [{"classes": [1]}]})
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        answer = served.client.post(f"{PREFIX}/models/1/requests", content=body.encode(encoding), headers=headers)
        assert answer.status_code == 400
    assert served.client.post(f"{PREFIX}/models/1/requests", content=body.encode(), headers=headers).status_code == 201


@pytest.mark.parametrize("path", ["/inbox/requests/bulk", f"{PREFIX}/models/1/purges/requests/bulk", f"{BULK}/"])
def test_only_where_files_of_requests_are_sent_bodies_may_be_large(served: Served, path: str) -> None:
    headers = {**served.headers(*Scope), **JSON}
    large = b'{"text": "' + b" " * 2**20 + b'"}'
    assert served.client.post(path, content=large, headers=headers).status_code == 413
    assert served.client.post(BULK, content=large, headers=headers).status_code != 413


def test_who_was_let_in_is_asked_once_and_a_thread_is_taken_for_it_and_for_the_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def counted(call: Any, *args: Any, **kwargs: Any) -> Any:
        taken.append(call.__name__)
        return run_in_threadpool(call, *args, **kwargs)

    for where in ("ledger.web.security.scopes", "fastapi.routing", "fastapi.dependencies.utils"):
        monkeypatch.setattr(f"{where}.run_in_threadpool", counted)
    body = {"requests": [{"classes": [1], "reason": "asked to"}]}
    headers = served.headers(Scope.READ, Scope.FILE)
    assert served.client.post(f"{PREFIX}/models/1/requests", json=body, headers=headers).status_code == 201
    assert len(taken) == 2
    assert taken[0] == "admit"
    taken.clear()
    assert served.client.get("/healthz").status_code == 200
    assert taken == []
