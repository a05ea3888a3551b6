"""Where webhooks may lie: not in this machine's own networks, unless ``unledger.toml`` says so.

Whoever may add a webhook must not reach with it what only the server can reach. A name is resolved, every address that
it has is checked, and the connection goes to the very address that was checked: a name that means something else a
moment later changes nothing.
"""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from ledger.domain.access_policy import WebhookPolicy
from ledger.errors import LedgerError, RefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
UNICAST_V6 = ipaddress.ip_network("2000::/3")
"""All that was ever given to the public network: what is local, compatible or translated lies outside."""
SPECIAL_V6 = tuple(map(ipaddress.ip_network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
SPECIAL_V4 = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
"""The registries of special-purpose addresses at IANA (RFC 6890), multicast and what is reserved."""
PORTS = {"https": 443, "http": 80}
LAST_32_BITS = 2**32 - 1


@dataclass(frozen=True)
class Endpoint:
    """What a connection is made to."""

    address: str
    port: int
    host: str
    """As the address names it: for the certificate, and for the receiver."""
    path: str
    encrypted: bool


def endpoint(url: str, policy: WebhookPolicy) -> Endpoint:
    """Resolve the address of a webhook, and check where it leads.

    Raises:
        RefusedError: It leads into a network that is not public and not allowed, or there without TLS.
        LedgerError: Its name is not known.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    found = _resolve(host, port)
    for address in found:
        _require_allowed(address, policy, encrypted=parts.scheme == "https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(str(found[0]), port, host, path, parts.scheme == "https")


def require_reachable(url: str, policy: WebhookPolicy) -> None:
    """Refuse an address that leads where no message may go; one whose name is not known yet may be known later.

    Raises:
        RefusedError: It leads into a network that is not public and not allowed, or there without TLS.
    """
    try:
        endpoint(url, policy)
    except RefusedError:
        raise
    except LedgerError:
        return


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, whatever way it is written in.

    By lists of our own: what Python takes for public is another from release to release.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    embedded = _embedded(address)
    if embedded:
        return all(map(is_public, embedded))
    return address in UNICAST_V6 and not any(address in network for network in SPECIAL_V6)


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address leads to, if it leads to any."""
    if address in NAT64 or address in MAPPED:
        return [ipaddress.IPv4Address(int(address) & LAST_32_BITS)]
    if address.teredo is not None:
        # The relay, and whoever is behind it.
        return list(address.teredo)
    return [] if address.sixtofour is None else [address.sixtofour]


def _resolve(host: str, port: int) -> list[Address]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LedgerError(f"the name {host} is not known: {error}", "check the address") from error
    # An IPv6 address may name an interface, which is none of ours.
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]


def _require_allowed(address: Address, policy: WebhookPolicy, *, encrypted: bool) -> None:
    if any(address in network for network in policy.allowed_networks):
        return
    if not is_public(address):
        raise RefusedError(
            f"the address {address} is not public, and webhooks may not lead there",
            "if it is yours, add its network to allowed_networks under [webhooks] in unledger.toml",
        )
    if not encrypted:
        raise RefusedError("a message to a public address needs TLS", "use an address that begins with https://")
