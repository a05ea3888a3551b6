"""Let a fault strike at every file-system call of a ledger's life, and see that nothing is lost, doubled or damaged.

    python tests/faults/sweep.py kill                    SIGKILL at every call, then recovery
    python tests/faults/sweep.py pairs --sample 100      a second SIGKILL during the recovery
    python tests/faults/sweep.py EIO                     every call fails once with an input/output error
    python tests/faults/sweep.py ENOSPC                  every call fails once: no space left
    python tests/faults/sweep.py full                    from some call on, none of its kind finds space any more
    python tests/faults/sweep.py short                   writes are cut short, at every 512 bytes of a file's length

Prints one line of JSON; the exit status is 1 if anything was found. ``--sample N --seed S`` takes N points at random.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import examine
import tracing
from story import STEPS, perform
from tracing import Ended, Point

FAULTS = {"kill": "signal=SIGKILL", "pairs": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
FAULTS["full"] = FAULTS["ENOSPC"]
SHORT_STEP = 512
TOLD = 20
"""Findings that are printed; all are counted."""


@dataclass(frozen=True)
class Place:
    """Where a fault strikes: during which step, at which call, or at which length of a file."""

    step: int
    point: Point | None
    largest_file: int | None = None

    def __str__(self) -> str:
        at = f"files of {self.largest_file} bytes" if self.point is None else f"{self.point} ({self.point.text[:120]})"
        return f"{STEPS[self.step].name}, {at}"


@dataclass
class Sweep:
    """Faults of one kind, one run for each.

    Args:
        kind: Which fault.
        folder: Where everything happens.
        generator: Chooses second faults.
    """

    kind: str
    folder: Path
    generator: random.Random
    findings: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What an undisturbed ledger is like after each step."""

    def __post_init__(self) -> None:
        self.root, self.log = self.folder / "ledger", self.folder / "trace"
        # Twice: the first round fills the caches that children inherit.
        for _ in range(2):
            self.expected.clear()
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir()
            for index in range(len(STEPS)):
                self.keep(f"before-{index}")
                perform(self.root, index, lambda: None)
                self.expected.append(examine.fingerprint(self.root))
                wrong = examine.unsound(self.root)
                if wrong:
                    raise RuntimeError(f"the undisturbed ledger is not sound: {wrong}")

    def keep(self, name: str) -> None:
        """Keep the ledger as it is now."""
        kept = self.folder / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.root, kept)

    def restore(self, name: str) -> None:
        """Put the ledger back to what was kept."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.folder / name, self.root)

    def trace(self, step: int) -> list[Point]:
        """Return the calls that a step makes from the state there is."""
        ended = tracing.run(partial(perform, self.root, step), log=self.log)
        if ended.killed or ended.error:
            raise RuntimeError(f"{STEPS[step].name}: without a fault it failed: {ended.error}")
        return tracing.points(self.log, self.root)

    def places(self) -> list[Place]:
        """Return every place where this kind of fault can strike."""
        if self.kind == "short":
            return [Place(k, None, length) for k in range(len(STEPS)) for length in self._lengths(k)]
        found = []
        for step in range(len(STEPS)):
            runs = []
            for _ in range(2):
                self.restore(f"before-{step}")
                runs.append(self.trace(step))
            if [str(point) for point in runs[0]] != [str(point) for point in runs[1]]:
                raise RuntimeError(f"{STEPS[step].name}: two undisturbed runs made different calls")
            found += [Place(step, point) for point in runs[0]]
        return found

    def _lengths(self, step: int) -> Iterator[int]:
        self.restore(f"before-{min(step + 1, len(STEPS) - 1)}")
        longest = max(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        yield from range(0, longest + SHORT_STEP, SHORT_STEP)

    def strike(self, place: Place) -> None:
        """Let one fault happen, and examine what it left."""
        self.restore(f"before-{place.step}")
        where = f"{self.kind} at {place}"
        ended = self.run_with(place)
        self.ends[self.judge(place.step, ended, where)] += 1
        if self.kind == "pairs":
            where = self.strike_again(place, where)
        self.recover(place.step, where)

    def strike_again(self, place: Place, where: str) -> str:
        """Kill the recovery too, at a random call of it."""
        self.keep("between")
        second = Place(place.step, self.generator.choice(self.trace(place.step)))
        self.restore("between")
        where = f"{where}, again at {second}"
        self.ends[self.judge(place.step, self.run_with(second), where) + " again"] += 1
        return where

    def run_with(self, place: Place) -> Ended:
        """Do a step with a fault in it."""
        body = partial(perform, self.root, place.step)
        if place.point is None:
            return tracing.run(body, largest_file=place.largest_file)
        when = f"{place.point.number}+" if self.kind == "full" else str(place.point.number)
        return tracing.run(body, log=self.log, inject=f"{place.point.call}:{FAULTS[self.kind]}:when={when}")

    def judge(self, step: int, ended: Ended, where: str) -> str:
        """Say how a run with a fault ended, and note what should not have been."""
        # In a copy: opening the database would repair what the recovery is to meet.
        with tempfile.TemporaryDirectory(dir=self.folder) as copied:
            look = shutil.copytree(self.root, Path(copied) / "ledger")
            self.findings += [f"{where}: {what}" for what in examine.lost(look, step + ended.acknowledged)]
        if ended.killed:
            return "killed"
        if self.kind in ("kill", "pairs"):
            self.findings.append(f"{where}: the run was not killed")
        if not ended.error:
            # It claims success, so there may be no need of a recovery.
            self.findings += [f"{where}: silent: {what}" for what in self.wrong(step)]
            return "done all the same"
        if not ended.typed:
            self.findings.append(f"{where}: not an error of ours: {ended.error}")
        return ended.error.partition(":")[0]

    def recover(self, step: int, where: str) -> None:
        """Do the step again; then all must be as if nothing had happened."""
        try:
            perform(self.root, step, lambda: None)
            wrong = self.wrong(step)
        except Exception as error:  # noqa: BLE001 - a finding, whatever it is
            wrong = [f"no recovery: {type(error).__name__}: {error}"]
        self.findings += [f"{where}: {what}" for what in wrong]

    def wrong(self, step: int) -> list[str]:
        """Return what is wrong with a ledger after a step."""
        found = examine.unsound(self.root)
        return found or examine.differences(self.expected[step], examine.fingerprint(self.root))


def main() -> int:
    """Sweep, print the counts, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*FAULTS, "short"])
    parser.add_argument("--sample", type=int, help="how many points; all by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True
    generator = random.Random(arguments.seed)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="unledger-", dir=memory if memory.is_dir() else None) as folder:
        begun = time.monotonic()
        sweep = Sweep(arguments.kind, Path(folder), generator)
        places = sweep.places()
        chosen = places if arguments.sample is None else generator.sample(places, min(arguments.sample, len(places)))
        for place in chosen:
            sweep.strike(place)
        report = {
            "kind": arguments.kind,
            "seed": arguments.seed,
            "points": len(places),
            "calls": Counter(place.point.call for place in places if place.point is not None),
            "tried": len(chosen),
            "ends": sweep.ends,
            "found": len(sweep.findings),
            "findings": sweep.findings[:TOLD],
            "seconds": round(time.monotonic() - begun, 1),
        }
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(sweep.findings))


if __name__ == "__main__":
    sys.exit(main())
