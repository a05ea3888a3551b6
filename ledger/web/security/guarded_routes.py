"""Routes that know who asks before they read what was sent, and read only what can be read quickly.

The framework reads and takes apart a body before it asks who sent it, and does so on the one thread that all requests
share: whoever may send a body can keep everybody waiting.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .scopes import ScopeCheck

MOST_VALUES = 50_000
"""Values and names that a JSON body holds at most: several times what a thousand requests take."""
SMALL = 2**16
"""Bytes that are taken apart faster than another thread is asked to."""


class GuardedRoute(APIRoute):
    """A route that takes no body from those whom it does not let in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answered = super().get_route_handler()
        if self.body_field is None:
            return answered
        check = next((one.call for one in self.dependant.dependencies if isinstance(one.call, ScopeCheck)), None)

        async def guarded(request: Request) -> Response:
            if check is not None:
                request.state.admitted = (check, await check(request))
            return await answered(CountedRequest(request.scope, request.receive))

        return guarded


class CountedRequest(Request):
    """A request whose JSON body is taken apart only if it holds no more values than anything has use for."""

    async def json(self) -> Any:
        """Return what the body holds.

        Raises:
            HTTPException: It is too much.
            ValueError: It is not JSON, or not encoded as UTF-8.
        """
        body = await self.body()
        if len(body) <= SMALL:
            return _taken_apart(body)
        # A file of requests takes a tenth of a second, in which the thread that all requests share answers others.
        return await run_in_threadpool(_taken_apart, body)


def holds_too_much(body: bytes) -> bool:
    """Whether a JSON text holds more values and names than anything has use for, found without taking it apart."""
    # Quotes within strings stand behind a backslash. A string that ends in one is counted half.
    if body.count(b'"') - body.count(b'\\"') > 2 * MOST_VALUES:
        return True
    if _marks(body) <= MOST_VALUES:
        return False
    # A file of requests is one long string, in which these marks say nothing. Without what stands behind backslashes,
    # strings are every other part between quotes.
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return sum(map(_marks, bare.split(b'"')[::2])) > MOST_VALUES


def _taken_apart(body: bytes) -> Any:
    if holds_too_much(body):
        raise HTTPException(413)
    # As text, because bytes may be in other encodings, in which nothing was counted.
    return json.loads(body.decode("utf-8"))


def _marks(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))
