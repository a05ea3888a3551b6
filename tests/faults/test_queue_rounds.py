"""Workers that are killed, frozen or poisoned, and crowds that file requests: nothing lost, doubled, stale or wrong.

Samples by default; ``FULL_SIZE=1`` runs everything at the size that is published. The rounds run in a process of their
own, which forks the workers: this one has long loaded torch, and a worker must do without.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Read once at import: tests run with the environment guarded.
FULL_SIZE = os.environ.get("FULL_SIZE") == "1"
ROOT = Path(__file__).parents[2]


def survive(what: str, url: str, *arguments: object, seed: int = 1) -> dict[str, Any]:
    """Run a round; return its accounts, which must be in order."""
    command = [
        sys.executable,
        "-m",
        "tests.faults.queue_rounds",
        what,
        "--url",
        url,
        "--seed",
        str(seed),
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    sys.stdout.write(done.stdout)
    result: dict[str, Any] = json.loads(done.stdout)
    assert (result["lost"], result["doubled"], result["stale"], result["wrong"]) == (0, 0, 0, [])
    # Whoever was asked to leave cleaned up and left with 0.
    assert set(result["exit codes"]) == {0}
    assert result["clean"]
    return result


def test_workers_killed_at_random_lose_and_double_nothing(database_url: str, tmp_path: Path) -> None:
    count, requests = (500, 100) if FULL_SIZE else (12, 5)
    taken_over = 0
    # Some kills must have hit a worker in the middle of a request, or this proves little. On a busy machine workers may
    # all be killed while they start: then there is another round, on a database of its own.
    for seed in (1, 2, 3):
        url = database_url if seed == 1 else f"sqlite:///{tmp_path / f'again{seed}.db'}"
        result = survive("kills", url, "--kills", count, "--requests", requests, seed=seed)
        assert (result["kills"], result["requests"]) == (count, 3 * requests)
        taken_over += result["taken over"]
        if taken_over:
            break
    assert taken_over


def test_workers_that_wake_after_others_took_over_commit_nothing(database_url: str) -> None:
    count = 200 if FULL_SIZE else 6
    result = survive("zombies", database_url, "--zombies", count)
    assert result["zombies"] == count
    assert result["taken over"] >= count


@pytest.mark.parametrize("seed", range(1, 11) if FULL_SIZE else [1])
def test_a_crowd_that_files_requests_at_once_meets_neither_locks_nor_gaps(database_url: str, seed: int) -> None:
    each = 200 if FULL_SIZE else 15
    result = survive("enqueues", database_url, "--each", each, seed=seed)
    assert result["sent"] == 8 * each
    assert result["repeated"] == 8 * each - result["requests"] > 0
    # Beside them: the ledger, its model and the model's version 0.
    assert result["entries"] == result["requests"] + 3


def test_a_request_that_kills_its_workers_is_set_aside_and_stops_nobody(database_url: str) -> None:
    requests, lease = (20, 10) if FULL_SIZE else (2, 0.5)
    result = survive("poison", database_url, "--requests", requests, "--lease", lease)
    assert (result["state"], result["epochs"], result["deaths"]) == ("quarantined", 3, 3)
    if FULL_SIZE:
        # Three leases, and the moments until somebody looks. Of a short lease these moments are the larger part.
        assert result["leases behind it"] <= 3.3
