"""Refuse what another site's page asks for with somebody's session.

Browsers say where a request comes from in ``Sec-Fetch-Site``; those too old to do so send ``Origin`` with everything
that may change something. A token is sent by no browser on its own, so requests with one are not looked at.
"""

from urllib.parse import urlsplit

from starlette.requests import Request

from ledger.errors import ForbiddenError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = frozenset({"same-origin", "none"})
"""``none``: a person typed the address, or followed a bookmark."""


def host_of(address: str) -> str:
    """Return the host of an address, with its port if it names one; empty where there is none."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def require_same_site(request: Request) -> None:
    """Return if a request that carries a session's cookie comes from a page of this server, or changes nothing.

    Raises:
        ForbiddenError: It comes from elsewhere, or nothing says where from.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        own = site in OWN
    else:
        origin = host_of(request.headers.get("origin", ""))
        # A proxy in front may speak https to the world and http to us: the host alone is compared.
        own = bool(origin) and origin == request.headers.get("host")
    if not own:
        raise ForbiddenError(
            "this does not come from a page of this server", "use the pages of this server, or a token in place of them"
        )
