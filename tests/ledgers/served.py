"""A server over a ledger, in a thread of this process, as people reach it: over a socket."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from ledger.config import find_config
from ledger.web.app import create_app
from tests.fixtures.canary import require_canary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0
"""Seconds in which a server must have started, or stopped."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve the ledger in a folder; yields the server's address."""
    require_canary(find_config(root))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = uvicorn.Config(create_app(find_config(root)), log_config=None, access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([taken],), daemon=True)
        thread.start()
        try:
            _wait(lambda: server.started or not thread.is_alive())
            assert server.started
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
    assert not thread.is_alive()


def _wait(done: object) -> None:
    end = time.monotonic() + PATIENCE
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.02)
