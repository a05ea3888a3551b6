"""The cookie of a browser's session."""

from starlette.requests import Request
from starlette.responses import Response

SECURE_NAME = "__Host-unledger"
"""Browsers take a cookie of such a name only over https, for this host alone and for all paths."""
PLAIN_NAME = "unledger"
"""Over plain http, as on the machine itself, browsers take no other."""
HOURS = 8


def session_cookie(request: Request) -> str | None:
    """Return what the session's cookie holds; None if there is none."""
    return request.cookies.get(_name(request))


def set_session_cookie(request: Request, response: Response, value: str) -> None:
    """Give a browser the cookie of its session."""
    response.set_cookie(
        _name(request),
        value,
        max_age=HOURS * 3600,
        path="/",
        secure=_is_secure(request),
        httponly=True,
        # Links from mails and tickets lead to pages that know the reader; nothing is changed by following one.
        samesite="lax",
    )


def drop_session_cookie(request: Request, response: Response) -> None:
    """Take the cookie away."""
    response.delete_cookie(_name(request), path="/", secure=_is_secure(request), httponly=True, samesite="lax")


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def _name(request: Request) -> str:
    return SECURE_NAME if _is_secure(request) else PLAIN_NAME
