"""The stream of events: what was missed comes first, then what happens as it happens; no classes are in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from tests.web.serving import served_by_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client(past: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a running server, with every scope."""
    folder = Path(shutil.copytree(past, tmp_path / "ledger"))
    ledger = open_ledger(find_config(folder), "ada")
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    headers = {"Authorization": f"Bearer {token}"}
    with (
        served_by_process(folder, "--no-worker") as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=60) as made,
    ):
        yield made


def read(lines: Iterator[str], count: int) -> list[dict[str, str]]:
    """Return the next events of a stream, each with its fields."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.strip()
        elif not line and "data" in fields:
            found.append(fields)
            if len(found) == count:
                break
        if not line:
            fields = {}
    return found


def test_a_stream_goes_on_where_it_was_left(client: httpx.Client) -> None:
    log = client.get("/api/v1/audit").json()["items"]
    with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": str(log[-4]["seq"])}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        missed = read(lines, 3)
        assert [int(event["id"]) for event in missed] == [entry["seq"] for entry in log[-3:]]
        assert [event["event"] for event in missed] == [entry["kind"] for entry in log[-3:]]
        body = {"requests": [{"classes": ["jay"], "reason": "jays asked"}]}
        number = client.post("/api/v1/models/1/requests", json=body).json()["items"][0]["id"]
        (event,) = read(lines, 1)
        said = json.loads(event["data"])
        assert int(event["id"]) == log[-1]["seq"] + 1
        assert (said["kind"], said["request"]) == ("request.received", number)
        assert "jay" not in event["data"]


def test_a_stream_from_now_on_and_one_from_a_place_that_is_not_yet(client: httpx.Client) -> None:
    for headers in ({}, {"Last-Event-ID": "999999"}):
        with client.stream("GET", "/api/v1/events", headers=headers) as stream:
            # At once: the stream counts from when it was answered, not from when it was first read.
            number = client.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["robin"]}]})
            lines = stream.iter_lines()
            assert next(lines).startswith(":")
            (event,) = read(lines, 1)
            assert json.loads(event["data"])["request"] == number.json()["items"][0]["id"]
