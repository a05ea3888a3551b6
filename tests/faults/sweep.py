"""Let a fault strike at every file-system call of a ledger's life, and see that nothing is lost, doubled or damaged.

    python -m tests.faults.sweep kill                    SIGKILL at every call, then the same command again
    python -m tests.faults.sweep pairs --sample 100      a second SIGKILL while that command runs again
    python -m tests.faults.sweep EIO ENOSPC              every call fails once, either way
    python -m tests.faults.sweep full                    from some call on, none of its kind finds space any more
    python -m tests.faults.sweep short                   no file can grow beyond some length: writes are cut short
    python -m tests.faults.sweep careless --sample 50    SIGKILL, to steps that are acknowledged before they are done

Prints a line of JSON for each kind. The exit status is 1 if anything was found; for careless steps, if nothing was: a
sweep that misses those is blind. ``--sample N --seed S`` takes N places of each kind at random, and ``--calls`` only
places at some calls. Ctrl-C ends a kind early; the counts then say how far it got.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import Any

from ledger.service import ledger as ledgers
from ledger.store.database.engine import open_engine
from tests.faults import examine, tracing
from tests.faults.lifetime import STEPS, perform
from tests.faults.tracing import Ended, Point

FAULTS = {
    "kill": "signal=SIGKILL",
    "pairs": "signal=SIGKILL",
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "full": "error=ENOSPC",
    "short": "",
    "careless": "signal=SIGKILL",
}
DEADLY = ("kill", "pairs", "careless")
SHORT_STEP = 512
"""Bytes between the lengths at which files are cut short."""
TOLD = 20
"""Findings that are printed; all are counted."""


@dataclass(frozen=True)
class Place:
    """Where a fault strikes: during which step, and at which call or which length of a file."""

    step: int
    point: Point | None
    largest_file: int | None = None

    def __str__(self) -> str:
        at = f"files of {self.largest_file} bytes" if self.point is None else f"{self.point} ({self.point.text[:120]})"
        return f"{STEPS[self.step].name}, {at}"


class Stage:
    """A folder with the ledger as it is before each step, and what it is like after each.

    Args:
        folder: Where everything happens.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.log = folder, folder / "ledger", folder / "trace"
        self.expected: list[dict[str, Any]] = []
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
        self.keep(f"before-{len(STEPS)}")

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

    def calls(self) -> list[Place]:
        """Return every call of the whole story; two undisturbed runs must make the same."""
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

    def lengths(self) -> Iterator[Place]:
        """Yield every length at which files are cut short, for each step."""
        for step in range(len(STEPS)):
            after = self.folder / f"before-{step + 1}"
            longest = max(path.stat().st_size for path in after.rglob("*") if path.is_file())
            yield from (Place(step, None, length) for length in range(0, longest + SHORT_STEP, SHORT_STEP))


@dataclass
class Sweep:
    """Faults of one kind, one run for each.

    Args:
        kind: Which fault.
        stage: Where.
        generator: Chooses second faults.
    """

    kind: str
    stage: Stage
    generator: random.Random
    findings: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def strike(self, place: Place) -> None:
        """Let one fault happen, and examine what it left."""
        self.stage.restore(f"before-{place.step}")
        where = f"{self.kind} at {place}"
        self.ends[self.judge(place.step, self.run_with(place), where)] += 1
        if self.kind == "pairs":
            where = self.strike_again(place, where)
        self.recover(place.step, where)

    def strike_again(self, place: Place, where: str) -> str:
        """Kill the recovery too, at a random call of it."""
        self.stage.keep("between")
        second = Place(place.step, self.generator.choice(self.stage.trace(place.step)))
        self.stage.restore("between")
        where = f"{where}, again at {second}"
        self.ends[self.judge(place.step, self.run_with(second), where) + " again"] += 1
        return where

    def run_with(self, place: Place) -> Ended:
        """Do a step with a fault in it."""

        def body(acknowledge: Any) -> None:
            if self.kind == "careless":
                acknowledge()
            perform(self.stage.root, place.step, acknowledge)

        if place.point is None:
            return tracing.run(body, largest_file=place.largest_file)
        when = f"{place.point.number}+" if self.kind == "full" else str(place.point.number)
        return tracing.run(body, log=self.stage.log, inject=f"{place.point.call}:{FAULTS[self.kind]}:when={when}")

    def judge(self, step: int, ended: Ended, where: str) -> str:
        """Say how a run with a fault ended, and note what should not have been."""
        # In a copy: opening the database would repair what the recovery is to meet.
        look = self.stage.folder / "look"
        shutil.rmtree(look, ignore_errors=True)
        shutil.copytree(self.stage.root, look)
        self.findings += [f"{where}: {what}" for what in examine.lost(look, step + ended.acknowledged)]
        if ended.killed:
            return "killed"
        if self.kind in DEADLY:
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
            perform(self.stage.root, step, lambda: None)
            wrong = self.wrong(step)
        except Exception as error:  # noqa: BLE001 - a finding, whatever it is
            wrong = [f"no recovery: {type(error).__name__}: {error}"]
        self.findings += [f"{where}: {what}" for what in wrong]

    def wrong(self, step: int) -> list[str]:
        """Return what is wrong with a ledger after a step."""
        root = self.stage.root
        return examine.unsound(root) or examine.differences(self.stage.expected[step], examine.fingerprint(root))


def sweep(arguments: argparse.Namespace, stage: Stage, kind: str, places: list[Place]) -> dict[str, Any]:
    """Let one kind of fault strike everywhere, or at a sample of places, and return the counts."""
    begun, generator = time.monotonic(), random.Random(arguments.seed)
    size = len(places) if arguments.sample is None else min(arguments.sample, len(places))
    # In random order, so that a sweep that is interrupted has seen a fair sample.
    chosen, tried = generator.sample(places, size), 0
    swept = Sweep(kind, stage, generator)
    stop = Event()
    # Asked between places: an exception in the middle of one would be taken for what the fault did.
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    for place in chosen:
        if stop.is_set():
            break
        swept.strike(place)
        tried += 1
    signal.signal(signal.SIGINT, before)
    return {
        "kind": kind,
        "seed": arguments.seed,
        "steps": len(STEPS),
        "places": len(places),
        "calls": Counter(place.point.call for place in places if place.point is not None),
        "tried": tried,
        "ends": swept.ends,
        "found": len(swept.findings),
        "findings": swept.findings[:TOLD],
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> int:
    """Sweep, print the counts, and return 1 if they are not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=FAULTS)
    parser.add_argument("--sample", type=int, help="how many places of each kind; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--calls", type=lambda text: text.split(","), default=tracing.CALLS, help="for example fsync,link"
    )
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True
    # One engine a database, opened again and again: statements need not be compiled anew for every place.
    vars(ledgers)["open_engine"] = cache(open_engine)
    memory, failed = Path("/dev/shm"), False
    with tempfile.TemporaryDirectory(prefix="unledger-", dir=memory if memory.is_dir() else None) as folder:
        stage = Stage(Path(folder))
        places = stage.calls() if set(arguments.kinds) != {"short"} else []
        places = [place for place in places if place.point is not None and place.point.call in arguments.calls]
        for kind in arguments.kinds:
            report = sweep(arguments, stage, kind, list(stage.lengths()) if kind == "short" else places)
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()
            failed = failed or bool(report["found"]) != (kind == "careless")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
