"""Sign in with a token or a link that works once, and sign out."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import Response

from ledger.errors import AuthenticationError
from ledger.web.api.values import WITHOUT_NUL
from ledger.web.security.logins import enter_by_link, enter_by_token, leave, own_path
from ledger.web.security.oidc import OIDC_LOGIN
from ledger.web.security.scopes import open_to_all

from .fields import Address
from .rendering import render

router = APIRouter(dependencies=[open_to_all()])


@router.get("/login")
def ask(
    request: Request,
    link: str = "",
    next: str = "/",  # noqa: A002 - the name in the address
    refused: bool = False,  # noqa: FBT001 - a parameter of the address
) -> Response:
    """Ask for a token, or follow a link that works once."""
    if refused:
        said = "the identity provider let nobody in, or the login took too long"
        return _form(request, next, AuthenticationError(said, "begin again"))
    if not link:
        return _form(request, next)
    try:
        return enter_by_link(request, link, next)
    except AuthenticationError as error:
        return _form(request, next, error)


@router.post("/login")
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=300, pattern=WITHOUT_NUL)] = "",
    next: Address = "/",  # noqa: A002 - the name of the field
) -> Response:
    """Open a session for whoever knows a token."""
    try:
        return enter_by_token(request, token, next)
    except AuthenticationError as error:
        return _form(request, next, error)


@router.post("/logout")
def sign_out(request: Request) -> Response:
    """End the session."""
    return leave(request)


def _form(request: Request, wanted: str, error: AuthenticationError | None = None) -> Response:
    return render(
        request,
        "login.html.j2",
        caller=None,
        title="Sign in",
        next=own_path(wanted),
        accounts=None if request.app.state.config.access.oidc is None else OIDC_LOGIN,
        problem=error,
        status=200 if error is None else 401,
    )
