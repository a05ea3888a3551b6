"""Let a browser in and out: by a link that works once, by a token that a person types."""

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from ledger.service.access.sessions import close_session, open_session, use_login_link
from ledger.service.access.tokens import authenticate
from ledger.web.ledgers import LedgerPool

from .cookies import drop_session_cookie, session_cookie, set_session_cookie
from .cross_site import require_same_site

LOGIN = "/login"
"""The page that asks who somebody is; with ``?link=SECRET`` it knows."""


def enter_by_link(request: Request, secret: str, following: str = "/") -> Response:
    """Open a session for who follows a login link.

    Raises:
        AuthenticationError: The link was used, or waited too long.
    """
    pool: LedgerPool = request.app.state.ledgers
    with pool.borrow() as ledger:
        cookie = use_login_link(ledger, secret)
    return let_in(request, cookie, following)


def enter_by_token(request: Request, token: str, following: str = "/") -> Response:
    """Open a session for who types a token.

    Raises:
        AuthenticationError: It is no token of this ledger, or lets nobody in any more.
        ForbiddenError: Another site's page sent it.
    """
    require_same_site(request)
    pool: LedgerPool = request.app.state.ledgers
    with pool.borrow() as ledger:
        cookie = open_session(ledger, authenticate(ledger, token.strip()))
    return let_in(request, cookie, following)


def leave(request: Request) -> Response:
    """End the session of a browser.

    Raises:
        ForbiddenError: Another site's page asks for it.
    """
    require_same_site(request)
    cookie = session_cookie(request)
    if cookie is not None:
        pool: LedgerPool = request.app.state.ledgers
        with pool.borrow() as ledger:
            close_session(ledger, cookie)
    response = RedirectResponse(LOGIN, 303)
    drop_session_cookie(request, response)
    return response


def let_in(request: Request, cookie: str, following: str) -> Response:
    """Give a browser the cookie of a session, and lead it on."""
    response = RedirectResponse(own_path(following), 303)
    set_session_cookie(request, response, cookie)
    return response


def own_path(address: str) -> str:
    """Return an address if it is a path of this server, else the first page's."""
    plain = address.startswith("/") and address.isascii() and address.isprintable() and "\\" not in address
    # Two slashes begin the name of a server.
    return address if plain and not address.startswith("//") else "/"
