"""Mistreat a fleet of workers, or let many processes file requests at once, and see whether the accounts still hold.

    python -m tests.faults.queue_rounds kills --kills 500 --requests 100      SIGKILL at random moments
    python -m tests.faults.queue_rounds zombies --zombies 200                 frozen past their lease, then woken
    python -m tests.faults.queue_rounds enqueues --rounds 10                  8 processes file 200 requests each
    python -m tests.faults.queue_rounds poison                                a request that kills whoever touches it

``--url`` names an empty database; without it, each round gets a SQLite file of its own. Prints one line of JSON; the
exit status is 1 if anything was lost, doubled, stale or wrong.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from ledger.config import find_config
from ledger.domain.requests import NewRequest
from ledger.domain.states import RequestState
from ledger.errors import BusyError
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.filing import enqueue
from tests.faults import queue_fleet as fleet
from tests.faults.queue_fleet import Fleet, Pace

MODELS = ("north", "south", "west")
DEADLINE = 1800.0
"""Seconds after which a round that does not come to an end has failed."""


def still_open(ledger: Ledger) -> int:
    """Return how many requests are not fulfilled, after retrying those that were set aside."""
    fleet.retry_quarantined(ledger)
    return sum(state is not RequestState.FULFILLED for state in fleet.states(ledger).values())


def kills(root: Path, url: str, *, seed: int, count: int, requests: int) -> dict[str, Any]:
    """SIGKILL workers at random moments, spread over the time that all requests take.

    Args:
        root: An empty folder.
        url: An empty database.
        seed: Of the moments and victims.
        count: How many kills.
        requests: For each of the three models.
    """
    chance = random.Random(seed)
    fleet.found_ledger(root, url, MODELS, requests + 3)
    ledger = open_ledger(find_config(root), "people")
    total = len(fleet.file_requests(ledger, MODELS, requests))
    workers = Fleet(root, Pace())
    done, deadline = 0, time.monotonic() + DEADLINE
    try:
        while (left := still_open(ledger)) or done < count:
            assert time.monotonic() < deadline, f"{left} requests are still open after {done} kills"
            # Kills keep step with the work: neither may be over long before the other.
            if done < count and done * total <= (total - left + 3) * count:
                time.sleep(chance.uniform(0, 0.15))
                workers.kill(chance.randrange(workers.size))
                done += 1
            else:
                time.sleep(0.02)
        codes = workers.dismiss()
    finally:
        workers.abandon()
        ledger.close()
    return {"kills": done, "exit codes": codes, **fleet.accounts(root, total)}


def zombies(root: Path, url: str, *, seed: int, count: int) -> dict[str, Any]:
    """Freeze workers in the middle of a request until another has taken it over, then wake them.

    A worker frozen while it holds the database's only write lock cannot be overtaken; it is woken and not counted.

    Args:
        root: An empty folder.
        url: An empty database.
        seed: Of the moments and victims.
        count: How many zombies.
    """
    chance = random.Random(seed)
    pace = Pace(lease=0.4, compute=0.12)
    fleet.found_ledger(root, url, MODELS, 8 * count + 8)
    ledger = open_ledger(find_config(root), "people")
    onlooker = fleet.look_at(root, patience_ms=50)
    total, filed, made = 0, 0, 0
    workers = Fleet(root, pace)
    deadline = time.monotonic() + DEADLINE + 3 * count
    try:
        while made < count or still_open(ledger):
            assert time.monotonic() < deadline, f"{made} zombies and no end"
            if made < count and _waiting(ledger) < 2 * len(MODELS):
                filed += 1
                total += len(fleet.file_requests(ledger, MODELS, 1, first=filed))
            time.sleep(chance.uniform(0, 0.1))
            if made < count:
                made += _freeze(onlooker, workers, chance, pace)
        codes = workers.dismiss()
    finally:
        for pid in workers.pids:
            os.kill(pid, signal.SIGCONT)
        workers.abandon()
        onlooker.close()
        ledger.close()
    return {"zombies": made, "exit codes": codes, **fleet.accounts(root, total)}


def _waiting(ledger: Ledger) -> int:
    return sum(state is RequestState.QUEUED for state in fleet.states(ledger).values())


def _freeze(ledger: Ledger, workers: Fleet, chance: random.Random, pace: Pace) -> bool:
    """Freeze a worker; return whether somebody else took over its request before it was woken."""
    pid = chance.choice(workers.pids)
    os.kill(pid, signal.SIGSTOP)
    try:
        held = _held_by(ledger, pid)
        give_up = time.monotonic() + 4 * pace.lease
        while held and time.monotonic() < give_up:
            time.sleep(0.02)
            if _epoch(ledger, held[0]) > held[1]:
                time.sleep(chance.uniform(0, 0.1))
                return True
    except BusyError:
        pass
    finally:
        os.kill(pid, signal.SIGCONT)
    return False


def _held_by(ledger: Ledger, pid: int) -> tuple[int, int] | None:
    with ledger.database.read() as tx:
        for request in tx.requests.all(states=[RequestState.RUNNING]):
            if (request.lease_owner or "").split(":")[1] == str(pid):
                return request.id, request.lease_epoch
    return None


def _epoch(ledger: Ledger, number: int) -> int:
    with ledger.database.read() as tx:
        return tx.requests.get(number).lease_epoch


def enqueues(root: Path, url: str, *, seed: int, processes: int, each: int) -> dict[str, Any]:
    """Let processes file requests at once, a fifth of them under keys that others use too.

    Args:
        root: An empty folder.
        url: An empty database.
        seed: Of the keys.
        processes: How many.
        each: How many requests every process sends.
    """
    fleet.found_ledger(root, url, MODELS[:1], 8)
    shared = max(1, processes * each // 40)

    def send(name: int) -> None:
        chance = random.Random(seed * 1000 + name)
        ledger = open_ledger(find_config(root), f"sender {name}")
        with (root / f"sent-{name}").open("w") as file:
            for k in range(each):
                common = chance.random() < 0.2
                key = f"shared {chance.randrange(shared)}" if common else f"{name} {k}"
                new = NewRequest(frozenset({1 + sum(key.encode()) % 4}), "people", idempotency_key=key)
                [receipt] = enqueue(ledger, MODELS[0], [new])
                file.write(json.dumps([key, receipt.request.id, receipt.repeated]) + "\n")
        ledger.close()

    began = time.monotonic()
    children = [fleet.fork(partial(send, name)) for name in range(processes)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    seconds = time.monotonic() - began
    sent = [json.loads(line) for path in root.glob("sent-*") for line in path.read_text().splitlines()]
    answers: dict[str, set[int]] = {}
    for key, number, _ in sent:
        answers.setdefault(key, set()).add(number)
    ledger = open_ledger(find_config(root), "auditor")
    with ledger.database.read() as tx:
        head = tx.audit.verify()
        requests = tx.requests.all()
        received = [event.request_id for event in tx.audit.events() if event.kind == "request.received"]
    ledger.close()
    numbers = [request.id for request in requests]
    wrong = []
    if numbers != list(range(1, len(numbers) + 1)) or received != numbers:
        wrong.append("numbers or entries have gaps")
    if sum(not repeated for _, _, repeated in sent) != len(numbers):
        wrong.append("not every request was answered as new exactly once")
    return {
        "sent": len(sent),
        "repeated": sum(repeated for _, _, repeated in sent),
        "requests": len(numbers),
        "lost": processes * each - len(sent) + len(set().union(*answers.values()) - set(numbers)),
        "doubled": sum(len(given) != 1 for given in answers.values()) + len(numbers) - len(answers),
        "wrong": wrong,
        "stale": 0,
        "entries": head.size,
        "exit codes": codes,
        "seconds": round(seconds, 1),
    }


def poison(root: Path, url: str, *, requests: int, lease: float) -> dict[str, Any]:
    """File a request that kills every worker that touches it between others, and replace the dead.

    Args:
        root: An empty folder.
        url: An empty database.
        requests: Others for each of the three models, on all of which it is first in the queue of one.
        lease: Seconds. What those behind it wait is three of these and what it takes to notice and to take over.
    """
    pace = Pace(lease=lease)
    fleet.found_ledger(root, url, MODELS, requests + 3)
    ledger = open_ledger(find_config(root), "people")
    [receipt] = enqueue(ledger, MODELS[0], [NewRequest(frozenset({fleet.POISON}), "people")])
    others = fleet.file_requests(ledger, MODELS, requests)
    bad, deaths, deadline = receipt.request.id, 0, time.monotonic() + DEADLINE
    workers = Fleet(root, pace)
    try:
        while any(fleet.states(ledger)[number] is not RequestState.FULFILLED for number in others):
            assert time.monotonic() < deadline, "the others are still open"
            deaths += workers.replace_dead()
            time.sleep(0.02)
        codes = workers.dismiss()
    finally:
        workers.abandon()
    with ledger.database.read() as tx:
        aside = tx.requests.get(bad)
        events = list(tx.audit.events())
    ledger.close()
    filed = next(event.at for event in events if event.kind == "request.received" and event.request_id == bad)
    freed = next(event.at for event in events if event.kind == "request.quarantined")
    result = fleet.accounts(root, len(others))
    result["requests"] -= 1
    return {
        "state": aside.state.value,
        "epochs": aside.lease_epoch,
        "deaths": deaths,
        "leases behind it": round((freed - filed).total_seconds() / pace.lease, 1),
        "exit codes": codes,
        **result,
    }


def is_clean(result: dict[str, Any]) -> bool:
    """Return whether nothing was lost, doubled, stale or wrong and every worker left as it was asked to."""
    return not (result["lost"] or result["doubled"] or result["stale"] or result["wrong"] or any(result["exit codes"]))


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "zombies", "enqueues", "poison"])
    parser.add_argument("--url", help="an empty database; default: a SQLite file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--requests", type=int, default=100, help="for each of the three models")
    parser.add_argument("--zombies", type=int, default=200)
    parser.add_argument("--lease", type=float, default=0.5, help="seconds, with a request that kills")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--each", type=int, default=200, help="requests that every process sends")
    said = parser.parse_args()
    if said.url and said.rounds > 1:
        parser.error("a database is good for one round")
    clean = True
    for seed in range(said.seed, said.seed + said.rounds):
        with tempfile.TemporaryDirectory(prefix="unledger-queue-") as folder:
            root = Path(folder) / "ledger"
            url = said.url or "sqlite:///ledger.db"
            began = time.monotonic()
            if said.what == "kills":
                result = kills(root, url, seed=seed, count=said.kills, requests=said.requests)
            elif said.what == "zombies":
                result = zombies(root, url, seed=seed, count=said.zombies)
            elif said.what == "enqueues":
                result = enqueues(root, url, seed=seed, processes=said.processes, each=said.each)
            else:
                result = poison(root, url, requests=said.requests, lease=said.lease)
            seconds = round(time.monotonic() - began, 1)
            whole = {"seed": seed, "clean": is_clean(result), **result, "total seconds": seconds}
            sys.stdout.write(json.dumps(whole) + "\n")
            clean = clean and is_clean(result)
    assert "torch" not in sys.modules
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
