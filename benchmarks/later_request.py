"""What a later request pays for its calibration images: answers kept or not, candidates shown all of them or few.

    OMP_NUM_THREADS=1 python benchmarks/later_request.py path/to/imagenet-one-each.zip
        path/to/tf_efficientnet_lite0.safetensors [--classes 100] [--rounds 3] [--pixels 128] [--work DIR] [--json FILE]

Somebody else's ImageNet weights, with the outputs of evenly spaced classes; of each photograph crops at random, by
seed: 60 for each class, and 320 for each of those to be forgotten. So there are about a thousand retained and three
hundred forgotten calibration images, as at a thousand classes. What is measured is time, and whether the same is
chosen; the crops say nothing about how well a class is forgotten.

A first request forgets one class. Then, for one class after the other, each way forgets it beside the first, from
stored class spaces and sums, and stores nothing. Ways take turns; seconds are of processor time, encryption and
database included. *Pass* is a plain pass of the network over the calibration images in batches of 32. On releases
before there was ``early_error``, the script measures how they did it.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import zipfile
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from imagenet_scale import Stopwatch, bare_ledger, now, plain_pass, since
from imagenet_twenty import ARCHITECTURE, NORMALISATION, cut_weights, spaced
from PIL import Image, ImageOps
from tables import markdown

from ledger.config import find_config
from ledger.digest import sha256_hex
from ledger.domain.settings import Settings
from ledger.service.computation.retained_sums import BasisGathering
from ledger.service.computation.unlearning import search_stored
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.progress import Silent
from ledger.weights import tensor_files

MODEL, SEED, CROPS, MORE_CROPS = "lite0", 0, 60, 320
FIRST = 0
ADAPTIVE = any(field.name == "early_error" for field in fields(Settings))
"""False for releases that showed every candidate that kept the bar all retained images."""


def crop(photograph: Image.Image, side: int, rng: random.Random) -> Image.Image:
    """Return a crop of at least half the shorter side, mirrored half of the times."""
    size = round(min(photograph.size) * rng.uniform(0.5, 1.0))
    left, top = (rng.randrange(1 + edge - size) for edge in photograph.size)
    cut = photograph.crop((left, top, left + size, top + size)).resize((side, side), Image.Resampling.BICUBIC)
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


def make_images(archive: Path, folder: Path, classes: int, rounds: int, side: int, each: int = CROPS) -> Path:
    """Write the crops, ``each`` of most classes, unless they are there; return their folder."""
    images = folder / f"crops-{classes}-{rounds}-{side}-{each}"
    if (images / "done").exists():
        return images
    rng = random.Random(SEED)  # noqa: S311 - crops
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.endswith(".jpg"))
        for place, k in enumerate(spaced(classes)):
            photograph = Image.open(BytesIO(packed.read(names[k]))).convert("RGB")
            crops = MORE_CROPS if place <= rounds else each
            for n in range(crops + 1):
                target = images / ("train" if n < crops else "test") / Path(names[k]).parent.name
                target.mkdir(parents=True, exist_ok=True)
                crop(photograph, side, rng).save(target / f"{n:03d}.jpg", quality=95)
    (images / "done").touch()
    return images


def registered(folder: Path, images: Path, weights: Path, side: int, settings: Settings) -> Workbench:
    """Make a ledger with the network and its crops; return a workbench."""
    ledger = bare_ledger(folder)
    registration = Registration(
        name=MODEL,
        architecture=ARCHITECTURE,
        weights=weights,
        data_spec=f"folder:{images}",
        labels=None,
        preprocessing={**NORMALISATION, "height": side, "width": side},
        settings=settings,
        accept_accuracy=True,
    )
    register(ledger, registration)
    return open_workbench(ledger, MODEL)


def with_settings(bench: Workbench, **changed: Any) -> Workbench:
    """Return a workbench of the same model under other settings."""
    settings = replace(bench.model.settings, **changed)
    other = Workbench(bench.ledger, replace(bench.model, settings=settings), bench.anchor)
    other.network, other.source = bench.network, bench.source
    return other


def prepared(folder: Path, images: Path, weights: Path, rounds: int, side: int) -> None:
    """Make a ledger that holds the class spaces and sums that all requests need."""
    bench = registered(folder, images, weights, side, Settings(retain_samples=10, forget_samples=MORE_CROPS))
    for k in range(rounds + 1):
        BasisGathering(bench, frozenset({FIRST, k}), store=True).gather(Silent())
        print(f"class spaces: {k + 1} of {rounds + 1}", file=sys.stderr, flush=True)
    bench.ledger.close()


def opened(folder: Path) -> Ledger:
    """Open a ledger."""
    return open_ledger(find_config(folder), "bench")


def with_error(bench: Workbench, error: float) -> Workbench:
    """Return a workbench whose candidates are judged with another error."""
    return with_settings(bench, early_error=error) if ADAPTIVE else bench


def measure(bench: Workbench, forgotten: set[int]) -> dict[str, Any]:
    """Search once; return processor times and what was chosen."""
    watch, began = Stopwatch(), now()
    result, _ = search_stored(bench, frozenset(forgotten), watch, store=False)
    watch.end()
    trials = result.to_json()["trials"]
    recipe = result.candidate.recipe
    shown = [one["shown"] for one in trials if one.get("shown") is not None]
    chosen = [
        one.get("shown")
        for one in trials
        if (one["solver"], one["depth"], one["alpha_r"], one["alpha_f"])
        == (recipe.solver, recipe.depth, recipe.strength.alpha_r, recipe.strength.alpha_f)
    ]
    return {
        "total": since(began)[1],
        "phases": {name: seconds[1] for name, seconds in watch.phases.items()},
        "trials": len(trials),
        "shown": shown,
        "chosen shown": chosen[0],
        "recipe": [recipe.solver, recipe.depth, recipe.strength.alpha_r, recipe.strength.alpha_f],
        "retained": [result.masked_retained.accuracy, result.retained.accuracy],
        "forgotten": max(scores.accuracy for scores in result.forgotten.values()),
        "weights": sha256_hex(tensor_files.serialise(result.candidate.state)),
        "record": {name: value for name, value in result.to_json().items() if name != "early_error"},
        "images": len(forgotten) and sum(count.images for count in result.anchor_forgotten.values()),
    }


def ways(folder: Path, kept: Path) -> dict[str, Workbench]:
    """Return the workbench of each way."""
    nothing = open_workbench(opened(folder), MODEL)
    found = {"all shown, nothing kept": with_error(nothing, 0.0)}
    if ADAPTIVE:
        answered = open_workbench(opened(kept), MODEL)
        default = Settings().early_error
        found["all shown, answers kept"] = with_error(answered, 0.0)
        found["few shown, nothing kept"] = with_error(nothing, default)
        found["few shown, answers kept"] = with_error(answered, default)
    return found


def table(rounds: list[dict[str, Any]]) -> str:
    """Return the Markdown table: medians over the rounds."""
    names = [name for name in rounds[0] if name != "pass"]
    rows = []
    for name in names:
        own = [one[name] for one in rounds]
        totals = [one["total"] for one in own]
        shown = [statistics.mean(one["shown"]) for one in own if one["shown"]]
        chosen = [one["chosen shown"] for one in own if one["chosen shown"] is not None]
        rows.append(
            (
                name,
                *(
                    f"{statistics.median([one['phases'].get(phase, 0.0) for one in own]):.1f}"
                    for phase in ("calibration", "alpha search")
                ),
                f"{statistics.median(totals):.1f}",
                f"{statistics.median([t / one['pass'] for t, one in zip(totals, rounds, strict=True)]):.2f}",
                f"{statistics.median([t / one[names[0]]['total'] for t, one in zip(totals, rounds, strict=True)]):.2f}",
                f"{statistics.median(shown):.0f}" if shown else "",
                f"{statistics.median(chosen):.0f}" if chosen else "",
            )
        )
    heads = ["way", "calibration s", "search s", "whole request s", "passes", "ratio", "shown, mean", "shown, chosen"]
    return markdown(heads, rows)


def argument_parser(description: str, classes: int) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark on crops is told; ``classes`` unless somebody says another number."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--classes", type=int, default=classes)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--work", type=Path, help="keep images and weights here")
    return parser


def main() -> int:
    """Measure; return 1 if kept answers changed what was computed."""
    parser = argument_parser(__doc__.splitlines()[0], classes=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        images = make_images(options.photographs, folder, options.classes, options.rounds, options.pixels)
        weights = cut_weights(options.weights, folder, spaced(options.classes))
        plain, kept = Path(scratch) / "plain", Path(scratch) / "kept"
        prepared(plain, images, weights, options.rounds, options.pixels)
        shutil.copytree(plain, kept)
        if ADAPTIVE:
            search_stored(open_workbench(opened(kept), MODEL), frozenset({FIRST}), Silent(), store=True)
        benches = ways(plain, kept)
        rounds = []
        for k in range(1, options.rounds + 1):
            found: dict[str, Any] = {name: measure(bench, {FIRST, k}) for name, bench in benches.items()}
            first = next(iter(found.values()))
            count = first["images"] + first["record"].get("retained_images", 990)
            found["pass"] = plain_pass(next(iter(benches.values())), range(count))[1]
            rounds.append(found)
            brief = {n: {w: v for w, v in m.items() if w != "record"} for n, m in found.items() if n != "pass"}
            print(json.dumps({**brief, "pass": found["pass"]}), file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(rounds))
    print(table(rounds))
    same = [
        one[f"{which} shown, nothing kept"][what] == one[f"{which} shown, answers kept"][what]
        for one in rounds
        for which in (("all", "few") if ADAPTIVE else ())
        for what in ("weights", "record")
    ]
    print(f"weights and records without and with kept answers are the same: {same.count(True)} of {len(same)}")
    return int(not all(same))


if __name__ == "__main__":
    sys.exit(main())
