"""One line in the log for each request, a number for each request, and an answer where something went wrong.

A line says which route was asked, not which address: an address may hold anything. It holds no query and no name.
"""

import logging
import re
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.web.problems import problem_response, unexpected_problem

from .raw_headers import header

LOG = logging.getLogger("unledger.access")
REQUEST_ID = "X-Request-ID"
TAKEN_IDS = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""Numbers that a proxy in front may have given; others are replaced."""


class AccessLog:
    """Numbers requests, logs them, and answers those that nobody foresaw to fail.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = header(scope, REQUEST_ID.lower().encode())
        number = given if TAKEN_IDS.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = number
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = number
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # noqa: BLE001 - whoever asked gets an answer
            body = unexpected_problem(error)
            if status == 0:
                await problem_response(body)(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            milliseconds = round(1000 * (time.perf_counter() - began), 1)
            LOG.info(
                "%s %s %d %.1f ms %s",
                scope["method"],
                route,
                status,
                milliseconds,
                number,
                extra={
                    "unledger": {
                        "request": number,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "milliseconds": milliseconds,
                    }
                },
            )
