"""The restore drill: back up again and again while workers and filers go on; every restore verifies."""

from __future__ import annotations

import os
import random
import shutil
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ledger.config import create_config, find_config
from ledger.domain.requests import NewRequest
from ledger.errors import ConflictError, RetryLaterError
from ledger.service.audit.checkpoints import issue_checkpoint
from ledger.service.backups.backup import back_up
from ledger.service.backups.restore import restore
from ledger.service.ledger import create_ledger, open_ledger
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.upkeep.fsck import fsck
from tests.faults import queue_fleet as fleet
from tests.faults.queue_fleet import Fleet, Pace
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.databases import PostgresServer

MODELS = ("north", "south")
CLASSES = 400


def file_for_ever(root: Path, seed: int) -> None:
    """File requests and sign checkpoints until somebody ends this process."""
    ledger, chance = open_ledger(find_config(root), "filer"), random.Random(seed)
    while True:
        try:
            enqueue(ledger, chance.choice(MODELS), [NewRequest(frozenset({chance.randrange(CLASSES)}), "filer")])
            if chance.random() < 0.2:
                issue_checkpoint(ledger)
        except (RetryLaterError, ConflictError):
            pass
        time.sleep(chance.uniform(0, 0.05))


def drill(root: Path, url: str, rounds: int, server: PostgresServer | None) -> int:
    """Back up and restore in turn while others write; return how far the audit log grew meanwhile."""
    ledger = create_ledger(create_config(root / "ledger", url, "objects"), "keeper")
    for name in MODELS:
        labels = tuple(f"class {k}" for k in range(CLASSES))
        register_stand_in(ledger, name, labels, fleet.weights_of(name, frozenset()), at=datetime.now(UTC))
    workers = Fleet(root / "ledger", Pace())
    filers = [fleet.fork(partial(file_for_ever, root / "ledger", seed)) for seed in (1, 2)]
    sizes = []
    try:
        for number in range(rounds):
            done = back_up(ledger, str(root / "backup"), Silent(), keys=root / "keys")
            assert done.damaged == ()
            database = server.borrow_database() if server is not None else None
            target = root / f"restored {number}"
            found = restore(str(root / "backup"), target, Silent(), database=database, keys=root / "keys")
            assert (found.entries, found.head, found.opened, found.missing) == (done.entries, done.head, True, ())
            restored = open_ledger(find_config(target), "keeper")
            assert fsck(restored, Silent(), read_data=True).sound
            # The signer goes on from there: it remembers no more than the database holds.
            issue_checkpoint(restored)
            restored.close()
            shutil.rmtree(target)
            if server is not None and database is not None:
                server.give_back(database)
            sizes.append(done.entries)
    finally:
        for pid in filers:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        workers.abandon()
        ledger.close()
    assert sizes == sorted(sizes)
    return sizes[-1] - sizes[0]


@pytest.mark.parametrize("rounds", [100 if os.environ.get("FULL_SIZE") == "1" else 5])
def test_every_restore_of_a_backup_made_under_load_verifies(
    tmp_path: Path, database_url: str, rounds: int, request: pytest.FixtureRequest
) -> None:
    sqlite = database_url.startswith("sqlite")
    url = "sqlite:///ledger.db" if sqlite else database_url
    server = None if sqlite else request.getfixturevalue("postgres_server")
    grown = drill(tmp_path, url, rounds, server)
    assert grown >= rounds, "others hardly wrote anything meanwhile"
