"""A server that is killed while clients write: who sends again with the same key finds each request filed once."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import open_ledger
from ledger.service.requests.listing import list_requests
from tests.web.serving import SECONDS, Server

CLIENTS = 4
MANY = "UNLEDGER_SERVER_KILLS"
KILLS = int(os.environ.get(MANY, "3"))


def wait_for(count: int, done: list[int]) -> None:
    """Wait until so many requests were filed."""
    until = time.monotonic() + SECONDS
    while sum(done) < count:
        assert time.monotonic() < until, "nothing is filed any more"
        time.sleep(0.02)


@pytest.mark.slow
def test_each_key_files_once_whenever_the_server_is_killed(past: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(past, tmp_path / "ledger"))
    ledger = open_ledger(find_config(folder), "ada")
    before = len(list_requests(ledger))
    token = create_token(ledger, "tester", frozenset({Scope.FILE}))[1]
    done, stop, draw = [0] * CLIENTS, threading.Event(), random.Random(0)
    met: Counter[str] = Counter()
    server = Server(folder, "--no-worker")
    port = server.port
    url = f"{server.url}/api/v1/models/1/requests"

    def write(client: int) -> None:
        """File one request after another; a key is used again until its answer came."""
        with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {token}"}) as connection:
            while not stop.is_set():
                name = f"{client}-{done[client]}"
                body = {"requests": [{"classes": [6], "reason": name}]}
                try:
                    answer = connection.post(url, json=body, headers={"Idempotency-Key": name})
                except httpx.TransportError as error:
                    # Whether it was filed is not known: it may have been committed, and only the answer be lost.
                    met["no server" if isinstance(error, httpx.ConnectError) else "no answer"] += 1
                    time.sleep(0.1)
                    continue
                if answer.status_code == 503:
                    met["503"] += 1
                    time.sleep(0.1)
                    continue
                assert answer.status_code in {200, 201}, answer.text
                met["repeated"] += bool(answer.json()["items"][0]["repeated"])
                done[client] += 1

    writers = [threading.Thread(target=write, args=(client,)) for client in range(CLIENTS)]
    for writer in writers:
        writer.start()
    try:
        for kill in range(KILLS):
            # A server that was just started verifies the log first; kills are to come between writes, too.
            wait_for(sum(done) + draw.randint(1, 8), done)
            time.sleep(draw.uniform(0, 0.2))
            server.kill()
            server = Server(folder, "--no-worker", port=port)
            if kill % 20 == 19:
                print(f"{kill + 1} kills, {sum(done)} answers, {dict(met)}", flush=True)  # noqa: T201
        wait_for(sum(done) + CLIENTS, done)
    finally:
        stop.set()
        for writer in writers:
            writer.join(SECONDS)
        server.stop()
    filed = [request.reason for _, request in list_requests(ledger)][before:]
    # Each that was answered is there once; the last of each client may be, too.
    answered = {f"{client}-{number}" for client in range(CLIENTS) for number in range(done[client])}
    assert len(filed) == len(set(filed))
    assert answered <= set(filed)
    assert len(set(filed) - answered) <= CLIENTS
    assert sum(done) > KILLS
    verify_log(ledger)
    ledger.close()
    print(f"{KILLS} kills, {len(filed)} requests filed by {sum(done)} answers; {dict(met)}")  # noqa: T201
