"""Canonical JSON and SHA-256 digests: equal values have equal bytes and equal digests."""

import hashlib
from typing import Any

import orjson
import rfc8785


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 (JSON Canonicalization Scheme) bytes of plain JSON data."""
    return rfc8785.dumps(value)


def read_json(text: str) -> Any:
    """Return the value of a JSON text, in about a quarter of the time that :func:`json.loads` takes.

    Raises:
        ValueError: It is not JSON (NaN is not), or is nested too deeply.
    """
    return orjson.loads(text)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in lower-case hexadecimal."""
    return sha256_hex(canonical_json(value))
