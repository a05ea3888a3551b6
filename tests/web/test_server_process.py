"""The server as a process: what it prints, what it loads, how it ends."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from tests.web.serving import SECONDS, served_by_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.serving import Server


@pytest.fixture
def folder(past: Path, tmp_path: Path) -> Path:
    """A ledger of our own."""
    return Path(shutil.copytree(past, tmp_path / "ledger"))


@pytest.fixture
def token(folder: Path) -> str:
    """A token with every scope."""
    ledger = open_ledger(find_config(folder), "ada")
    try:
        return create_token(ledger, "tester", frozenset(Scope))[1]
    finally:
        ledger.close()


@pytest.fixture
def server(folder: Path, token: str) -> Iterator[Server]:
    """A running server."""
    assert token
    with served_by_process(folder, "--no-worker") as running:
        yield running


def test_it_serves_without_torch_and_ends_with_streams_open(server: Server, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        assert client.get("/api/v1/models").json()["items"][0]["name"] == "birds"
        for path in ("status", "requests", "audit", "certificates", "models/1", "models/1/versions", "models/1/report"):
            assert client.get(f"/api/v1/{path}").status_code == 200, path
        filed = client.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["jay"]}]})
        assert filed.status_code == 201
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "libpython" in loaded or "python" in loaded
        assert "torch" not in loaded
        assert "sklearn" not in loaded
        with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "0"}) as stream:
            assert next(stream.iter_lines()).startswith(":")
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 20
    assert "stopped" in "\n".join(server.log)


def test_what_it_says_of_requests_holds_no_query_and_no_name(server: Server, token: str) -> None:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        client.get("/api/v1/requests", params={"state": "canary"})
        client.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["canary"]}]})
        client.get("/canary/canary?canary=1")
    assert server.stop() == 0
    said = "\n".join(server.log)
    assert "GET /api/v1/requests 422" in said
    assert "POST /api/v1/models/{model}/requests 422" in said
    assert "canary" not in said
    assert token not in said


def children(process: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def command_of(process: int) -> list[str]:
    """Return the command line of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_worker_ends_with_its_server(folder: Path, end: str) -> None:
    with served_by_process(folder, "--worker") as server:
        until = time.monotonic() + SECONDS
        # The link is printed first.
        while not (found := children(server.process.pid)):
            assert time.monotonic() < until
            time.sleep(0.05)
        (worker,) = found
        while "work" not in command_of(worker):
            assert time.monotonic() < until
            time.sleep(0.05)
        server.stop() if end == "stop" else server.kill()
        # What is gone and not yet fetched by its parent has no command line.
        while any(command_of(worker)):
            assert time.monotonic() < until
            time.sleep(0.05)
