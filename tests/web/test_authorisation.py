"""Who may ask what: every route with every scope, none, and all but one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ledger.domain.access import Scope
from ledger.web.api.values import PREFIX
from ledger.web.openapi import routes_of
from ledger.web.security.scopes import OpenToAll, ScopeCheck, admission

if TYPE_CHECKING:
    from fastapi.routing import RouteContext

    from tests.web.conftest import Served

CALLERS = [
    (),
    *((scope,) for scope in Scope),
    *(tuple(other for other in Scope if other is not scope) for scope in Scope),
    tuple(Scope),
]
"""Nobody, each scope alone, all but each one, and all."""


def address(route: RouteContext) -> str:
    """Return an address of a route that leads somewhere, and asks for nothing that would take for ever."""
    path = str(route.path_format)
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", "1")
    # Answered after the caller was looked at, and before a stream begins.
    return f"{path}?after=none" if path.endswith("/events") else path


def test_every_route_says_who_may_ask(served: Served) -> None:
    silent = [route.path for route in routes_of(served.app) if admission(route) is None]
    assert silent == []


def test_the_docs_list_every_route_with_its_scopes(served: Served) -> None:
    listed: dict[str, set[str]] = {}
    for line in (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8").splitlines():
        for address in re.findall(r"`(?:[A-Z]+ )?(/[^`? ]*)[^`]*`", line) if line.startswith("|") else ():
            listed.setdefault(address, set()).update(re.findall(r"`([a-z]+)`", line))
    for route in routes_of(served.app):
        path = str(route.path_format).removeprefix(PREFIX)
        if not str(route.path).startswith(PREFIX) or not route.include_in_schema:
            continue
        address = re.sub(r"\{[a-z]+\}", "{id}", path.replace("{version}", "{n}"))
        address = address.replace("/versions/{id}", "/versions/{n}")
        check = admission(route)
        assert isinstance(check, ScopeCheck)
        wanted = set() if len(check.scopes) == len(Scope) else {scope.value for scope in check.scopes}
        assert wanted <= listed[address], path


@pytest.mark.parametrize("scopes", CALLERS, ids=lambda scopes: "+".join(scopes) or "nobody")
def test_a_route_lets_in_whom_it_says(served: Served, scopes: tuple[Scope, ...]) -> None:
    held, wrong, cells = frozenset(scopes), [], 0
    for route in routes_of(served.app):
        check = admission(route)
        if not str(route.path).startswith(PREFIX) or isinstance(check, OpenToAll):
            continue
        assert isinstance(check, ScopeCheck)
        for method in route.methods or ():
            answer = served.client.request(method, address(route), headers=served.headers(*scopes))
            cells += 1
            expected = {401} if not held else set() if check.admits(held) else {403}
            if (answer.status_code in {401, 403}) != bool(expected) or (
                expected and answer.status_code not in expected
            ):
                wrong.append((method, route.path, answer.status_code))
            if expected:
                assert answer.headers["content-type"] == "application/problem+json"
    assert wrong == []
    assert cells > 30


def test_scopes_are_in_the_schema(served: Served) -> None:
    schema = served.client.get(f"{PREFIX}/openapi.json").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation["x-unledger-scope"], (path, method)
    assert schema["paths"][f"{PREFIX}/requests"]["get"]["x-unledger-scope"] == {"all": ["read"]}
    assert schema["paths"][f"{PREFIX}/audit"]["get"]["x-unledger-scope"] == {"all": ["audit"]}


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic YTpi", "Bearer ul_x_y", "Bearer ul_", "Bearer nonsense", "ul_1_2", "Bearer é"],
)
def test_nothing_else_lets_in(served: Served, header: str) -> None:
    answer = served.client.get(f"{PREFIX}/models", headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"] == "AuthenticationError"


def test_a_revoked_token_lets_nobody_in(served: Served) -> None:
    reader, admin = served.headers(Scope.READ), served.headers(Scope.ADMIN)
    assert served.client.get(f"{PREFIX}/models", headers=reader).status_code == 200
    tokens = served.client.get(f"{PREFIX}/tokens", headers=admin).json()["items"]
    number = next(token["id"] for token in tokens if token["name"] == "read")
    assert served.client.post(f"{PREFIX}/tokens/{number}/revocation", headers=admin).status_code == 200
    assert served.client.get(f"{PREFIX}/models", headers=reader).status_code == 401
    assert served.client.post(f"{PREFIX}/tokens/{number}/revocation", headers=admin).status_code == 409


def test_a_token_is_shown_once_and_acts_in_its_name(served: Served) -> None:
    body = {"name": "intake desk", "scopes": ["file", "read"]}
    made = served.client.post(f"{PREFIX}/tokens", json=body, headers=served.headers(Scope.ADMIN))
    assert made.status_code == 201
    text = made.json()["text"]
    listed = served.client.get(f"{PREFIX}/tokens", headers=served.headers(Scope.ADMIN)).text
    assert text not in listed
    assert text.rpartition("_")[2] not in listed
    mine = {"Authorization": f"Bearer {text}"}
    filed = served.client.post(
        f"{PREFIX}/models/1/requests", json={"requests": [{"classes": [1]}]}, headers=mine
    ).json()["items"][0]
    assert filed["actor"] == "intake desk"
    events = served.client.get(f"{PREFIX}/requests/{filed['id']}", headers=mine).json()["events"]
    assert events[0]["actor"] == "intake desk"
