"""Who somebody is who logged in with an account of an identity provider, from the claims of its ID token.

That somebody has an account says nothing about what they may do here: only the map in ``unledger.toml`` does. Whoever
it gives nothing gets nowhere. The signature of the token, its issuer, audience, nonce and times are checked before by
the library that speaks the protocol; what comes in here is what it vouches for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ledger.domain.access import VIA_OIDC, Caller, Scope, caller_name
from ledger.domain.access_policy import OidcPolicy
from ledger.errors import ForbiddenError, UsageError

EMAIL = "email"


def caller_of_claims(policy: OidcPolicy, claims: Mapping[str, Any]) -> Caller:
    """Return who logged in, and what the ledger lets them do.

    Args:
        policy: What ``unledger.toml`` says.
        claims: The claims of a verified ID token.

    Raises:
        ForbiddenError: The claims give them no scope, or name nobody whom the audit history could name.
    """
    name = _name(policy, claims)
    scopes = frozenset[Scope]().union(*(policy.scopes.get(value, frozenset()) for value in _values(policy, claims)))
    if not scopes:
        raise ForbiddenError(
            f"{name} is known, and may do nothing here: no value of the claim {policy.scope_claim} is given a scope",
            "ask whoever administers the ledger to name a group of yours under [access.oidc.scopes]",
        )
    return Caller(name, scopes, VIA_OIDC)


def _name(policy: OidcPolicy, claims: Mapping[str, Any]) -> str:
    value = claims.get(policy.name_claim)
    if not isinstance(value, str):
        raise _nameless(policy, "is missing")
    # Who may type an address of their own choice into an account would act under the name of somebody else.
    if policy.name_claim == EMAIL and claims.get("email_verified") is not True:
        raise _nameless(policy, "is not verified by the provider")
    try:
        return caller_name(value)
    except UsageError as error:
        raise _nameless(policy, "is no name") from error


def _nameless(policy: OidcPolicy, why: str) -> ForbiddenError:
    return ForbiddenError(
        f"the claim {policy.name_claim}, which names people here, {why}",
        "let the provider send it, or name another one as name_claim under [access.oidc] in unledger.toml",
    )


def _values(policy: OidcPolicy, claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of the claim that says what somebody may do: it is one, or a list of them."""
    found = claims.get(policy.scope_claim)
    for value in found if isinstance(found, list | tuple) else [found]:
        if isinstance(value, str):
            yield value
