"""Compare stored rows with what the audit log says of them, column by column.

Whoever edits a row and leaves the log alone is found here; whoever edits the log is found by its verification. What a
column says is rebuilt from the entries, covered by a digest that an entry holds, or named in :data:`NOT_EVIDENCE` with
the reason.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any

from ledger.audit.row_digests import basis_digest, idempotency_digest, row_digest, setup_digest, value_digest
from ledger.certificates.commitment import Opening
from ledger.certificates.dsse import statement_of
from ledger.certificates.verifier import envelope_digest
from ledger.digest import json_digest
from ledger.domain.requests import RequestBody
from ledger.store.repositories.projections import Projections

from .packed_rows import Key, Row
from .replayed import KEYS, ROW, Replayed

DIGESTED = {
    ("models", "options"): "the digest of the set-up, and of the row",
    ("models", "preprocessing"): "the digest of the set-up, and of the row",
    ("models", "settings"): "the digest of the set-up, and of the row",
    ("models", "labels"): "the digest of the row",
    ("models", "data_spec"): "the digest of the row",
    ("models", "data_record"): "the digest of the row",
    ("models", "code_digest"): "the digest of the row",
    ("models", "salt"): "the digest of the row",
    ("requests", "external_id"): "the digest of the body",
    ("requests", "reason"): "the digest of the body",
    ("requests", "idempotency_key"): "the digest of the key",
    ("class_spaces", "samples"): "the digest of the row",
    ("class_spaces", "maps"): "the digest of the row",
    ("class_spaces", "created_at"): "the digest of the row",
    ("class_spaces", "anchor"): "the digest of the row",
    ("kept_results", "members"): "the digest of the row",
    ("kept_results", "parts"): "the digest of the row",
    ("basis_terms", "role"): "the digest of a version's bases",
    ("basis_terms", "class_index"): "the digest of a version's bases",
    ("basis_terms", "class_space_id"): "the digest of a version's bases",
    ("evidence", "evaluator"): "the entry of the measurement, and the digest of the row",
    ("evidence", "plugin"): "the entry of the measurement, and the digest of the row",
    ("evidence", "plugin_version"): "the entry of the measurement, and the digest of the row",
    ("evidence", "metrics"): "the entry of the measurement, and the digest of the row",
    ("evidence", "samples"): "the digest of the row",
    ("evidence", "provenance"): "the digest of the row",
    ("evidence", "inputs_digest"): "the entry of the measurement, and the digest of the row",
    ("evidence", "created_at"): "the entry of the measurement, and the digest of the row",
    ("certificates", "openings"): "the commitments in the signed envelope",
    ("tokens", "name"): "the digest of the row",
    ("tokens", "digest"): "the digest of the row",
    ("tokens", "scopes"): "the digest of the row",
    ("tokens", "created_at"): "the digest of the row",
    ("tokens", "expires_at"): "the digest of the row",
    ("webhooks", "url"): "the digest of the row",
    ("webhooks", "kinds"): "the digest of the row",
    ("webhooks", "salt"): "the digest of the row",
    ("webhooks", "created_at"): "the digest of the row",
}
"""Columns that are covered by a digest, and by which."""
NOT_EVIDENCE = {
    ("models", "id"): "numbers rows; the name is what the log knows",
    ("requests", "attempts"): "bookkeeping of the queue",
    ("requests", "lease_expires"): "moved by every heartbeat, which is no event",
    ("requests", "outcome"): "words for people; the note of the entry says the same",
    ("versions", "quarantined"): "what the last check of the stored objects found; the next one says it again",
    ("alias_moves", "id"): "numbers rows; the sequence number of the entry orders them",
    ("class_spaces", "id"): "numbers rows; the digest of the specification is what the log knows",
    ("evidence", "id"): "numbers rows; their order is that of the entries",
    ("blobs", "kind"): "a word for people; what refers to an object says what it is",
    ("blobs", "created_at"): "when the bytes were first stored; the entry of what refers to them has its own time",
    ("tokens", "last_used_at"): "moved by use, which is no event",
    ("webhooks", "told"): "how far messages were prepared; the log itself tells of every event",
}
"""Columns that are not covered, and why."""


@dataclass(frozen=True)
class Difference:
    """One column of one row that is not what the log says; of a missing or unaccounted row, the whole."""

    table: str
    key: Key
    column: str | None
    recorded: Any
    """What the log says; None if it knows of no such row."""
    stored: Any

    def __str__(self) -> str:
        name = f"{self.table} {'/'.join(str(part) for part in self.key)}"
        if self.column == ROW:
            return f"{name}: the row is not the one that the history recorded: a column was changed"
        if self.column is not None:
            return f"{name}: {self.column} is {self.stored!r}, the history says {self.recorded!r}"
        if self.stored is None:
            return f"{name}: the row is missing, the history tells of it"
        return f"{name}: the history tells of no such row"


def compare(replayed: Replayed, projections: Projections, table: str, **where: object) -> Iterator[Difference]:
    """Yield the differences of one table's rows, or of those that ``where`` picks.

    Args:
        replayed: What the log says.
        projections: Reads the stored rows.
        table: Name of the table.
        where: Columns that never change, each with its value, or with a frozenset of values; a ``model_id`` is given
            as the model's name.
    """
    expected = _recorded(replayed, table, where)
    stored = _stored(table, projections.rows(table, **where))
    if table == "basis_terms":
        # A version without any class space has no rows, and a digest all the same.
        stored = {key: {ROW: basis_digest(())} for key in expected} | stored
    for key in sorted(expected.keys() | stored.keys(), key=repr):
        yield from _compare_row(replayed, table, key, expected.get(key), stored.get(key))


def _recorded(replayed: Replayed, table: str, where: Mapping[str, object]) -> dict[Key, Row]:
    """Return the rows that the log tells of, or those that ``where`` picks; by key where that is what it names."""
    rows, keys = replayed.rows[table], KEYS[table]
    allowed = {c: value if isinstance(value, frozenset) else frozenset((value,)) for c, value in where.items()}
    if tuple(where) == keys:
        return {key: rows[key] for key in product(*allowed.values()) if key in rows}
    picked = [(keys.index(c) if c in keys else None, c, values) for c, values in allowed.items()]
    return {
        key: rows[key]
        for key in rows
        if all((rows[key][c] if place is None else key[place]) in values for place, c, values in picked)
    }


def _compare_row(
    replayed: Replayed, table: str, key: Key, recorded: Row | None, stored: Row | None
) -> Iterator[Difference]:
    if recorded is None or stored is None:
        yield Difference(table, key, None, recorded, stored)
        return
    if table == "evidence":
        yield from _compare_evidence(key, recorded["measured"], stored["measured"])
        return
    differing = False
    for column, value in recorded.items():
        if stored.get(column) != value:
            # The digest of a row says nothing new where another column is named already.
            if column != ROW or not differing:
                yield Difference(table, key, column, value, stored.get(column))
            differing = True
    if table == "requests" and not _is_body(stored["body_digest"], stored, *replayed.sent[key]):
        yield Difference(table, key, "reason or external_id", "another text", "this text")
    if table == "models" and key in replayed.setups and stored["setup"] != replayed.setups[key]:
        yield Difference(table, key, "options, preprocessing or settings", "another set-up", "this set-up")
    if table == "certificates" and not stored["opens"]:
        yield Difference(table, key, "openings", "what the signed envelope commits to", "something else")


def _compare_evidence(key: Key, recorded: Sequence[Row], stored: Sequence[Row]) -> Iterator[Difference]:
    """Yield how the evidence on a version differs: measurements are compared in the order of their entries."""
    if len(recorded) != len(stored):
        yield Difference("evidence", key, "number of rows", len(recorded), len(stored))
    for place, (entry, row) in enumerate(zip(recorded, stored, strict=False), start=1):
        columns = [column for column, value in entry.items() if row[column] != value]
        # The digest of a row says nothing new where another column is named already.
        for column in [column for column in columns if column != ROW] or columns:
            named = (*key, f"{entry['evaluator']} ({place})")
            yield Difference("evidence", named, column, entry[column], row[column])


# -- stored rows in the form that the log speaks of them ----------------------------------------------


def _stored(table: str, rows: Iterable[Row]) -> dict[Key, Row]:
    """Return stored rows by key; those of one version, where a table is compared so, as one."""
    if table == "basis_terms":
        return _bases(rows)
    if table == "evidence":
        return _evidence(rows)
    return {tuple(row[name] for name in KEYS[table]): _comparable(table, row) for row in rows}


def _comparable(table: str, row: Row) -> Row:
    """Return a row with digests in place of, or beside, columns that entries hold as digests."""
    match table:
        case "models":
            digest, setup = _digests_of_model(_ModelAsRead(repr(row), row))
            return {**row, ROW: digest, "setup": setup}
        case "versions":
            return {**row, "recipe": value_digest(row["recipe"])}
        case "class_spaces" | "kept_results" | "tokens" | "webhooks":
            return {**row, ROW: row_digest(table, row)}
        case "requests":
            return {**row, "idempotency": idempotency_digest(row["body_digest"], row["idempotency_key"])}
        case "certificates":
            return _certificate(row)
        case _:
            return row


@dataclass(frozen=True)
class _ModelAsRead:
    """The row of a model; equal to another that reads the same."""

    text: str
    row: Row = field(compare=False)


@lru_cache(maxsize=64)
def _digests_of_model(model: _ModelAsRead) -> tuple[str, str]:
    """Return the digests of a model's row and of its set-up.

    The same row is looked at for nearly every answer; its numbers with fractions take long to write canonically.
    """
    row = model.row
    return row_digest("models", row), setup_digest(row["options"], row["preprocessing"], row["settings"])


def _bases(rows: Iterable[Row]) -> dict[Key, Row]:
    terms: dict[Key, list[tuple[str, int, str | None]]] = {}
    for row in rows:
        term = row["role"], row["class_index"], row["class_space_id"]
        terms.setdefault((row["model_id"], row["version"]), []).append(term)
    return {key: {ROW: basis_digest(found)} for key, found in terms.items()}


def _evidence(rows: Iterable[Row]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for row in rows:
        measured = {**row, "metrics": value_digest(row["metrics"]), ROW: row_digest("evidence", row)}
        found.setdefault((row["model_id"], row["version"]), {"measured": []})["measured"].append(measured)
    return found


def _certificate(row: Row) -> Row:
    try:
        envelope = json.loads(row["envelope"])
        commitments = statement_of(envelope)["predicate"]["request"]["classes"]
        openings = row["openings"] or {"classes": ()}
        opened = [Opening(**one).commitment for one in openings["classes"]] if len(openings) == 1 else None
        digest = envelope_digest(envelope)
    # Whatever an intruder left there: it is not what the log recorded.
    except (LookupError, TypeError, ValueError):
        return {**row, "envelope": None, "erased": row["openings"] is None, "opens": False}
    erased = row["openings"] is None
    return {**row, "envelope": digest, "erased": erased, "opens": erased or opened == commitments}


def _is_body(digest: str, row: Row, received: str, due: str, preview: str | None) -> bool:
    """Whether a digest is that of a request's body: dates count only where the sender named them."""
    body = RequestBody(
        model=row["model_id"],
        classes=tuple(row["classes"]) if isinstance(row["classes"], list) else (),
        reason=row["reason"],
        basis=row["basis"],
        external_id=row["external_id"],
        received_at=None,
        due_at=None,
        preview=preview,
    )
    dates = product((None, received), (None, due))
    try:
        return any(json_digest(replace(body, received_at=a, due_at=b).to_json()) == digest for a, b in dates)
    except (TypeError, ValueError):
        # A request that is filed has a canonical body.
        return False
