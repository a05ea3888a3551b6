"""A class may be a person: its name stays out of titles and addresses, and out of what others are told.

`tests/fixtures/canary.py` looks for that through the whole run; here it is shown that it finds what slips out.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.web.openapi import routes_of
from tests.fixtures.canary import WATCH, require_canary
from tests.ledgers.receiver import Receiver
from tests.ledgers.sample import LABELS
from tests.web.serving import served_by_process

if TYPE_CHECKING:
    from tests.web.conftest import Served

NAMES = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in LABELS))
PAGE = re.compile(r"<!doctype html", re.IGNORECASE)


def pages(served: Served) -> dict[str, str]:
    """Return every page that a browser of somebody with all scopes is shown, by its address."""
    found = {}
    for route in routes_of(served.app):
        path = str(route.path_format)
        if "GET" not in (route.methods or ()) or path.startswith(("/api", "/static", "/login")):
            continue
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", "1")
        answer = served.client.get(path, headers={**served.headers(*Scope), "Accept": "text/html"})
        if answer.status_code == 200 and PAGE.search(answer.text):
            found[path] = answer.text
    return found


def test_no_page_has_a_class_in_its_title_or_in_an_address(served: Served) -> None:
    found = pages(served)
    assert len(found) > 4
    assert any(NAMES.search(text) for text in found.values()), "no page names a class: this test looks for nothing"
    wrong = {}
    for path, text in found.items():
        titles = re.findall(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        addresses = re.findall(r"""(?:href|action|src|hx-get|hx-post)=["']([^"']*)["']""", text)
        said = NAMES.findall(" ".join([*titles[:1], *addresses]))
        if said or not titles:
            wrong[path] = said
    assert wrong == {}


@pytest.mark.parametrize("scopes", [(), (Scope.FILE,), (Scope.AUDIT,), (Scope.OPERATE,), (Scope.ADMIN,)])
def test_who_may_not_read_is_told_no_class(served: Served, scopes: tuple[Scope, ...]) -> None:
    wrong = {}
    for route in routes_of(served.app):
        path = str(route.path_format)
        # Certificates are for auditors, and what opens them names classes: that is what it is for.
        if path.endswith("/events") or (Scope.AUDIT in scopes and "certificate" in path):
            continue
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", "1")
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}:
            answer = served.client.request(method, path, headers=served.headers(*scopes), json={})
            if NAMES.search(answer.text):
                wrong[method, path] = NAMES.findall(answer.text)[:3]
    assert wrong == {}


LEAKS: dict[str, tuple[str, Response]] = {
    "title": ("/leak", HTMLResponse("<!doctype html><title>Request for jay</title>")),
    "address": ("/leak", HTMLResponse('<a href="/requests?class=%6aay">requests</a>')),
    "header": ("/leak", Response(status_code=303, headers={"Location": "/classes/jay"})),
    "event": ("/leak", StreamingResponse(iter([b"data: jay\n\n"]), media_type="text/event-stream")),
    "figures": ("/metrics", PlainTextResponse('unledger_requests{class="jay"} 1')),
    "refusal": ("/leak", JSONResponse({"detail": "no jay here"}, 404, media_type="application/problem+json")),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_name_that_slips_out_of_an_answer_is_found(served: Served, kind: str) -> None:
    path, leak = LEAKS[kind]

    async def leaking(_: Any) -> Response:
        return leak

    served.app.router.routes.insert(0, Route(path, leaking))
    with WATCH.expected() as found:
        served.client.get(path, follow_redirects=False)
    assert [one.partition(":")[0] for one in found] == [kind]
    WATCH.found.extend(found)
    with pytest.raises(AssertionError, match="a class is named"):
        WATCH.require_silence()


def test_a_name_that_slips_into_a_log_or_a_message_or_a_request_is_found(served: Served) -> None:
    receiver = Receiver()
    with WATCH.expected() as found:
        logging.getLogger("unledger.somewhere").info("request for %s", "jay")
        logging.getLogger("unledger.somewhere").info("request", extra={"unledger": {"class": "jay"}})
        httpx.post(receiver.url, json={"data": {"class": "jay"}}, timeout=60)
        served.client.get("/login?next=/jay", headers={"User-Agent": "Mozilla/5.0"})
    receiver.close()
    assert [one.partition(":")[0] for one in found] == ["log", "log", "webhook", "address"]


@pytest.mark.slow
def test_a_name_that_slips_out_of_a_server_is_found(
    past: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(past, tmp_path / "ledger"))
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.stderr.write('asked for jay\\n')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with WATCH.expected() as found, served_by_process(folder, "--no-worker") as server:
        server.stop()
    assert found == ["log: asked for jay"]


def test_what_is_said_is_looked_through(served: Served) -> None:
    before = WATCH.seen.copy()
    served.client.get("/metrics", headers=served.headers(Scope.OPERATE))
    served.client.get("/requests", headers={**served.headers(*Scope), "Accept": "text/html"})
    served.client.get("/api/v1/requests/9")
    assert {"title", "address", "header", "figures", "refusal", "log"} <= (WATCH.seen - before).keys()


def test_no_ledger_is_served_whose_classes_nobody_looks_for(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = find_config(past)
    require_canary(config)
    monkeypatch.setattr("tests.fixtures.canary.CANARIES", frozenset({"somebody else"}))
    with pytest.raises(AssertionError, match="nobody looks for"):
        require_canary(config)
