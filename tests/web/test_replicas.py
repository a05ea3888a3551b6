"""Two servers over one PostgreSQL database: whoever asks cannot tell which of them answers."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ledger.config import create_config, find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import create_ledger, open_ledger, utc_now
from ledger.service.requests.listing import list_requests
from tests.ledgers.receiver import Receiver
from tests.ledgers.sample import LABELS, START, Sample
from tests.web.serving import SECONDS, Server, served_by_process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fixtures.databases import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

HOST = "ledger.example.org"
"""The name of both, as a proxy in front hands it on."""
MOVING = ("now", "checked_at", "seconds", "days_left")
"""Members of answers that differ from one second to the next."""


@dataclass
class Replicas:
    """Two servers, a client of each, and their ledger."""

    folder: Path
    servers: list[Server]
    clients: list[httpx.Client]
    token: str

    def file(self, one: int, label: str = "crow", **said: Any) -> int:
        """File a request at one of them and return its number."""
        answer = self.clients[one].post("/api/v1/models/1/requests", json={"requests": [{"classes": [label], **said}]})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["items"][0]["id"])


def make_ledger(folder: Path, url: str) -> str:
    """Make a ledger with a model and some history in a PostgreSQL database; return a token with every scope."""
    create_ledger(create_config(folder, url, "objects"), "ada", clock=lambda: START).close()
    with (folder / "unledger.toml").open("a") as settings:
        settings.write('\n[webhooks]\nallowed_networks = ["127.0.0.0/8"]\n')
    now = [START]
    ledger = open_ledger(find_config(folder), "ada", clock=lambda: now[0])
    built = Sample(ledger, now)
    built.register((*LABELS, "robin", "stork", "heron"))
    built.measure(built.forget(0))
    built.later()
    built.forget(2)
    built.later()
    built.roll_back(1, "the owls complained")
    ledger.clock = utc_now
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    return token


@pytest.fixture(scope="module")
def replicas(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two servers over one database."""
    url = postgres_server.borrow_database()
    folder = tmp_path_factory.mktemp("replicas") / "ledger"
    token = make_ledger(folder, url)
    headers = {"Authorization": f"Bearer {token}", "Host": HOST}
    options = ("--no-worker", "--trusted-host", HOST)
    with served_by_process(folder, *options) as a, served_by_process(folder, *options) as b:
        clients = [httpx.Client(base_url=one.url, headers=headers, timeout=SECONDS) for one in (a, b)]
        yield Replicas(folder, [a, b], clients, token)
        for client in clients:
            client.close()
        assert (a.stop(), b.stop()) == (0, 0)
    postgres_server.give_back(url)


def still(value: Any) -> Any:
    """Return a document without what moves by itself."""
    if isinstance(value, dict):
        return {name: still(inner) for name, inner in value.items() if name not in MOVING}
    return [still(inner) for inner in value] if isinstance(value, list) else value


def told(answer: httpx.Response) -> tuple[int, str | None, Any]:
    """Return what an answer says, apart from who gave it and when."""
    body = still(answer.json()) if "json" in answer.headers["content-type"].partition(";")[0] else answer.text
    return answer.status_code, answer.headers.get("etag"), body


def test_every_question_has_one_answer(replicas: Replicas) -> None:
    description = replicas.clients[0].get("/api/v1/openapi.json").json()
    asked = 0
    for route, operations in description["paths"].items():
        if "get" not in operations or route.endswith(("/events", "/report", "/report-pages")):
            continue
        path = re.sub(r"{\w+}", "1", route)
        here, there = (client.get(path, params={"leaf": 1} if "proof" in path else {}) for client in replicas.clients)
        assert told(here) == told(there), path
        asked += here.status_code == 200
    assert asked > 15


def test_what_one_writes_the_other_shows_at_once(replicas: Replicas) -> None:
    sizes = []
    for turn in range(20):
        number = replicas.file(turn % 2, reason=f"turn {turn}")
        other = replicas.clients[1 - turn % 2]
        shown = other.get(f"/api/v1/requests/{number}").json()
        assert (shown["id"], shown["reason"]) == (number, f"turn {turn}")
        sizes.append(other.get("/api/v1/ledger").json()["entries"])
    assert sizes == list(range(sizes[0], sizes[0] + 20))


