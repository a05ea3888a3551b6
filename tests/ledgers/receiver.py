"""A receiver of webhooks on this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fixtures.canary import WATCH


class Receiver:
    """A web server that notes what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.seen: list[tuple[dict[str, str], str]] = []
        self.ready = threading.Event()
        self.ready.set()
        self.at_once: list[int] = [0]
        """How many messages were being taken, at each beginning and end of one."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                WATCH.look("webhook", f"{self.path} {body}")
                receiver.at_once.append(receiver.at_once[-1] + 1)
                receiver.ready.wait(60)
                receiver.at_once.append(receiver.at_once[-1] - 1)
                receiver.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=of-the-receiver"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def kinds(self) -> list[str]:
        """Kinds of what was sent."""
        return [json.loads(body)["type"] for _, body in self.seen]

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
