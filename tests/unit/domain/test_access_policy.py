"""The tables ``access`` and ``webhooks`` of ``unledger.toml``: what they say, and what they may not say."""

from ipaddress import ip_network
from typing import Any

import pytest

from ledger.domain.access import Scope
from ledger.domain.access_policy import AccessPolicy, OidcPolicy, WebhookPolicy, read_access, read_webhooks
from ledger.errors import UsageError

OIDC: dict[str, Any] = {
    "issuer": "https://id.example",
    "client_id": "unledger",
    "scopes": {"privacy": ["read", "decide"], "audit": ["audit"]},
}


def test_nothing_said_asks_for_nothing() -> None:
    assert read_access({}, "f") == AccessPolicy()
    assert read_webhooks({}, "f") == WebhookPolicy()


def test_what_is_said() -> None:
    said = read_access({"four_eyes": True, "oidc": {**OIDC, "name_claim": "sub"}}, "f")
    scopes = {"privacy": frozenset({Scope.READ, Scope.DECIDE}), "audit": frozenset({Scope.AUDIT})}
    assert said == AccessPolicy(True, OidcPolicy("https://id.example", "unledger", scopes, name_claim="sub"))
    networks = read_webhooks({"allowed_networks": ["10.1.0.0/16", "::1"]}, "f").allowed_networks
    assert networks == (ip_network("10.1.0.0/16"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ([], "is no table"),
        ({"six_eyes": True}, "holds six_eyes"),
        ({"four_eyes": "yes"}, "true or false"),
        ({"oidc": {}}, "lacks issuer"),
        ({"oidc": {**OIDC, "scopes": {}}}, "name no group"),
        ({"oidc": {key: value for key, value in OIDC.items() if key != "scopes"}}, "lacks scopes"),
        ({"oidc": {**OIDC, "scopes": {"all": ["root"]}}}, "no scope 'root', for all"),
        ({"oidc": {**OIDC, "scopes": {"all": "read"}}}, "no list of texts"),
        ({"oidc": {**OIDC, "scopes": {"all": []}}}, "no scope is named"),
        ({"oidc": {**OIDC, "client_id": 5}}, "must be a text"),
        ({"oidc": {**OIDC, "secret": "x"}}, "holds secret"),
    ],
    ids=str,
)
def test_what_the_table_of_access_may_not_say(access: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_access(access, "f")


@pytest.mark.parametrize("webhooks", [5, {"allow": []}, {"allowed_networks": ["10.1.0.1/16"]}, {"allowed_networks": 5}])
def test_what_the_table_of_webhooks_may_not_say(webhooks: Any) -> None:
    with pytest.raises(UsageError):
        read_webhooks(webhooks, "f")