def test_a_state_that_one_showed_is_decided_on_at_the_other(replicas: Replicas) -> None:
    number = replicas.file(0)
    here, there = replicas.clients
    seen = here.get(f"/api/v1/requests/{number}").headers["etag"]
    hold = {"action": "hold", "reason": "to be checked"}
    held = there.post(f"/api/v1/requests/{number}/decisions", json=hold, headers={"If-Match": seen})
    assert held.status_code == 200, held.text
    # The first one has nothing of its own in mind: the state that it showed is over there, too.
    release = {"action": "release", "reason": "checked"}
    late = here.post(f"/api/v1/requests/{number}/decisions", json=release, headers={"If-Match": seen})
    assert late.status_code == 412
    now = held.headers["etag"]
    assert here.get(f"/api/v1/requests/{number}").headers["etag"] == now
    assert here.post(f"/api/v1/requests/{number}/decisions", json=release, headers={"If-Match": now}).status_code == 200


def test_a_key_that_one_knows_the_other_knows(replicas: Replicas) -> None:
    here, there = replicas.clients
    body = {"requests": [{"classes": ["wren"], "reason": "licence ended"}]}
    keyed = {"Idempotency-Key": "of-both"}
    first = here.post("/api/v1/models/1/requests", json=body, headers=keyed)
    again = there.post("/api/v1/models/1/requests", json=body, headers=keyed)
    assert (first.status_code, again.status_code) == (201, 200)
    [one], [other] = first.json()["items"], again.json()["items"]
    assert (one["repeated"], other["repeated"]) == (False, True)
    assert {**one, "repeated": None} == {**other, "repeated": None}
    changed = {"requests": [{"classes": ["wren"], "reason": "another one"}]}
    refused = there.post("/api/v1/models/1/requests", json=changed, headers=keyed)
    assert (refused.status_code, refused.json()["error"]) == (409, "IdempotencyConflictError")


def test_a_key_that_both_are_sent_at_once_files_once(replicas: Replicas) -> None:
    def send(turn: int, client: httpx.Client) -> httpx.Response:
        body = {"requests": [{"classes": ["heron"], "reason": f"at once {turn}"}]}
        return client.post("/api/v1/models/1/requests", json=body, headers={"Idempotency-Key": f"at-once-{turn}"})

    with ThreadPoolExecutor(4) as threads:
        for turn in range(10):
            sent = list(threads.map(send, [turn] * 4, replicas.clients * 2))
            assert sorted(answer.status_code for answer in sent) == [200, 200, 200, 201], [one.text for one in sent]
            assert len({answer.json()["items"][0]["id"] for answer in sent}) == 1


def test_who_signed_in_at_one_is_known_at_the_other(replicas: Replicas) -> None:
    here, there = (one.url for one in replicas.servers)
    own = {"Host": HOST, "Sec-Fetch-Site": "same-origin"}
    signed_in = httpx.post(f"{here}/login", data={"token": replicas.token}, headers=own, timeout=SECONDS)
    assert signed_in.status_code == 303, signed_in.text
    cookies = {"Cookie": f"unledger={signed_in.cookies['unledger']}"}
    number = replicas.file(0)
    page = httpx.get(f"{there}/requests/{number}", headers={**own, **cookies}, timeout=SECONDS)
    assert (page.status_code, "crow" in page.text) == (200, True)
    decisions, hold = f"{there}/api/v1/requests/{number}/decisions", {"action": "hold", "reason": "by hand"}
    # A page of either is a page of both; what another site's page asks for is refused by both.
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example.org"}, {}):
        sent = httpx.post(decisions, json=hold, headers={"Host": HOST, **cookies, **foreign}, timeout=SECONDS)
        assert sent.status_code == 403, foreign
    by_origin = {"Host": HOST, "Origin": f"https://{HOST}", **cookies}
    assert httpx.post(decisions, json=hold, headers=by_origin, timeout=SECONDS).status_code == 200
    assert httpx.post(f"{there}/logout", headers={**own, **cookies}, timeout=SECONDS).status_code == 303
    assert httpx.get(f"{here}/api/v1/requests", headers={**own, **cookies}, timeout=SECONDS).status_code == 401


