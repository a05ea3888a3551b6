"""The application: everything that answers over HTTP, put together."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from functools import partial
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from starlette.middleware import Middleware

from ledger import __version__
from ledger.config import Config
from ledger.service.exporters.delivery import exporting
from ledger.service.ledger import open_ledger
from ledger.service.webhooks.delivery import delivering

from .api import access, audit, certificates, events, models, previews, requests, service, webhooks
from .api.values import PREFIX
from .events import EventFeed
from .filing_queue import FilingQueue
from .ledgers import LedgerPool
from .openapi import describe
from .operation.routes import router as operation
from .operation.telemetry import telemetry
from .pages import mount_pages
from .problems import answer_problems
from .security.access_log import AccessLog
from .security.body_caps import BodyCap
from .security.headers import SecurityHeaders
from .security.hosts import TrustedHosts
from .security.oidc import oidc_middleware, oidc_router
from .settings import WebSettings

PARTS = (service, models, requests, previews, audit, certificates, events, access, webhooks)
BULK = re.compile(PREFIX + "/models/[0-9]+/requests/bulk")
"""Where a whole file of requests is sent."""
ACTOR = "server"
"""Who acts where nobody asked: nothing that is recorded is done in this name."""


def create_app(config: Config, settings: WebSettings | None = None) -> FastAPI:
    """Return the application that serves one ledger.

    Args:
        config: Where the ledger is.
        settings: What whoever starts the server decided.
    """
    chosen = settings or WebSettings()
    pool = LedgerPool(partial(open_ledger, config, ACTOR), chosen.threads, chosen.patience)
    feed = EventFeed(pool, chosen)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Who waits for a turn to write holds a thread: whoever reads must find a free one all the same.
        current_default_thread_limiter().total_tokens = chosen.waiting
        with _delivery(config) if chosen.delivers else nullcontext():
            yield
            await feed.close()
        pool.close()

    app = FastAPI(
        title="unledger",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=_middleware(config, chosen),
        telemetry=telemetry(),
    )
    app.state.ledgers = pool
    app.state.filings = FilingQueue(pool, chosen.patience)
    app.state.feed = feed
    app.state.config = config
    app.state.settings = chosen
    answer_problems(app)
    for part in PARTS:
        app.include_router(part.router)
    app.include_router(operation)
    if config.access.oidc is not None:
        app.include_router(oidc_router(config.access.oidc))
    describe(app)
    mount_pages(app)
    return app


@contextmanager
def _delivery(config: Config) -> Iterator[None]:
    """Send messages to webhooks, and put live versions to where exporters say, while the block runs."""
    with closing(open_ledger(config, ACTOR)) as ledger, delivering(ledger), exporting(ledger):
        yield


def _middleware(config: Config, settings: WebSettings) -> list[Middleware]:
    """Return what every request passes, from the outside in."""
    layers: list[tuple[Any, dict[str, Any]]] = [
        (SecurityHeaders, {}),
        (AccessLog, {}),
        (TrustedHosts, {"hosts": settings.hosts}),
        (BodyCap, {"most": settings.most_bytes, "most_of": {BULK: settings.most_bulk_bytes}}),
    ]
    if config.access.oidc is not None:
        layers.append(oidc_middleware(config, config.access.oidc))
    return [Middleware(layer, **options) for layer, options in layers]
