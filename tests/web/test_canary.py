"""A class may be a person: its name is told to nobody who may not read it."""

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
