"""A served ledger with a past, and callers with every scope."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from ledger.config import create_config, find_config
from ledger.domain.access import Scope
from ledger.service.access.tokens import create_token
from ledger.service.ledger import create_ledger, open_ledger
from ledger.web.app import create_app
from ledger.web.settings import WebSettings
from tests.fixtures.canary import require_canary
from tests.ledgers.sample import LABELS, START, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

HOST = "http://localhost"


@dataclass
class Served:
    """An application over a ledger of its own, and a client for it."""

    folder: Path
    app: FastAPI
    client: TestClient
    _tokens: dict[frozenset[Scope], str] = field(default_factory=dict)

    def token(self, *scopes: Scope) -> str:
        """Return the text of a token with just these scopes."""
        wanted = frozenset(scopes)
        if wanted not in self._tokens:
            ledger = open_ledger(find_config(self.folder), "ada")
            self._tokens[wanted] = create_token(ledger, "-".join(sorted(wanted)), wanted)[1]
            ledger.close()
        return self._tokens[wanted]

    def headers(self, *scopes: Scope) -> dict[str, str]:
        """Return the headers of a caller with just these scopes, or of nobody."""
        return {"Authorization": f"Bearer {self.token(*scopes)}"} if scopes else {}


def open_served(folder: Path) -> Served:
    """Serve a ledger."""
    require_canary(find_config(folder))
    app = create_app(find_config(folder), WebSettings(hosts=("localhost", "testserver"), delivers=False, poll=0.05))
    return Served(folder, app, TestClient(app, base_url=HOST, raise_server_exceptions=True))


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a small model: two requests, one of them reopened by a rollback, and two that wait."""
    folder = tmp_path_factory.mktemp("web-past") / "ledger"
    create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "ada", clock=lambda: START).close()
    now = [START]
    built = Sample(open_ledger(find_config(folder), "ada", clock=lambda: now[0]), now)
    built.register((*LABELS, "robin", "stork", "heron", "egret"))
    built.measure(built.forget(0))
    built.later()
    built.measure(built.forget(2, 4))
    built.later()
    built.roll_back(1, "the owls complained")
    built.later()
    built.file(5)
    built.file(3)
    built.ledger.close()
    return folder


@pytest.fixture
def serve(past: Path, tmp_path: Path) -> Iterator[Callable[[], Served]]:
    """Serve a copy of that ledger; each call makes another one."""
    opened: list[Served] = []

    def make() -> Served:
        folder = tmp_path / f"served{len(opened)}"
        shutil.copytree(past, folder)
        opened.append(open_served(folder))
        opened[-1].client.__enter__()
        return opened[-1]

    yield make
    for served in opened:
        served.client.__exit__()


@pytest.fixture
def served(serve: Callable[[], Served]) -> Served:
    """A served copy of that ledger."""
    return serve()
