"""Let a browser in with an account of an identity provider: OpenID Connect, spoken by Authlib.

Code flow with PKCE, state and nonce. Authlib checks the ID token's signature, issuer, audience, nonce and times; what
its claims allow is the ledger's business (:mod:`ledger.service.access.oidc`). Between leaving for the provider and
coming back, a browser holds state in a signed cookie of its own for ten minutes.
"""

import os
from collections.abc import Mapping
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ledger import installation
from ledger.config import Config
from ledger.domain.access_policy import OidcPolicy
from ledger.errors import AuthenticationError, LedgerError, RetryLaterError
from ledger.service.access.oidc import caller_of_claims
from ledger.service.access.sessions import open_session
from ledger.service.signing import derived_key
from ledger.web.ledgers import LedgerPool

from .logins import LOGIN, let_in
from .scopes import open_to_all

OIDC_LOGIN = f"{LOGIN}/oidc"
REFUSED = f"{LOGIN}?refused=true"
"""The page that says that a login at the provider came to nothing."""
CLIENT_SECRET = "UNLEDGER_OIDC_CLIENT_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the secret that the provider knows this server by; none where it takes PKCE alone."""
PURPOSE = b"unledger: state of logins"
FOLLOWING = "following"
SECONDS = 10.0
"""That the provider may take for an answer."""
STATE_LASTS = 600
"""Seconds that somebody may take at the provider."""


def oidc_middleware(config: Config, policy: OidcPolicy) -> tuple[Any, dict[str, Any]]:
    """Return what keeps the state of a login in a cookie, with its options.

    Raises:
        NotInstalledError: Authlib is not installed.
    """
    installation.require("oidc", "[access.oidc] in unledger.toml")
    from starlette.middleware.sessions import SessionMiddleware

    options = {
        "secret_key": derived_key(config, PURPOSE).hex(),
        "session_cookie": "unledger_login",
        "max_age": STATE_LASTS,
        "path": OIDC_LOGIN,
        # The provider sends the browser back from another site.
        "same_site": "lax",
        "https_only": policy.issuer.startswith("https://"),
    }
    return SessionMiddleware, options


def oidc_router(policy: OidcPolicy) -> APIRouter:
    """Return the two routes of such a login.

    Args:
        policy: What ``unledger.toml`` says.

    Raises:
        NotInstalledError: Authlib is not installed.
    """
    client = _client(policy)
    router = APIRouter(include_in_schema=False)

    @router.get(OIDC_LOGIN, dependencies=[open_to_all()])
    async def leave_for_provider(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the address
        """Send a browser to the provider."""
        request.session[FOLLOWING] = next
        try:
            _require_issuer(policy, await client.load_server_metadata())
            back: Response = await client.authorize_redirect(request, str(request.url_for("come_back")))
        except _unanswered() as error:
            raise _out_of_reach() from error
        return back

    @router.get(f"{OIDC_LOGIN}/callback", dependencies=[open_to_all()])
    async def come_back(request: Request) -> Response:
        """Let a browser in that comes back from the provider."""
        try:
            claims = await _claims(client, request)
        except AuthenticationError:
            # The page that asks who somebody is says so: this address is good for nothing a second time.
            return RedirectResponse(REFUSED, HTTPStatus.SEE_OTHER)
        following = str(request.session.pop(FOLLOWING, "/"))
        cookie = await run_in_threadpool(_open, request, policy, claims)
        return let_in(request, cookie, following)

    return router


def _open(request: Request, policy: OidcPolicy, claims: Mapping[str, Any]) -> str:
    caller = caller_of_claims(policy, claims)
    pool: LedgerPool = request.app.state.ledgers
    with pool.borrow() as ledger:
        return open_session(ledger, caller)


async def _claims(client: Any, request: Request) -> Mapping[str, Any]:
    """Return the claims of a verified ID token.

    Raises:
        AuthenticationError: The provider let nobody in, or the token is not genuine, not for us, or not of this login.
        RetryLaterError: The provider does not answer.
    """
    from authlib.integrations.starlette_client import OAuthError
    from joserfc.errors import JoseError

    try:
        token = await client.authorize_access_token(request)
        claims: Mapping[str, Any] = token["userinfo"]
    except (OAuthError, JoseError, LookupError, TypeError) as error:
        # What the address says is not repeated: anybody can make somebody follow one.
        raise AuthenticationError(
            "the identity provider let nobody in, or the login took too long", "begin again"
        ) from error
    except _unanswered() as error:
        raise _out_of_reach() from error
    return claims


def _client(policy: OidcPolicy) -> Any:
    installation.require("oidc", "[access.oidc] in unledger.toml")
    # Imported here: a server without such accounts does without it.
    from authlib.integrations.starlette_client import OAuth

    return OAuth().register(
        "provider",
        server_metadata_url=f"{policy.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_id=policy.client_id,
        client_secret=os.environ.get(CLIENT_SECRET),
        client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256", "timeout": SECONDS},
    )


def _require_issuer(policy: OidcPolicy, metadata: Mapping[str, Any]) -> None:
    if str(metadata.get("issuer")).rstrip("/") != policy.issuer.rstrip("/"):
        raise LedgerError(
            "the identity provider calls itself otherwise than unledger.toml does",
            "write issuer under [access.oidc] as the provider does",
        )


def _unanswered() -> tuple[type[Exception], ...]:
    """Return what is raised where the provider does not answer, or answers with something else than JSON."""
    # Authlib speaks through httpx2 where that is installed, else through httpx.
    there = (name for name in ("httpx", "httpx2") if find_spec(name) is not None)
    return (ValueError, *(import_module(name).HTTPError for name in there))


def _out_of_reach() -> RetryLaterError:
    return RetryLaterError("the identity provider does not answer", "try again in a moment, or log in with a token")
