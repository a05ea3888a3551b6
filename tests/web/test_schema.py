"""The description of the API is true: whatever is sent, what comes back was announced, and nothing fails inside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ledger.domain.access import Scope
from ledger.web.api.values import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.conftest import Served

DESCRIPTION = f"{PREFIX}/openapi.json"
EXAMPLES = int(os.environ.get("UNLEDGER_SCHEMA_EXAMPLES", "40"))
"""Requests to each operation, in the long run."""
ROLES: dict[str, tuple[Scope, ...]] = {
    "nobody": (),
    "reader": (Scope.READ,),
    "intake": (Scope.FILE,),
    "officer": (Scope.READ, Scope.FILE, Scope.DECIDE),
    "operator": (Scope.READ, Scope.OPERATE),
    "auditor": (Scope.AUDIT,),
    "administrator": (Scope.ADMIN,),
    "everything": tuple(Scope),
}
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def send(served: Served, scopes: tuple[Scope, ...], examples: int) -> int:
    """Send requests of each operation, those that fit the description and those that do not; return how many."""
    schema = schemathesis.openapi.from_asgi(DESCRIPTION, served.app)
    headers, sent = served.headers(*scopes), 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path.endswith("/events"):
            # A stream never ends; its own tests read it.
            continue
        for mode in MODES:

            @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal sent
                sent += 1
                answer = case.call(headers=headers)
                # Rules of the ledger are not in the description: it may refuse what fits.
                by_ledger = answer.headers.get("content-type") == ["application/problem+json"] and str(
                    answer.json()["type"]
                ).startswith("urn:unledger:")
                case.validate_response(answer, excluded_checks=[positive_data_acceptance] if by_ledger else [])

            check()
    return sent


@pytest.mark.parametrize("role", ROLES)
def test_answers_are_as_described(serve: Callable[[], Served], role: str) -> None:
    assert send(serve(), ROLES[role], 2) > 60


@pytest.mark.slow
@pytest.mark.skipif("UNLEDGER_SCHEMA_EXAMPLES" not in os.environ, reason="takes long: set UNLEDGER_SCHEMA_EXAMPLES")
@pytest.mark.parametrize("role", ROLES)
def test_answers_are_as_described_over_many_requests(serve: Callable[[], Served], role: str) -> None:
    assert send(serve(), ROLES[role], EXAMPLES) > 1000
