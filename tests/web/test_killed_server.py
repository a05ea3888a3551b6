"""A server that is killed while clients write: who sends again with the same key finds each request filed once."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from pathlib import Path

import httpx
import pytest

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.audit.verification import verify_log
from ledger.service.ledger import open_ledger
from ledger.service.requests.listing import list_requests
from tests.web.serving import Server

CLIENTS = 4
MANY = "UNLEDGER_SERVER_KILLS"
KILLS = int(os.environ.get(MANY, "3"))


def wait_for(count: int, done: list[int]) -> None:
    """Wait until so many requests were filed."""
    until = time.monotonic() + 60
    while sum(done) < count:
        assert time.monotonic() < until, "nothing is filed any more"
        time.sleep(0.01)


@pytest.mark.slow
def test_each_key_files_once_whenever_the_server_is_killed(past: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(past, tmp_path / "ledger"))
    ledger = open_ledger(find_config(folder), "ada")
    before = len(list_requests(ledger))
    token = create_token(ledger, "tester", frozenset({Scope.FILE}))[1]
    done, stop, draw = [0] * CLIENTS, threading.Event(), random.Random(0)
    server = Server(folder, "--no-worker")
    port = server.port
    url = f"{server.url}/api/v1/models/1/requests"

    def write(client: int) -> None:
        """File one request after another; a key is used again until its answer came."""
        while not stop.is_set():
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{client}-{done[client]}"}
            body = {"requests": [{"classes": [6], "reason": f"{client}-{done[client]}"}]}
            try:
                answer = httpx.post(url, json=body, headers=headers, timeout=30)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == 503:
                time.sleep(0.05)
                continue
            assert answer.status_code in {200, 201}, answer.text
            done[client] += 1

    writers = [threading.Thread(target=write, args=(client,)) for client in range(CLIENTS)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(KILLS):
            # A server that was just started verifies the log first; kills are to come between writes, too.
            wait_for(sum(done) + draw.randint(1, 8), done)
            time.sleep(draw.uniform(0, 0.2))
            server.kill()
            server = Server(folder, "--no-worker", port=port)
        wait_for(sum(done) + CLIENTS, done)
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
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
