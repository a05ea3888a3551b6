"""The database goes away for a while: requests are asked to come again, and no restart is needed afterwards."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi.testclient import TestClient

from ledger.config import create_config, find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import create_ledger, open_ledger, utc_now
from ledger.service.requests.listing import list_requests
from ledger.web.app import create_app
from ledger.web.problems import PROBLEM
from ledger.web.settings import WebSettings
from tests.ledgers.sample import LABELS, START, Sample
from tests.web.serving import SECONDS, served_by_process, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.databases import PostgresServer

HEADER = "retry-after"
# Read once at import: tests run with the environment guarded.
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"


def make_ledger(folder: Path, url: str) -> str:
    """Make a ledger with a model in a PostgreSQL database; return a token with every scope."""
    create_ledger(create_config(folder, url, "objects"), "ada", clock=lambda: START).close()
    ledger = open_ledger(find_config(folder), "ada", clock=lambda: START)
    Sample(ledger, [START]).register(LABELS)
    ledger.clock = utc_now
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    return token


@pytest.mark.postgres
@pytest.mark.slow
def test_requests_wait_for_a_database_and_need_no_restart(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    token = make_ledger(folder, postgres_url)
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


CLIENTS = 4
OUTAGE = 30.0
"""Seconds that the database is away in the long run."""


@dataclass
class Client:
    """Somebody who files and reads all the time; every call has a key of its own, and is sent until it is answered."""

    number: int
    url: str
    token: str
    answers: list[tuple[float, int]] = field(default_factory=list)
    """When each answer came, in seconds, and its status."""
    strange: list[str] = field(default_factory=list)
    filed: int = 0

    def call(self, stop: threading.Event) -> None:
        """Call until told to stop, and until what was sent last was answered."""
        own = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.url, headers=own, timeout=SECONDS) as connection:
            while True:
                name = f"{self.number}-{self.filed}"
                body = {"requests": [{"classes": ["jay"], "reason": name}]}
                sent = connection.post("/api/v1/models/1/requests", json=body, headers={"Idempotency-Key": name})
                self._note(sent)
                self.filed += sent.status_code in {200, 201}
                self._note(connection.get("/api/v1/requests?limit=5"))
                if stop.is_set() and sent.status_code in {200, 201}:
                    return
                time.sleep(0.05)

    def _note(self, answer: httpx.Response) -> None:
        self.answers.append((time.monotonic(), answer.status_code))
        told = answer.json() if answer.status_code == 503 else {}
        if answer.status_code == 503 and not (
            answer.headers["content-type"] == PROBLEM
            and told["error"] in {"UnreachableError", "BusyError"}
            and int(answer.headers[HEADER]) > 0
        ):
            self.strange.append(answer.text)
        if answer.status_code not in {200, 201, 503}:
            self.strange.append(answer.text)


def listen(url: str, token: str, listening: threading.Event, heard: list[int]) -> None:
    """Note the requests that a stream of events tells of, until the server ends it."""
    with (
        httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS) as connection,
        connection.stream("GET", f"{url}/api/v1/events") as stream,
    ):
        for line in stream.iter_lines():
            listening.set()
            if line.startswith("data:"):
                heard.append(json.loads(line.removeprefix("data:"))["request"])


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.skipif(not FULL_SIZE, reason="takes a minute: FULL_SIZE=1")
def test_half_a_minute_without_a_database_is_survived_by_all_who_call(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    token = make_ledger(folder, postgres_url)
    stop, listening, heard = threading.Event(), threading.Event(), list[int]()
    with served_by_process(folder, "--no-worker") as server:
        clients = [Client(number, server.url, token) for number in range(CLIENTS)]
        callers = [threading.Thread(target=client.call, args=(stop,)) for client in clients]
        listener = threading.Thread(target=listen, args=(server.url, token, listening, heard))
        listener.start()
        assert listening.wait(SECONDS)
        for thread in callers:
            thread.start()
        try:
            wait_until(lambda: all(client.filed > 2 for client in clients))
            gone = time.monotonic()
            postgres_server.stop("fast")
            time.sleep(OUTAGE - (time.monotonic() - gone))
            assert httpx.get(f"{server.url}/healthz", timeout=SECONDS).status_code == 200
            assert httpx.get(f"{server.url}/readyz", timeout=SECONDS).status_code == 503
        finally:
            postgres_server.resume()
        back, filed = time.monotonic(), sum(client.filed for client in clients)
        wait_until(lambda: sum(client.filed for client in clients) > filed + 5 * CLIENTS)
        stop.set()
        for thread in callers:
            thread.join(SECONDS)
        total = sum(client.filed for client in clients)
        wait_until(lambda: len(heard) >= total)
        assert server.process.poll() is None
        assert server.stop() == 0
        listener.join(SECONDS)
    assert [one for client in clients for one in client.strange] == []
    answers = sorted(one for client in clients for one in client.answers)
    during = [status for at, status in answers if gone + 2 < at < back - 0.5]
    well = {
        client.number: min(at for at, status in client.answers if at > back and status < 300) - back
        for client in clients
    }
    assert set(during) == {503}
    assert len(during) > CLIENTS
    # What was promised before, during and after is there, once.
    ledger = open_ledger(find_config(folder), "ada")
    filed_reasons = sorted(request.reason or "" for _, request in list_requests(ledger))
    verify_log(ledger)
    ledger.close()
    assert filed_reasons == sorted(f"{client.number}-{number}" for client in clients for number in range(client.filed))
    # The stream stayed open, and told of each request once, those before and those after.
    assert heard == list(range(1, total + 1))
    counts = Counter(status for _, status in answers)
    print(f"{OUTAGE:.0f} s away: {dict(counts)}, {len(during)} calls meanwhile; well after", end=" ")  # noqa: T201
    print(", ".join(f"{seconds:.1f} s" for seconds in well.values()), f"; {len(heard)} events")  # noqa: T201
