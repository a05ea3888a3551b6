"""A class may be a person: its name stays out of titles and addresses, and out of what others are told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ledger.domain.access import Scope
from ledger.web.openapi import routes_of
from tests.ledgers.sample import LABELS

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
