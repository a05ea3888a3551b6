"""Take no body that is larger than anything this server has use for, and wait for none for ever."""

import asyncio
import re
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.web.problems import plain_problem, problem_response

from .raw_headers import header

BODY_SECONDS = 60.0
"""How long a body may take to arrive."""


class BodyCap:
    """Refuses large bodies, by what the request says of them or as soon as they are.

    Args:
        app: What answers the others.
        most: Largest body, in bytes.
        most_of: The same for addresses that match a pattern as a whole, where it is another.
    """

    def __init__(self, app: ASGIApp, most: int, most_of: Mapping[re.Pattern[str], int]) -> None:
        self._app = app
        self._most = most
        self._most_of = most_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = header(scope, b"content-length")
        sizes = (size for form, size in self._most_of.items() if form.fullmatch(scope["path"]))
        most = next(sizes, self._most)
        if length.isdecimal() and int(length) > most:
            await problem_response(plain_problem(413, "the body is too large", "send less at a time"))(
                scope, receive, send
            )
            return
        taken, complete = 0, False
        until = asyncio.get_running_loop().time() + BODY_SECONDS

        async def capped() -> Message:
            nonlocal taken, complete
            if complete:
                # From here on, this only waits for the client to go away.
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            taken += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > most:
                raise HTTPException(413)
            return message

        await self._app(scope, capped, send)
