"""Find out who asks: by a token in the Authorization header, else by the session of a browser."""

from starlette.requests import Request

from ledger.domain.access import Caller
from ledger.errors import AuthenticationError
from ledger.service.access.sessions import session_of
from ledger.service.access.tokens import authenticate
from ledger.service.ledger import Ledger

from .cookies import session_cookie
from .cross_site import require_same_site


def authenticated(request: Request, ledger: Ledger) -> Caller:
    """Return who asks.

    Raises:
        AuthenticationError: There is neither a token nor a session, or it is not valid any more.
        ForbiddenError: A page of another site asks with somebody's session.
    """
    header = request.headers.get("authorization")
    if header is not None:
        kind, _, text = header.partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            raise AuthenticationError("the Authorization header holds no token", "send: Authorization: Bearer TOKEN")
        return authenticate(ledger, text.strip())
    cookie = session_cookie(request)
    if cookie is None:
        raise AuthenticationError(
            "nobody knows who asks", "send a token (Authorization: Bearer TOKEN), or log in with a browser"
        )
    caller = session_of(ledger, cookie)
    if caller is None:
        raise AuthenticationError("the session has ended", "log in again")
    require_same_site(request)
    return caller
