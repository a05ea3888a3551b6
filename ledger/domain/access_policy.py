"""Who may do what in a ledger, and who may be told of it, as its ``unledger.toml`` says."""

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ledger.errors import UsageError

from .access import Scope, read_scopes

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class OidcPolicy:
    """How people log in with accounts of an identity provider."""

    issuer: str
    """URL of the provider."""
    client_id: str
    """What the provider calls the server."""
    scopes: Mapping[str, frozenset[Scope]]
    """What the values of ``scope_claim`` allow. Whoever has none of them gets nowhere."""
    scope_claim: str = "groups"
    """The claim that says what somebody may do: a text, or a list of texts."""
    name_claim: str = "email"
    """The claim that names somebody in the audit history."""


@dataclass(frozen=True)
class AccessPolicy:
    """The table ``access``."""

    four_eyes: bool = False
    """Whether every request waits for the approval of somebody else than who filed it."""
    oidc: OidcPolicy | None = None
    """None where people do not log in with accounts of a provider."""


@dataclass(frozen=True)
class WebhookPolicy:
    """The table ``webhooks``."""

    allowed_networks: tuple[Network, ...] = ()
    """Networks that are not public and that webhooks may lie in nevertheless, also without TLS."""


def read_access(values: object, place: str) -> AccessPolicy:
    """Read the table ``access`` of ``unledger.toml``.

    Args:
        values: What the TOML parser made of it.
        place: The file, for errors.

    Raises:
        UsageError: It holds something else than the table may hold.
    """
    where = f"[access] in {place}"
    table = _table(values, {"four_eyes", "oidc"}, where)
    four_eyes = table.get("four_eyes", False)
    if not isinstance(four_eyes, bool):
        raise UsageError(f"four_eyes in {where} must be true or false, not {four_eyes!r}")
    return AccessPolicy(four_eyes, _oidc(table["oidc"], f"[access.oidc] in {place}") if "oidc" in table else None)


def read_webhooks(values: object, place: str) -> WebhookPolicy:
    """Read the table ``webhooks`` of ``unledger.toml``.

    Args:
        values: What the TOML parser made of it.
        place: The file, for errors.

    Raises:
        UsageError: It holds something else than the table may hold.
    """
    where = f"[webhooks] in {place}"
    table = _table(values, {one.name for one in fields(WebhookPolicy)}, where)
    texts = table.get("allowed_networks", [])
    try:
        return WebhookPolicy(tuple(ipaddress.ip_network(text) for text in texts))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"allowed_networks in {where} is no list of networks: {error}", 'write it as ["10.1.0.0/16", "::1/128"]'
        ) from error


def _oidc(values: object, where: str) -> OidcPolicy:
    table = _table(values, {one.name for one in fields(OidcPolicy)}, where)
    for name in ("issuer", "client_id", "scopes"):
        if name not in table:
            raise UsageError(f"{where} lacks {name}", "the scopes of each group must be said: nobody has any otherwise")
    texts = {name: table[name] for name in table if name != "scopes"}
    for name, value in texts.items():
        if not isinstance(value, str) or not value:
            raise UsageError(f"{name} in {where} must be a text, not {value!r}")
    groups = _table(table["scopes"], None, f"scopes of {where}")
    if not groups:
        raise UsageError(f"the scopes of {where} name no group", 'write them as GROUP = ["read", "file"]')
    return OidcPolicy(scopes={group: _scopes(named, group, where) for group, named in groups.items()}, **texts)


def _scopes(named: object, group: str, where: str) -> frozenset[Scope]:
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise UsageError(f"the scopes of {group} in {where} are no list of texts")
    try:
        return read_scopes(named)
    except UsageError as error:
        raise UsageError(f"{error.message}, for {group} in {where}", error.hint) from error


def _table(value: object, known: Collection[str] | None, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is no table", "write its settings below a line in brackets")
    unknown = [] if known is None else sorted(value.keys() - set(known))
    if unknown:
        raise UsageError(f"{where} holds {', '.join(unknown)}", f"it may hold {', '.join(sorted(known or ()))}")
    return value
