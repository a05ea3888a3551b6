"""Forget classes one request at a time, and look at images after each: what data sets of few images a class share.

Retained accuracy is compared twice with the registered network: as it is (the plain drop), and with the outputs of
forgotten classes masked (the loss). Fewer answers compete after forgetting, so the plain drop flatters every method.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import markdown
from torch import Tensor

from ledger.domain.requests import NewRequest
from ledger.domain.settings import Settings
from ledger.hookspecs import Split
from ledger.networks.inference import logits
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger
from ledger.service.progress import Silent
from ledger.service.requests.filing import enqueue
from ledger.service.requests.worker import work

CHOSEN = ("solver", "depth", "layers", "alpha_r", "alpha_f")
ROUNDING = 1e-9
"""A loss of just the bar must not miss it by the last bit of a mean."""


@dataclass(frozen=True)
class View:
    """Some images of a split, looked at after each request."""

    split: Split
    indices: Sequence[int]

    @property
    def labels(self) -> Tensor:
        """Class index of each image, int64 (n,)."""
        return torch.tensor(self.split.labels)[list(self.indices)]


@dataclass(frozen=True)
class Seen:
    """What the images of one view show after a request. Accuracies are shares of images."""

    images: dict[int, int]
    """Of each forgotten class: how many there are."""
    known: dict[int, int]
    """How many of them the registered network recognises."""
    recognised: dict[int, int]
    """How many of them are recognised now."""
    registered: float
    """Accuracy of the registered network on the retained classes."""
    masked: float
    """The same, with the outputs of forgotten classes masked."""
    retained: float
    """Accuracy on the retained classes now."""

    @property
    def loss(self) -> float:
        """What retained classes lose against the masked registered network, as a difference of shares."""
        return self.masked - self.retained

    @property
    def drop(self) -> float:
        """What they lose against the registered network as it is; negative where they gain."""
        return self.registered - self.retained

    def still(self) -> str:
        """Return how many images of all forgotten classes are recognised, how many were, and how many there are."""
        return " / ".join(str(sum(counts.values())) for counts in (self.recognised, self.known, self.images))


def look(now: Tensor, registered: Tensor, labels: Tensor, forgotten: Collection[int]) -> Seen:
    """Compare the answers for some images with those of the registered network.

    Args:
        now: Logits (n, classes).
        registered: Logits (n, classes) of the registered network for the same images.
        labels: Class indices, int64 (n,).
        forgotten: The classes forgotten by now.
    """
    asked = sorted(forgotten)
    masked = registered.clone()
    masked[:, asked] = -torch.inf
    kept = ~torch.isin(labels, torch.tensor(asked, dtype=torch.int64))
    right = {name: answers.argmax(1) == labels for name, answers in _named(now, registered, masked)}
    share = {name: float(correct[kept].double().mean()) for name, correct in right.items()}
    return Seen(
        images={k: int((labels == k).sum()) for k in asked},
        known={k: int(right["registered"][labels == k].sum()) for k in asked},
        recognised={k: int(right["now"][labels == k].sum()) for k in asked},
        registered=share["registered"],
        masked=share["masked"],
        retained=share["now"],
    )


def _named(now: Tensor, registered: Tensor, masked: Tensor) -> Iterable[tuple[str, Tensor]]:
    return (("now", now), ("registered", registered), ("masked", masked))


@dataclass(frozen=True)
class Step:
    """What one request did."""

    forgotten: tuple[int, ...]
    """Every class asked for so far, the newest last."""
    seen: dict[str, Seen]
    """By the name of the view."""
    seconds: float
    """Of carrying out this request, from claim to commit."""
    peak: float
    """Largest memory of this process so far, in GB."""
    chosen: dict[str, Any]
    """What the live version's recipe says was chosen."""
    error: str | None
    """Why the request brought no version, if it did not."""

    def choice(self) -> str:
        """Return what was chosen, or why nothing was, as text."""
        if self.error:
            return self.error
        c = dict(self.chosen)
        depth = f"{c.pop('depth', '?')} of {c.pop('layers', '?')} layers"
        strengths = ", ".join(f"{name} {value:g}" for name, value in c.items() if isinstance(value, float))
        return f"{c.get('solver', '?')}, {depth}, {strengths}"


class OneByOne:
    """A registered model that forgets one class after another.

    Args:
        ledger: Holds the model.
        model: Its name.
        views: What to look at after each request.
    """

    def __init__(self, ledger: Ledger, model: str, views: Mapping[str, View]) -> None:
        self.ledger = ledger
        self.bench: Workbench = open_workbench(ledger, model)
        self.views = views
        self._labels = {name: view.labels for name, view in views.items()}
        self._registered = self._answers(self.bench.anchor_state)

    def forget(self, forgotten: tuple[int, ...]) -> Step:
        """File a request for the last of some classes, carry it out, and look at the images of all of them."""
        name = self.bench.model.name
        enqueue(self.ledger, name, [NewRequest(frozenset(forgotten[-1:]), "bench")])
        began = time.perf_counter()
        [outcome] = work(self.ledger, Silent(), model_name=name)
        seconds = time.perf_counter() - began
        with self.ledger.database.read() as tx:
            live = tx.versions.live(tx.models.get(name))
        now = self._answers(self.bench.weights(live))
        document = live.recipe.document
        return Step(
            forgotten=forgotten,
            seen={view: look(now[view], self._registered[view], self._labels[view], forgotten) for view in self.views},
            seconds=seconds,
            peak=peak_memory(),
            chosen={key: document[key] for key in CHOSEN if key in document},
            error=outcome.error.message if outcome.error else None,
        )

    def _answers(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: logits(self.bench.network, state, self.bench.batches(view.split, view.indices))
            for name, view in self.views.items()
        }


