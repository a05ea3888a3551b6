"""A ledger with a past, a server in front of it, and a browser to look at its pages with."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from ledger.config import Config, find_config, plan_config, write_config
from ledger.domain.access import ALL_SCOPES, VIA_LINK, Caller, Scope
from ledger.domain.requests import NewRequest, Request
from ledger.domain.states import Action
from ledger.service.access.sessions import open_session
from ledger.service.ledger import Ledger, create_ledger, open_ledger
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.web.app import create_app
from ledger.web.security.cookies import PLAIN_NAME
from tests.fixtures.canary import require_canary
from tests.ledgers.sample import Sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LABELS = ("zeisig", "jaybird", "plover", "kite", "crow", "wren", "robin", "finch", "stork", "heron")
"""Names that stand nowhere else, so that they can be looked for where they must not be."""
ZEISIG, JAY, TIT, KITE, CROW, WREN = range(6)
MODEL = "birds"


@dataclass
class Served:
    """A server, and the ledger behind it."""

    address: str
    ledger: Ledger

    def cookie(self, scopes: frozenset[Scope] = ALL_SCOPES, name: str = "grace") -> str:
        """Sign somebody in, and return what their cookie holds."""
        return open_session(self.ledger, Caller(name, scopes, VIA_LINK))

    def client(self, *scopes: Scope) -> httpx.Client:
        """Return a client that is signed in with some scopes, all if none is named, and posts as its pages do."""
        cookies = {PLAIN_NAME: self.cookie(frozenset(scopes) or ALL_SCOPES)}
        own = {"sec-fetch-site": "same-origin"}
        return httpx.Client(base_url=self.address, cookies=cookies, headers=own, timeout=60, follow_redirects=True)

    def file(self, *classes: int, approval: bool = False, **changes: object) -> Request:
        """File a request."""
        new = NewRequest(frozenset(classes), "bob", **changes)  # type: ignore[arg-type]
        return enqueue(self.ledger, MODEL, [new], approval=approval)[0].request


def fill(folder: Path, time_zone: str = "UTC", labels: tuple[str, ...] = LABELS) -> Config:
    """Fill a ledger: a request that stands, one that a rollback reopened, one that is late, and some that wait."""
    now = [datetime.now(UTC) - timedelta(days=60)]
    fresh = plan_config(folder, "sqlite:///ledger.db", "objects", time_zone=time_zone)
    write_config(fresh)
    create_ledger(fresh, "ada", clock=lambda: now[0]).close()
    config = find_config(folder)
    sample = Sample(open_ledger(config, "ada", clock=lambda: now[0]), now, MODEL)
    sample.register(labels)
    sample.measure(sample.forget(ZEISIG))
    sample.later(10)
    sample.measure(sample.forget(JAY, TIT))
    sample.later(10)
    sample.roll_back(1, "the jays are needed again")
    sample.later(2)
    sample.file(KITE, reason="consent withdrawn", basis="GDPR art. 17", external_id="CASE-1")
    now[0] = datetime.now(UTC) - timedelta(days=1)
    held = sample.file(CROW)
    decide(sample.ledger, held, Action.HOLD, "waiting for proof of identity")
    sample.ledger.close()
    return config


@contextmanager
def serving(config: Config) -> Iterator[Served]:
    """Serve a ledger on a port of this machine."""
    require_canary(config)
    settings = uvicorn.Config(create_app(config), port=0, log_level="error", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, name="pages")
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    ledger = open_ledger(config, "ada")
    yield Served(f"http://127.0.0.1:{port}", ledger)
    ledger.close()
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a ledger with a past."""
    with serving(fill(tmp_path_factory.mktemp("pages") / "ledger")) as found:
        yield found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, served: Served) -> Iterator[OpenPage]:
    """Open a window of somebody who is signed in. Whatever the browser complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(
        *,
        javascript: bool = True,
        width: int = 1280,
        dark: bool = False,
        scopes: frozenset[Scope] | None = ALL_SCOPES,
        expects_errors: bool = False,
        of: Served | None = None,
    ) -> Page:
        there = of or served
        context = browser.new_context(
            base_url=there.address,
            java_script_enabled=javascript,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        if scopes is not None:
            context.add_cookies([{"name": PLAIN_NAME, "value": there.cookie(scopes), "url": there.address}])
        page = context.new_page()
        page.set_default_timeout(10_000)
        if not expects_errors:
            page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