def test_a_link_that_one_printed_is_good_once_at_either(replicas: Replicas) -> None:
    here, there = replicas.servers
    link = here.link.removeprefix(here.url)
    assert httpx.get(there.url + link, headers={"Host": HOST}, timeout=SECONDS).status_code == 303
    assert httpx.get(here.url + link, headers={"Host": HOST}, timeout=SECONDS).status_code == 401


def test_a_plan_that_one_made_is_carried_out_by_the_other(replicas: Replicas) -> None:
    here, there = replicas.clients
    plan = here.post("/api/v1/models/1/rollback-plans", json={"to": 0})
    body = {"to": 0, "confirmation": plan.json()["confirmation"], "reason": "second thoughts"}
    assert there.post("/api/v1/models/1/rollbacks", json=body).status_code == 200
    assert here.post("/api/v1/models/1/rollbacks", json=body).status_code == 409


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream."""
    for line in lines:
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def test_what_happens_at_one_is_heard_at_the_other(replicas: Replicas) -> None:
    here, there = replicas.clients
    with here.stream("GET", "/api/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        numbers = [replicas.file(1), replicas.file(1)]
        heard = events(lines)
        first = next(heard)
        assert [first["request"], next(heard)["request"]] == numbers
    # Who loses one of them goes on at the other.
    with there.stream("GET", "/api/v1/events", headers={"Last-Event-ID": str(first["seq"])}) as stream:
        assert next(events(stream.iter_lines()))["request"] == numbers[1]


def test_a_webhook_is_told_once_whoever_tells_it(replicas: Replicas) -> None:
    receiver = Receiver()
    added = replicas.clients[0].post("/api/v1/webhooks", json={"url": receiver.url, "kinds": ["request.received"]})
    assert added.status_code == 201, added.text
    numbers = [replicas.file(turn % 2) for turn in range(12)]
    wait_until(lambda: len(receiver.seen) >= len(numbers))
    # Both look every two seconds.
    time.sleep(5)
    assert replicas.clients[1].delete(added.headers["location"]).status_code == 200
    receiver.close()
    assert sorted(json.loads(body)["data"]["request"] for _, body in receiver.seen) == numbers


def test_a_replica_that_is_killed_loses_nothing(replicas: Replicas) -> None:
    folder, kills, clients = replicas.folder, 2, 4
    third = [Server(folder, "--no-worker", "--trusted-host", HOST)]
    port = third[0].port
    addresses = [f"{url}/api/v1/models/1/requests" for url in (third[0].url, replicas.servers[0].url)]
    done, stop, failed_over = [0] * clients, threading.Event(), [0] * clients
    strange: list[str] = []

    def write(client: int) -> None:
        """Send each request to one of them, and to the other if that one does not answer."""
        number, place = 0, 0
        own = {"Host": HOST, "Authorization": f"Bearer {replicas.token}"}
        with httpx.Client(headers=own, timeout=SECONDS) as connection:
            while not stop.is_set():
                name = f"killed {client}-{number}"
                body = {"requests": [{"classes": ["stork"], "reason": name}]}
                try:
                    answer = connection.post(addresses[place], json=body, headers={"Idempotency-Key": name})
                except httpx.TransportError:
                    failed_over[client] += 1
                    place = 1
                    continue
                if answer.status_code not in {200, 201}:
                    strange.append(answer.text)
                    return
                number, place = number + 1, (number + 1) % 2
                done[client] = number

    writers = [threading.Thread(target=write, args=(client,)) for client in range(clients)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(kills):
            before = sum(done)
            wait_until(lambda before=before: sum(done) > before + 5 or strange)  # type: ignore[misc]
            third[0].kill()
            third[0] = Server(folder, "--no-worker", "--trusted-host", HOST, port=port)
    finally:
        stop.set()
        for writer in writers:
            writer.join(SECONDS)
        third[0].stop()
    assert strange == []
    # Each that was under way at a kill went to the other.
    assert sum(failed_over) > 0
    ledger = open_ledger(find_config(folder), "ada")
    filed = [request.reason for _, request in list_requests(ledger) if (request.reason or "").startswith("killed ")]
    verify_log(ledger)
    ledger.close()
    # Nobody stops before the answer to what was sent came.
    assert sorted(filed) == sorted(f"killed {one}-{number}" for one in range(clients) for number in range(done[one]))
