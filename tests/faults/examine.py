"""What must hold of a ledger after a fault, and what must be the same as if there had been none."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError
from ledger.service.audit.verification import verify_log
from ledger.service.progress import Silent
from ledger.service.upkeep.fsck import fsck
from tests.faults.lifetime import STEPS, Life

NOT_COMPARED = {
    "audit_events": "compared leaf by leaf below, without what a second attempt adds",
    "audit_head": "depends on the leaves",
    "audit_notes": "salts are random",
    "audit_subtrees": "depends on the leaves",
    "blob_leases": "belongs to workers",
    "checkpoints": "depends on the leaves; names a random origin",
    "workers": "belongs to workers",
}
"""Tables that may differ after a fault, and why."""
NOT_COMPARED_COLUMNS = {
    "requests": {"lease_epoch"},
    "alias_moves": {"audit_seq"},
    "models": {"salt"},
}
"""A claim after a crash raises the epoch and adds an audit entry. The salt of a model is drawn anew."""
ATTEMPTS = {"request.claimed", "request.interrupted", "request.failed"}
"""Audit entries of attempts that came to nothing, or began again."""


def fingerprint(root: Path) -> dict[str, Any]:
    """Return everything about a finished ledger that no fault may change.

    All rows and columns but the declared ones, the audit history without attempts, and the names of stored objects.
    """
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(root / "ledger.db")) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
        for name in names:
            if name not in NOT_COMPARED:
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                kept = [column for column in columns if column not in NOT_COMPARED_COLUMNS.get(name, set())]
                rows = connection.execute(f"SELECT {', '.join(kept)} FROM {name}").fetchall()
                found[name] = sorted(map(repr, rows))
        leaves = [json.loads(leaf) for (leaf,) in connection.execute("SELECT leaf FROM audit_events ORDER BY seq")]
    found["history"] = [_stripped(leaf) for leaf in leaves if not _attempt(leaf)]
    found["objects"], found["keys"] = sorted(objects(root)), sorted(keys(root))
    return found


def _attempt(leaf: dict[str, Any]) -> bool:
    return leaf["kind"] in ATTEMPTS or (leaf["kind"] == "request.retried" and leaf["data"]["from"] == "failed")


def _stripped(leaf: dict[str, Any]) -> dict[str, Any]:
    # Each claim has an epoch of its own, each ledger a signing key, each model a salt under the digest of its row.
    event = {key: value for key, value in leaf.items() if key not in ("seq", "previous", "note")}
    own = {"epoch", "key"} | ({"row"} if leaf["kind"].startswith("model.") else set())
    return event | {"data": {key: value for key, value in leaf["data"].items() if key not in own}}


def objects(root: Path) -> Iterator[str]:
    """Yield digests of the objects there are; temporary files that a crash left are none."""
    for path in (root / "objects").glob("??/*"):
        if not path.name.startswith("."):
            yield path.parent.name + path.name


def keys(root: Path) -> Iterator[str]:
    """Yield digests of the objects that have a key."""
    for path in (root / "keys" / "objects").glob("*"):
        if not path.name.startswith("."):
            yield path.name


def lost(root: Path, steps: int) -> list[str]:
    """Return which of the first ``steps`` steps, all of them acknowledged, the ledger knows nothing of."""
    if not steps:
        return []
    life = Life(root, changes=False)
    try:
        return [f"lost: {step.name}" for step in STEPS[:steps] if not step.done(life)]
    except LedgerError as error:
        return [f"lost: {type(error).__name__}: {error.message}"]
    finally:
        life.close()


def unsound(root: Path) -> list[str]:
    """Return what is wrong with a ledger in itself: database, history, checkpoints, rows, and every byte stored."""
    life = Life(root)
    try:
        verify_log(life.ledger)
        report = fsck(life.ledger, Silent(), read_data=True)
    except LedgerError as error:
        return [f"{type(error).__name__}: {error.message}"]
    finally:
        life.close()
    return [f"{found.fault} {found.what}: {found.detail}" for found in report.findings if found.severe]


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return where two fingerprints differ, and how."""
    wrong = []
    for name in sorted(expected.keys() | found.keys()):
        before, after = expected.get(name, []), found.get(name, [])
        if before != after:
            missing = [item for item in before if item not in after]
            extra = [item for item in after if item not in before]
            wrong.append(f"{name} differ: missing {missing[:3]}, extra {extra[:3]}")
    return wrong
