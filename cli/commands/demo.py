"""``unledger demo``: a demonstration that runs the ordinary commands one after another."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger import installation
from ledger.domain.command_lines import quoted
from ledger.domain.retained_accuracy import RetainedAccuracy
from ledger.errors import ConflictError, GateError

from ..render import PhaseProgress, percent, say
from ..session import session

ARCHITECTURE = "timm/test_resnet"
SIZE = 64
MEAN, STD = 0.3, 0.35
SEED = 0
INPUT = f"--arch-option in_chans=1 --input-size 1x{SIZE}x{SIZE} --mean {MEAN} --std {STD}"
MODEL = "digits"
STORY: tuple[tuple[str, str], ...] = (
    ("A ledger is a folder with a database and an object store.", "init"),
    (
        "Register the trained model: its weights become version 0.",
        f"model add {MODEL} --arch {ARCHITECTURE} --weights digits.safetensors --data digits {INPUT}",
    ),
    ("What would forgetting 3 cost? Nothing is written.", f"preview {MODEL} -c 3"),
    (
        "Somebody asks to forget 3. Filing a request only queues it ...",
        f"forget {MODEL} -c 3 --reason 'licence expired'",
    ),
    ("... a worker carries it out.", "work --drain"),
    ("Measure the new version and keep the evidence.", f"evaluate {MODEL}"),
    ("Later, another request names two classes.", f"forget {MODEL} -c 5 -c 8 --reason 'restricted category'"),
    ("", "work --drain"),
    ("", f"evaluate {MODEL}"),
    (
        "Roll back to version 1. That would undo the second request, so it is reopened.",
        f"rollback {MODEL} --to 1 --reason 'second thoughts' --yes",
    ),
    ("Version 3 has version 1's weights; measure it all the same.", f"evaluate {MODEL}"),
    ("The reopened request still has its due date.", f"request list {MODEL}"),
    ("It is retried: the weights are those of version 2, to the last bit.", "request retry 2 --reason 'it stands'"),
    ("", "work --drain"),
    ("", f"evaluate {MODEL}"),
    ("Every version, with its test accuracy on retained and forgotten classes.", f"model versions {MODEL}"),
    ("The deletion history ...", f"audit log {MODEL}"),
    ("A page to look at.", f"report {MODEL} -o report.html"),
    ("... which has not been tampered with.", "audit verify"),
)


def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A new folder.")] = Path("unledger-demo"),
) -> None:
    """Train a small model on real digits, forget three of them, roll back, audit: offline, in a minute."""
    installation.require("engine", "the demonstration")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConflictError(f"{folder} is not an empty folder", "name a new folder: unledger demo DIR")
    folder.mkdir(parents=True, exist_ok=True)
    home = Path.cwd()
    os.chdir(folder)
    try:
        _train(Path("digits.safetensors"))
        for comment, line in STORY:
            _run(ctx, comment, line)
        _conclude(ctx, folder)
    finally:
        os.chdir(home)


def _train(path: Path) -> None:
    from ledger.domain.settings import Preprocessing
    from ledger.testing.demonstration import train_to_file
    from ledger.testing.training import EPOCHS

    say((f"\n# Train {ARCHITECTURE} on scikit-learn's handwritten digits, 1,797 real scans.", "dim"))
    preprocessing = Preprocessing(1, SIZE, SIZE, (MEAN,), (STD,))
    with PhaseProgress() as progress:
        progress.phase("training", EPOCHS)
        accuracy = train_to_file(
            path, ARCHITECTURE, {"in_chans": 1}, "digits", preprocessing, seed=SEED, on_epoch=progress.step
        )
    say(f"trained to {percent(accuracy)} test accuracy: {path}")


def _run(ctx: typer.Context, comment: str, line: str) -> None:
    """Print a command as one would type it, then run it in this process."""
    say("")
    if comment:
        say((f"# {comment}", "dim"))
    say(("$", "bold green"), (f" unledger {line}", "bold"))
    code = ctx.find_root().command.main(["--actor", session(ctx).who, *shlex.split(line)], standalone_mode=False)
    if code:
        raise typer.Exit(int(code))


def _conclude(ctx: typer.Context, folder: Path) -> None:
    """Print what the recorded evidence shows, and fail if it does not show that the classes were forgotten."""
    from ledger.service.versions.model_history import read_model_history

    with session(ctx).ledger() as ledger:
        known = read_model_history(ledger, MODEL)
    metrics: dict[str, Any] = known.evidence[known.live.number]["accuracy"].metrics
    after, before = metrics["test"], metrics["base_test"]
    say("")
    for k in sorted(known.live.forgotten):
        was, now = before["per_class"][k], after["per_class"][k]
        say(f"forgotten {known.model.labels[k]}: {percent(was)} -> {percent(now)} test accuracy")
    retained = RetainedAccuracy.of_metrics(metrics)
    say(f"retained classes: {retained.told(percent)} mean test accuracy")
    say("audit verify ok")
    say(f"go on by hand: cd {quoted(str(folder))} && unledger status   (and open report.html)")
    worst = max(after["per_class"][k] for k in known.live.forgotten)
    if worst > 0.01 or (retained.lost or 0.0) > 0.02:
        raise GateError("the demonstration did not show what it promises", "see the report for what it measured")
