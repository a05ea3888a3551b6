"""What an account of an identity provider is good for: what the map says, and nothing without it."""

from typing import Any

import pytest

from ledger.domain.access import VIA_OIDC, Caller, Scope
from ledger.domain.access_policy import OidcPolicy
from ledger.errors import ForbiddenError
from ledger.service.access.oidc import caller_of_claims

GROUPS = {"privacy": frozenset({Scope.READ, Scope.DECIDE}), "audit": frozenset({Scope.AUDIT})}
POLICY = OidcPolicy("https://id.example", "unledger", GROUPS)
ADA: dict[str, Any] = {"sub": "1", "email": "ada@example.org", "email_verified": True, "groups": ["privacy", "chess"]}


def test_groups_give_scopes() -> None:
    assert caller_of_claims(POLICY, ADA) == Caller("ada@example.org", GROUPS["privacy"], VIA_OIDC)
    both = caller_of_claims(POLICY, {**ADA, "groups": ["audit", "privacy"]})
    assert both.scopes == {Scope.READ, Scope.DECIDE, Scope.AUDIT}
    assert caller_of_claims(POLICY, {**ADA, "groups": "audit"}).scopes == {Scope.AUDIT}


@pytest.mark.parametrize(
    "groups", [[], ["chess"], None, "privac", "PRIVACY", ["privacy "], [["privacy"]], {"privacy": True}, 5, "", [None]]
)
def test_whoever_is_given_nothing_gets_nowhere(groups: Any) -> None:
    with pytest.raises(ForbiddenError, match="may do nothing here") as refused:
        caller_of_claims(POLICY, {**ADA, "groups": groups})
    assert refused.value.exit_code == 7


def test_a_token_without_the_claim_gets_nowhere() -> None:
    with pytest.raises(ForbiddenError):
        caller_of_claims(POLICY, {key: value for key, value in ADA.items() if key != "groups"})


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"email": None}, "is missing"),
        ({"email": 5}, "is missing"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email": " "}, "is no name"),
        ({"email": "a\nb"}, "is no name"),
    ],
    ids=str,
)
def test_nobody_acts_without_a_name_of_their_own(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(ForbiddenError, match=why):
        caller_of_claims(POLICY, {**ADA, **claims})


def test_another_claim_may_name_people() -> None:
    policy = OidcPolicy("https://id.example", "unledger", GROUPS, scope_claim="roles", name_claim="sub")
    assert caller_of_claims(policy, {"sub": "42", "roles": ["audit"]}).name == "42"
