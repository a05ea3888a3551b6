"""The database goes away for a while: requests are asked to come again, and no restart is needed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from ledger.config import create_config, find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import create_ledger, open_ledger, utc_now
from ledger.web.app import create_app
from ledger.web.settings import WebSettings
from tests.ledgers.sample import LABELS, START, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.databases import PostgresServer

HEADER = "retry-after"


@pytest.mark.postgres
@pytest.mark.slow
def test_requests_wait_for_a_database_and_need_no_restart(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    create_ledger(create_config(folder, postgres_url, "objects"), "ada", clock=lambda: START).close()
    ledger = open_ledger(find_config(folder), "ada", clock=lambda: START)
    Sample(ledger, [START]).register(LABELS)
    ledger.clock = utc_now
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    app = create_app(find_config(folder), WebSettings(hosts=("localhost",), delivers=False))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "K-1"}
    body = {"requests": [{"classes": ["jay"]}]}
    with TestClient(app, base_url="http://localhost", headers=headers) as client:
        assert client.get("/api/v1/models").status_code == 200
        assert client.post("/api/v1/models/1/requests", json=body).status_code == 201
        postgres_server.stop("fast")
        try:
            for _ in range(6):
                for answer in (client.get("/api/v1/models"), client.post("/api/v1/models/1/requests", json=body)):
                    assert answer.status_code == 503
                    assert answer.json()["error"] == "UnreachableError"
                    assert int(answer.headers[HEADER]) > 0
        finally:
            postgres_server.resume()
        # Every ledger that is lent has connections from before.
        for _ in range(6):
            assert client.get("/api/v1/models").status_code == 200
        assert client.post("/api/v1/models/1/requests", json=body).json()["items"][0]["repeated"] is True
        assert len(client.get("/api/v1/requests").json()["items"]) == 1
