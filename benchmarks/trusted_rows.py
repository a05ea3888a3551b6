"""What it costs to check rows against the audit log before work, from one entry to a hundred thousand.

    python benchmarks/trusted_rows.py --entries 1000 10000 100000

A ledger in a temporary folder, SQLite as the ledger opens it: three quarters of the entries are requests that were
filed, a quarter versions of one model. Times are this process's processor time, the medians of several processes'
worth of newly opened ledgers.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from filing import WEIGHTS, WHEN, fresh_ledger, processor, requests

from ledger.config import find_config
from ledger.digest import sha256_hex
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.filing import enqueue
from ledger.service.sealed_snapshot import FILE
from ledger.service.versions.commit import append_version

BATCH = 1000
TRIES = 5


def fill(ledger: Ledger, entries: int) -> None:
    """Bring the log to about a number of entries."""
    versions = entries // 4
    enqueue(ledger, "cars", requests(entries - versions))
    for first in range(1, versions + 1, BATCH):
        with ledger.database.write() as tx:
            model = tx.models.get("cars")
            for number in range(first, min(first + BATCH, versions + 1)):
                version = Version(
                    *(model.id, number, number - 1, VersionKind.ROLLBACK, None, 0),
                    forgotten=frozenset(),
                    weights=sha256_hex(WEIGHTS),
                    recipe=VersionRecipe(),
                    created_at=WHEN,
                )
                append_version(tx, model, version, size=len(WEIGHTS), terms=(), actor="bench", at=WHEN)


def measure(entries: int, place: Path | None) -> dict[str, float]:
    """Measure a ledger with a number of entries; seconds by what was done."""
    with tempfile.TemporaryDirectory(dir=place, prefix="unledger-") as folder, fresh_ledger(Path(folder)) as ledger:
        fill(ledger, entries)
        snapshot = ledger.config.keys_path / FILE
        found: dict[str, list[float]] = {}

        def take(what: str, act: Callable[[], object]) -> None:
            found.setdefault(what, []).append(processor(act))

        for _ in range(TRIES):
            snapshot.unlink(missing_ok=True)
            for what in ("verify the log from its first entry", "verify it from the snapshot"):
                again = open_ledger(find_config(Path(folder)), "bench")
                take(what, again.database.catch_up)
                with again.database.read() as tx:
                    take("check what a request rests on", lambda tx=tx: tx.trusted.current("cars"))  # type: ignore[misc]
                    take("check all versions of a model", lambda tx=tx: tx.trusted.covered("cars"))  # type: ignore[misc]
                    take("check the request", lambda tx=tx: tx.trusted.request(1))  # type: ignore[misc]
                again.close()
        return {what: statistics.median(times) for what, times in found.items()}


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the ledgers are made; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    found = {entries: measure(entries, arguments.folder) for entries in arguments.entries}
    print(f"milliseconds of processor time, {os.cpu_count()} cores")
    print(f"  {'':40}" + "".join(f"{entries:>12,}" for entries in found))
    for what in next(iter(found.values())):
        print(f"  {what:40}" + "".join(f"{1e3 * figure[what]:12.1f}" for figure in found.values()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
