"""Secrets that are shown once and stored as digests, and seals on rows that no entry of the audit log tells of.

A secret has 256 random bits, so one SHA-256 keeps it: nobody can try them all, and a slow hash would only slow down
those who ask honestly. A seal is an HMAC with a key that is derived from the signing key: whoever can write the
database alone can make none.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from ledger.audit.row_digests import plain
from ledger.config import Config
from ledger.digest import canonical_json, sha256_hex
from ledger.service.signing import derived_key

SECRET_BYTES = 32
SEALS = b"unledger: seals of rows"


def new_secret() -> str:
    """Return a new secret, in letters that any header, cookie and URL holds."""
    return secrets.token_hex(SECRET_BYTES)


def secret_digest(purpose: str, secret: str) -> str:
    """Return what is stored of a secret.

    Args:
        purpose: What it is for: a secret that is good for one thing is good for no other.
        secret: The secret.
    """
    return sha256_hex(f"unledger {purpose}\n{secret}".encode())


def same_digest(one: str, other: str) -> bool:
    """Compare digests in a time that says nothing about them."""
    return hmac.compare_digest(one.encode(), other.encode())


def seal(config: Config, purpose: str, facts: Mapping[str, Any]) -> str:
    """Return the seal on facts.

    Args:
        config: Where the ledger's keys are.
        purpose: What the facts are: a seal on one kind of row fits no other.
        facts: The facts, in values that JSON or a database holds.
    """
    content = canonical_json({"purpose": purpose, "facts": plain(facts)})
    return hmac.digest(derived_key(config, SEALS), content, "sha256").hex()


def is_sealed(config: Config, purpose: str, facts: Mapping[str, Any], found: str) -> bool:
    """Whether a seal is the one on these facts."""
    return same_digest(seal(config, purpose, facts), found)
