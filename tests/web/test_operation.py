"""What load balancers and Prometheus ask, and that no name of a class leaves by a way that others read."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.domain.access import Scope
from tests.ledgers.sample import LABELS

if TYPE_CHECKING:
    from tests.web.conftest import Served


def test_the_process_says_that_it_lives_whatever_becomes_of_the_ledger(served: Served) -> None:
    (served.folder / "ledger.db").unlink()
    assert served.client.get("/healthz").json() == {"status": "ok"}


def test_a_served_ledger_is_ready(served: Served) -> None:
    answer = served.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "schema": "ok", "objects": "ok", "ledger": "ok"},
    }


@pytest.mark.parametrize(("lost", "named"), [("keys", "ledger"), ("objects", "objects")])
def test_what_is_lost_is_named_and_where_it_was_is_not(served: Served, lost: str, named: str) -> None:
    shutil.rmtree(served.folder / lost)
    if lost == "objects":
        (served.folder / lost).write_text("a file")
    answer = served.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"][named] == "failed"
    assert int(answer.headers["retry-after"]) > 0
    assert str(served.folder) not in answer.text


def test_the_figures_are_those_of_the_database(served: Served) -> None:
    answer = served.client.get("/metrics", headers=served.headers(Scope.OPERATE))
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["unledger_requests", "1", "fulfilled"] == 1
    assert samples["unledger_requests", "1", "queued"] == 2
    assert samples["unledger_requests", "1", "reopened"] == 1
    assert samples["unledger_overdue_requests", "1"] == 3
    assert samples["unledger_oldest_open_request_seconds", "1"] > 0
    assert samples["unledger_workers",] == 0
    assert samples["unledger_audit_entries",] > 5


@pytest.mark.parametrize("scopes", [(), (Scope.READ, Scope.FILE, Scope.DECIDE, Scope.AUDIT, Scope.ADMIN)])
def test_the_figures_are_for_those_who_operate(served: Served, scopes: tuple[Scope, ...]) -> None:
    answer = served.client.get("/metrics", headers=served.headers(*scopes), follow_redirects=False)
    assert answer.status_code == (403 if scopes else 401)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"] == ("ForbiddenError" if scopes else "AuthenticationError")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_load_balancers_may_ask_for_the_head_alone(served: Served, path: str) -> None:
    whole, head = served.client.get(path), served.client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    (served.folder / "ledger.db").unlink()
    assert served.client.head(path).status_code == served.client.get(path).status_code


def test_a_line_of_the_log_tells_the_time_taken_and_the_number(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "unledger.access"):
        number = served.client.get("/healthz").headers["x-request-id"]
    assert re.fullmatch(rf"GET /healthz 200 \d+\.\d ms {number}", caplog.messages[-1])


def test_a_file_of_requests_is_checked_and_filed(served: Served) -> None:
    headers = served.headers(Scope.READ, Scope.FILE)
    text = f"classes,reason,idempotency_key\n{LABELS[1]},she asked,k-1\nno such bird,,\n"
    checked = served.client.post(
        "/api/v1/models/1/requests/bulk", headers=headers, json={"text": text, "dry_run": True}
    )
    assert checked.status_code == 200
    assert [(bad["line"], bad["error"]["error"]) for bad in checked.json()["bad"]] == [(3, "UnknownClassError")]
    refused = served.client.post("/api/v1/models/1/requests/bulk", headers=headers, json={"text": text})
    assert refused.status_code == 422
    good = text.rpartition("no such")[0]
    filed = served.client.post("/api/v1/models/1/requests/bulk", headers=headers, json={"text": good})
    assert [item["reason"] for item in filed.json()["items"]] == ["she asked"]


def test_no_class_is_named_where_others_read(served: Served) -> None:
    """In addresses, in log lines, in figures, and in what is told to those who may not read."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(unledger)s", defaults={"unledger": ""}))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    addresses, told = [], []
    try:
        every = served.headers(*Scope)
        some = served.headers(Scope.FILE, Scope.OPERATE, Scope.AUDIT)
        for label in LABELS:
            for headers in (every, some):
                body = {"requests": [{"classes": [label], "reason": "why"}]}
                filed = served.client.post("/api/v1/models/1/requests", headers=headers, json=body)
                addresses.append(filed.headers.get("location", ""))
                bad = {"requests": [{"classes": [label, "canary"]}]}
                refused = served.client.post("/api/v1/models/1/requests", headers=headers, json=bad)
                assert refused.status_code == 422
                if headers is some:
                    told += [filed.text, refused.text]
        answered = json.dumps(served.client.get("/api/v1/requests?limit=1000", headers=every).json())
        assert LABELS[0] in answered, "who may read is told: else this test looks for nothing"
        linked = served.client.get("/api/v1/requests?limit=1", headers=every)
        addresses += [str(linked.url), linked.headers["link"]]
        told.append(served.client.get("/metrics", headers=some).text)
        told.append(served.client.get("/api/v1/audit?limit=1000", headers=served.headers(Scope.AUDIT)).text)
        told.append(served.client.get("/readyz").text)
    finally:
        root.removeHandler(handler)
        root.setLevel(logging.WARNING)
    assert "unledger.access" in said.getvalue()
    names = re.compile("|".join(rf"\b{name}\b" for name in (*LABELS, "canary")))
    for place, text in (("addresses", " ".join(addresses)), ("log", said.getvalue()), ("told", " ".join(told))):
        assert names.findall(text) == [], place
