"""Errors as pages: what is wrong, what to do, and the way back. Who is not signed in is asked to be."""

from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.documents.document import Document
from ledger.web.problems import RETRY_SECONDS, caller_of
from ledger.web.security.cross_site import host_of
from ledger.web.security.logins import LOGIN, own_path

from .rendering import render

HEADINGS = {
    400: "That cannot be read",
    403: "Not with these scopes",
    404: "There is no such thing",
    405: "That cannot be done here",
    409: "That does not fit what is there now",
    412: "Somebody was quicker",
    413: "That is too large",
    422: "That cannot be done as asked",
    500: "Something is wrong in the ledger",
    503: "Not just now",
}


def error_page(request: Request, problem: Document) -> Response:
    """Return a problem as a page, or the way to the page that signs somebody in."""
    status = int(problem["status"])
    if status == HTTPStatus.UNAUTHORIZED:
        return _to_login(request)
    if _is_refresh(request):
        # What is shown stays: the next look may succeed.
        return Response(status_code=status, headers={"HX-Reswap": "none"})
    heading = HEADINGS.get(status, "A problem")
    page = render(
        request,
        "problem.html.j2",
        caller=caller_of(request),
        title=heading,
        heading=heading,
        problem={"message": problem["detail"], "hint": problem["hint"]},
        back=previous_page(request),
        status=status,
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        page.headers["Retry-After"] = str(RETRY_SECONDS)
    return page


def previous_page(request: Request) -> str:
    """Return the address of the page that somebody came from, if it is one of this server."""
    address = request.headers.get("referer", "")
    if host_of(address) != request.url.netloc:
        return "/"
    came_from = urlsplit(address)
    return own_path(came_from.path + (f"?{came_from.query}" if came_from.query else ""))


def _to_login(request: Request) -> Response:
    wanted = request.url.path if request.method == "GET" else previous_page(request)
    address = LOGIN if wanted == "/" else f"{LOGIN}?{urlencode({'next': wanted})}"
    if _is_refresh(request):
        # A page that looks again by itself: it is left as a whole, not in a part of itself.
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": address})
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _is_refresh(request: Request) -> bool:
    return request.method == "GET" and request.headers.get("hx-request") == "true"