def drawn(classes: int, requests: int, seed: int) -> tuple[int, ...]:
    """Return which classes are forgotten, in order."""
    return tuple(int(k) for k in np.random.default_rng(seed).permutation(classes)[:requests])


def run(bench: OneByOne, order: tuple[int, ...]) -> list[Step]:
    """Forget some classes in order, and say what each request did."""
    steps = []
    for n, k in enumerate(order, 1):
        step = bench.forget(order[:n])
        seen = "; ".join(
            f"{name} {one.still()}, loss {100 * one.loss:+.2f}, drop {100 * one.drop:+.2f}"
            for name, one in step.seen.items()
        )
        say(f"{n}: {bench.bench.model.labels[k]} in {step.seconds:.1f} s: {seen}; {step.choice()}")
        steps.append(step)
    return steps


def table(steps: Sequence[Step], judged: str) -> str:
    """Return the steps as a Markdown table.

    Args:
        steps: At least one.
        judged: The view on which retained classes are compared.
    """
    columns = [
        "asked for so far",
        *(f"{name}: recognised / before / all" for name in steps[0].seen),
        *("retained %", "loss against mask", "plain drop", "seconds", "peak GB", "chosen"),
    ]
    rows = [
        (
            str(len(step.forgotten)),
            *(one.still() for one in step.seen.values()),
            f"{100 * step.seen[judged].retained:.2f}",
            f"{100 * step.seen[judged].loss:+.2f}",
            f"{100 * step.seen[judged].drop:+.2f}",
            f"{step.seconds:.1f}",
            f"{step.peak:.1f}",
            step.choice(),
        )
        for step in steps
    ]
    return markdown(columns, rows)


def missed_bars(steps: Sequence[Step], judged: str, most_loss: float) -> list[str]:
    """Return a sentence for every request that brought no version, left an image recognised, or cost too much.

    Args:
        steps: The requests, in order.
        judged: The view that is judged.
        most_loss: Loss against the masked registered network that is allowed, as a difference of shares.
    """
    missed = []
    for n, step in enumerate(steps, 1):
        seen = step.seen[judged]
        still = sum(seen.recognised.values())
        if step.error:
            missed.append(f"request {n}: {step.error}")
        if still:
            missed.append(f"after request {n}, {still} {judged} images of forgotten classes are recognised")
        if seen.loss > most_loss + ROUNDING:
            missed.append(f"after request {n}, retained classes lose {100 * seen.loss:.2f} points against the mask")
    return missed


def arguments(documentation: str, requests: int) -> argparse.ArgumentParser:
    """Return a parser of what these scripts share; ``runs`` reads the settings.

    Args:
        documentation: The script's own; its first line becomes the description.
        requests: How many classes are forgotten unless stated.
    """
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("--requests", type=int, default=requests, metavar="N")
    parser.add_argument("--forget-seed", type=int, default=0, help="draws the classes and their order")
    parser.add_argument(
        "--solvers", nargs="*", metavar="A,B", help="solvers of each run; default: one run with those of the settings"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="sampling seeds (Settings.seed) of each run")
    parser.add_argument("--work", type=Path, help="folder for images, weights and ledgers; default: a temporary one")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser


def runs(options: argparse.Namespace) -> list[Settings]:
    """Return the settings of every run: each choice of solvers with each seed."""
    plain = Settings()
    choices = [tuple(names.split(",")) for names in options.solvers] if options.solvers else [plain.solvers]
    return [replace(plain, solvers=solvers, seed=seed) for solvers in choices for seed in options.seeds]


def figures(settings: Settings, steps: Sequence[Step], missed: Sequence[str]) -> dict[str, Any]:
    """Return one run as plain JSON values."""
    return {
        "solvers": settings.solvers,
        "seed": settings.seed,
        "steps": [asdict(step) | {"loss": {k: v.loss for k, v in step.seen.items()}} for step in steps],
        "missed": missed,
    }


def report(settings: Settings, steps: Sequence[Step], missed: Sequence[str], judged: str) -> None:
    """Print one run."""
    print(f"\nSolvers {', '.join(settings.solvers)}, seed {settings.seed}:\n")
    print(table(steps, judged))
    print("\nMissed: " + "; ".join(missed) if missed else "\nEvery bar was met.", flush=True)


def write_json(path: Path | None, found: Any) -> None:
    """Write figures to a file, if one is named."""
    if path:
        path.write_text(json.dumps(found, indent=2) + "\n")


def peak_memory() -> float:
    """Return this process's peak memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def say(text: str) -> None:
    """Talk to stderr; stdout is for the figures."""
    print(text, file=sys.stderr, flush=True)
