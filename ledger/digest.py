"""Canonical JSON and SHA-256 digests: equal values have equal bytes and equal digests."""

import hashlib
from typing import Any

import orjson
import rfc8785

from ledger.domain.numbers import LARGEST_WHOLE

_PLAIN = frozenset({str, bool, type(None)})
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e15
"""Fractions of which both standards, that of RFC 8785 and that of orjson, write the same digits in the same way."""


class _OddError(Exception):
    """A value needs the library for the standard."""


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 (JSON Canonicalization Scheme) bytes of plain JSON data."""
    try:
        # The same bytes in an eighth of the time.
        return orjson.dumps(_as_orjson_writes(value), option=orjson.OPT_SORT_KEYS)
    except (_OddError, orjson.JSONEncodeError, rfc8785.CanonicalizationError, RecursionError):
        # E.g. half of a surrogate pair, or no number: the library for the standard says what is wrong.
        return rfc8785.dumps(value)


def _as_orjson_writes(value: Any) -> Any:
    """Return a value of which orjson writes the canonical form: numbers that it writes otherwise are given as text.

    Raises:
        _OddError: There is none: the order of odd keys, or a number that no double holds.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        if _LEAST_PLAIN <= abs(value) < _MOST_PLAIN and not value.is_integer():
            return value
        # Whole numbers are written without a fraction.
        return int(value) if value.is_integer() and abs(value) < _MOST_PLAIN else orjson.Fragment(rfc8785.dumps(value))
    if kind is int and -LARGEST_WHOLE <= value <= LARGEST_WHOLE:
        return value
    if kind is list or kind is tuple:
        return [item if type(item) in _PLAIN else _as_orjson_writes(item) for item in value]
    if kind is dict and all(type(key) is str and key.isascii() for key in value):
        return {key: item if type(item) in _PLAIN else _as_orjson_writes(item) for key, item in value.items()}
    raise _OddError


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
