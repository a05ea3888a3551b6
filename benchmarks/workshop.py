"""A folder of weights that methods made, each with what it cost: what is there is not made again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest import Contest
from digit_pairs import say
from methods.catalogue import METHODS, Method, Outcome, Setting, best_setting, carry_out, scored_settings
from methods.task import State, Task
from registered import Refused

from ledger.digest import sha256_hex
from ledger.weights import tensor_files

OURS = "ours (redirect)"


@dataclass(frozen=True)
class Entry:
    """Weights of one method for one task."""

    method: str
    forgotten: frozenset[int]
    seed: int
    weights: Path
    facts: Mapping[str, Any]
    """``seconds``, ``forward``, ``partial``, ``backward``, ``setting`` or ``chosen``, and ``digest``."""

    def state(self) -> State:
        """Return the weights, by name."""
        return tensor_files.parse(self.weights.read_bytes(), str(self.weights))

    @property
    def measured(self) -> Path:
        """The file of what evaluators found."""
        return self.weights.with_suffix(".measured.json")


class Workshop:
    """Makes and keeps the weights of all methods for a contest.

    Args:
        folder: Made if it is not there.
        contest: The tasks.
    """

    def __init__(self, folder: Path, contest: Contest) -> None:
        self.contest = contest
        self.folder = folder / contest.shelf.reference.name
        self.folder.mkdir(parents=True, exist_ok=True)

    def settings(self, method: Method) -> Setting:
        """Return the hyper-parameters of a method for this network, chosen now if they are not known.

        They are chosen on the first task alone, and noted in ``settings.json`` with the scores of all that were tried.
        """
        noted = self.folder / "settings.json"
        known: dict[str, Any] = json.loads(noted.read_text()) if noted.exists() else {}
        if method.name not in known:
            scored: list[tuple[Setting, float]] = []
            if len(method.settings) > 1:
                scored = scored_settings(method, self._task(method, self.contest.classes[0], self.contest.seeds[0]))
            best = best_setting(scored) if scored else method.settings[0]
            known[method.name] = {"setting": best, "tried": scored, "limit": self.contest.limit}
            noted.write_text(json.dumps(known, indent=2) + "\n")
            say(f"{method.name}: {dict(best)} of {scored}")
        if method.gradients and known[method.name].get("limit") != self.contest.limit:
            raise SystemExit(f"{noted} was chosen with another bound of images: name another folder, or remove it")
        found: dict[str, float] = known[method.name]["setting"]
        return found

    def made(self, method: Method, forgotten: frozenset[int], seed: int) -> Entry:
        """Return what a published method makes of a task."""
        setting = self.settings(method)

        def make() -> tuple[Outcome, dict[str, Any]]:
            return carry_out(method, self._task(method, forgotten, seed), setting), {"setting": dict(setting)}

        return self._kept(method.name, forgotten, seed, make)

    def ours(self, forgotten: frozenset[int], seed: int, scratch: Path) -> Entry | None:
        """Return what this project makes of a task, None if the request was refused.

        Args:
            forgotten: The classes.
            seed: The training seed.
            scratch: A new folder, for a ledger.
        """

        def make() -> tuple[Outcome, dict[str, Any]]:
            outcome, chosen = self.contest.ours(forgotten, seed, scratch)
            return outcome, {"chosen": chosen}

        try:
            return self._kept(OURS, forgotten, seed, make)
        except Refused as error:
            say(f"{self.contest.name(forgotten)}, seed {seed}: {error}")
            return None

    def _task(self, method: Method, forgotten: frozenset[int], seed: int) -> Task:
        return self.contest.task(forgotten, seed, gradients=method.gradients)

    def place(self, forgotten: frozenset[int], seed: int) -> Path:
        """Return the folder of a task."""
        folder = self.folder / f"without-{'+'.join(map(str, sorted(forgotten)))}-seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _kept(
        self, name: str, forgotten: frozenset[int], seed: int, make: Callable[[], tuple[Outcome, dict[str, Any]]]
    ) -> Entry:
        place = self.place(forgotten, seed)
        slug = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
        weights = place / f"{slug}.safetensors"
        noted = weights.with_suffix(".json")
        wanted = {"method": name, "limit": self.contest.limit}
        if not noted.exists():
            outcome, how = make()
            data = tensor_files.serialise(outcome.state)
            weights.write_bytes(data)
            # Written last: without it the weights do not count.
            noted.write_text(
                json.dumps({**wanted, **outcome.cost(), **how, "digest": sha256_hex(data)}, indent=2) + "\n"
            )
            say(f"{self.contest.name(forgotten)}, seed {seed}: {name}, {outcome.seconds:.1f} s")
        facts = json.loads(noted.read_text())
        if {key: facts.get(key) for key in wanted} != wanted or sha256_hex(weights.read_bytes()) != facts["digest"]:
            raise SystemExit(f"{noted} tells of other weights: name another folder, or remove it")
        return Entry(name, forgotten, seed, weights, facts)


def methods_named(names: list[str]) -> list[Method]:
    """Return the methods that a command line names; all if it names none.

    Raises:
        SystemExit: One is not among them.
    """
    known = {method.name: method for method in METHODS}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no method is called {', '.join(unknown)}: they are {', '.join(known)}")
    return [known[name] for name in names] or list(METHODS)
