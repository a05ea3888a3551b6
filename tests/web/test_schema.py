"""The description of the API is true: whatever is sent, what comes back was announced, and nothing fails inside."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core import NotSet
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ledger.domain.access import Scope
from ledger.web.api.values import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.conftest import Served

DESCRIPTION = f"{PREFIX}/openapi.json"
STREAM = f"{PREFIX}/events"
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
STREAMS = 5
"""Requests for a stream of events that fit the description, at most."""
STREAM_SECONDS = 2.0
"""How long a stream of events is read: it never ends by itself."""
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def says_nothing(case: schemathesis.Case[Any]) -> bool:
    """Whether a request has nothing of its own that the description knows.

    Names that are not known are passed over in a query, and a token that a request was made without is handed in here.
    """
    known = {parameter.name.lower() for parameter in case.operation.iter_parameters()} - {"authorization"}
    said = {name.lower() for part in (case.query, case.headers, case.path_parameters) for name in part or {}}
    return isinstance(case.body, NotSet) and not known & said


def send(served: Served, scopes: tuple[Scope, ...], examples: int) -> Counter[int]:
    """Send requests of each operation, those that fit the description and those that do not; count the answers."""
    schema = schemathesis.openapi.from_asgi(DESCRIPTION, served.app)
    headers, sent = served.headers(*scopes), Counter[int]()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        is_stream = operation.path == STREAM
        for mode in MODES:
            # Nearly every request that fits is answered by a stream, and takes its time.
            count = min(examples, STREAMS) if is_stream and mode is GenerationMode.POSITIVE else examples

            @settings(max_examples=count, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                answer = case.call(headers=headers, timeout=STREAM_SECONDS if case.operation.path == STREAM else None)
                sent[answer.status_code] += 1
                # Rules of the ledger are not in the description: it may refuse what fits.
                by_ledger = answer.headers.get("content-type") == ["application/problem+json"] and str(
                    answer.json()["type"]
                ).startswith("urn:unledger:")
                excluded = [positive_data_acceptance] if by_ledger else []
                if says_nothing(case):
                    excluded.append(negative_data_rejection)
                case.validate_response(answer, excluded_checks=excluded)

            check()
    return sent


def say(role: str, sent: Counter[int]) -> None:
    """Say how many requests were answered, and how, for the docs."""
    kinds = Counter({f"{kind}xx": sum(n for status, n in sent.items() if status // 100 == kind) for kind in (2, 4, 5)})
    print(f"{role}: {sent.total()} requests, {dict(kinds)}")  # noqa: T201


def test_no_parameter_is_described_as_null(served: Served) -> None:
    description = served.client.get(DESCRIPTION).json()
    found = [
        (path, parameter["name"])
        for path, operations in description["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if "null" in str(parameter["schema"])
    ]
    assert found == []


@pytest.mark.parametrize("role", ROLES)
def test_answers_are_as_described(serve: Callable[[], Served], role: str) -> None:
    sent = send(serve(), ROLES[role], 2)
    assert sent.total() > 60
    assert max(sent) < 500


@pytest.mark.slow
@pytest.mark.skipif("UNLEDGER_SCHEMA_EXAMPLES" not in os.environ, reason="takes long: set UNLEDGER_SCHEMA_EXAMPLES")
@pytest.mark.parametrize("role", ROLES)
def test_answers_are_as_described_over_many_requests(serve: Callable[[], Served], role: str) -> None:
    sent = send(serve(), ROLES[role], EXAMPLES)
    say(role, sent)
    assert sent.total() > 30 * EXAMPLES
    assert max(sent) < 500
