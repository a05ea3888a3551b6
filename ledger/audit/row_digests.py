"""Digests of database rows, as entries of the audit log record them.

An entry names the facts of what happened. What a result depends on besides, such as the labels of a model or the sample
indices of a class space, is covered by the digest of the whole row: RFC 8785 canonical JSON over its columns, with
times in UTC. Columns that change later, each with an entry of its own, or that only number rows are left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ledger.digest import json_digest, sha256_hex

LEFT_OUT: Mapping[str, frozenset[str]] = {
    "models": frozenset({"id", "anchor"}),
    "class_spaces": frozenset({"id"}),
    "kept_results": frozenset(),
    "evidence": frozenset({"id"}),
    "tokens": frozenset({"last_used_at", "revoked_at"}),
    "webhooks": frozenset({"told"}),
}
"""By table: columns that the digest of a row does not cover."""


def row_digest(table: str, row: Mapping[str, Any]) -> str:
    """Return the digest of a row, with its model given by name.

    Args:
        table: ``models``, ``class_spaces``, ``kept_results``, ``evidence``, ``tokens`` or ``webhooks``.
        row: Values by column, as they come back from the database.
    """
    return value_digest({column: value for column, value in row.items() if column not in LEFT_OUT[table]})


def value_digest(value: Any) -> str:
    """Return the digest of a value's canonical JSON, or of its sorted JSON where it has no canonical form."""
    found = plain(value)
    try:
        return json_digest(found)
    except ValueError:
        # Lone surrogates in a label, or a number that no double holds: not canonical, but a digest all the same.
        return sha256_hex(json.dumps(found, sort_keys=True, default=repr).encode())


def setup_digest(options: Mapping[str, Any], preprocessing: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the digest of all that decides what a model computes from its weights and images."""
    return value_digest({"options": options, "preprocessing": preprocessing, "settings": settings})


def basis_digest(terms: Iterable[tuple[str, int, str | None]]) -> str:
    """Return the digest of the bases that a version was computed from.

    Args:
        terms: Of each class space: its role, its class index, and the digest of its specification.
    """
    found = [[role, index, spec or ""] for role, index, spec in terms]
    try:
        return value_digest(sorted(found))
    except TypeError:
        # Somebody wrote other types into the rows: a digest all the same.
        return value_digest(sorted(found, key=repr))


def idempotency_digest(body: str, key: str | None) -> str:
    """Return the digest of an idempotency key, or of there being none, bound to the digest of the request's body."""
    return value_digest({"body": body, "key": key})


def plain(value: Any) -> Any:
    """Return a value as canonical JSON can hold it: as it comes back from a JSON column, times in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value
