"""What an installation without the engine carries out, and what it refuses, on a ledger made elsewhere."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "golden" / "r0002"
"""A ledger that an earlier release made, with the engine: four versions, three requests, their weights and keys."""

ENGINE = ("torch", "torchvision", "timm", "sklearn", "scipy", "numpy", "PIL", "safetensors")
"""Modules of the engine."""
WEB = ("fastapi", "starlette", "uvicorn", "prometheus_client")
"""Modules of the server."""

WORKS = (
    "--help",
    "--version",
    "init ../another",
    "db upgrade",
    "db current --json",
    "db check",
    "audit adopt digits --yes",
    "doctor",
    "plugins",
    "plugins --check",
    "plugins --json",
    "model list",
    "model show digits",
    "model versions digits --json",
    "model versions digits --at today",
    "model verify digits",
    "model spaces digits",
    "model export digits:1 -o ../exported",
    "forget digits -c 6 --needs-approval --reason 'she asked'",
    "forget digits -c 4 --due 'in 30 days' --idempotency-key k-4",
    "forget digits -c 4 --due 'in 30 days' --idempotency-key k-4",
    "request list",
    "request show 4 --json",
    "request approve 4 --reason checked",
    "request hold 4",
    "request release 4",
    "request cancel 4 --reason mistaken",
    "request deny 2 --reason 'no right to it'",
    "status",
    "status --json",
    "audit log",
    "audit verify",
    "audit checkpoint -o ../checkpoint.txt",
    "audit verify --against ../checkpoint.txt",
    "audit key",
    "audit export -o ../log.jsonl",
    "certificate issue 1 -o ../certificate.json --openings ../openings.json",
    "certificate list",
    "certificate show 1",
    "certificate verify ../certificate.json --opening ../openings.json",
    "certificate verify ../certificate.json --weights ../exported/model.safetensors",
    "rollback digits --to 0 --reason 'second thoughts' --dry-run",
    "rollback digits --to 0 --reason 'second thoughts' --yes",
    "request withdraw 1 --reason 'it was reopened'",
    "request retry 5 --solver projection --reason again",
    "report digits -o ../page.html",
    "purge digits --dry-run",
    "purge digits --yes",
    "fsck --read-data",
    "gc",
    "backup ../copy --with-keys ../keys",
    "restore ../copy --into ../restored --keys ../keys",
    "audit verify --json",
    "recover --help",
)
"""In order; each ends with 0 or the code beside it in `CODES`."""
CODES = {"request retry 5 --solver projection --reason again": 4}
"""It is queued: nothing to retry. That there is such a solver is known."""

REFUSED = (
    "work --once",
    "work --drain --json",
    "work --forever",
    "forget digits -c 1 --wait",
    "preview digits -c 1",
    "evaluate digits",
    "model add other --arch timm/resnet18 --weights ../exported/model.safetensors --data digits",
    "model rebind digits",
    "model diff digits 0 1",
    "model coverage digits",
    "weights convert ../exported/model.safetensors ../converted.safetensors",
    "demo ../demonstration",
    "request withdraw 1 --reason 'she agreed again'",
)
"""Each ends with 1, names the extra to install, and leaves the ledger as it is."""

RUNNER = """
import json, shlex, sys

OUT_OF_REACH = set(sys.argv[1].split(","))


class OutOfReach:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OUT_OF_REACH:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, OutOfReach())
from ledger.cli.main import app
from typer.testing import CliRunner

for line in sys.stdin:
    result = CliRunner().invoke(app, shlex.split(line), prog_name="unledger")
    failed = result.exception
    crash = None if failed is None or isinstance(failed, SystemExit) else f"{type(failed).__name__}: {failed}"
    print(json.dumps([result.exit_code, result.stdout, result.stderr, crash]), flush=True)
assert not OUT_OF_REACH & {name.partition(".")[0] for name in sys.modules}
"""


def answers(
    folder: Path, lines: Sequence[str], python: str | Path = sys.executable, out_of_reach: Sequence[str] = ENGINE + WEB
) -> list[list[Any]]:
    """Run command lines in one process that cannot import some modules; return code, output, talk and crash of each."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "UNLEDGER"))}
    done = subprocess.run(
        [python, "-P", "-c", RUNNER, ",".join(out_of_reach)],
        input="\n".join(lines),
        cwd=folder,
        env=environment | {"UNLEDGER_PLUGINS": "", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ledger_made_elsewhere(folder: Path) -> Path:
    """Copy the ledger of the earlier release into a folder, and return where it is."""
    root = folder / "ledger"
    shutil.copytree(GOLDEN, root, ignore=shutil.ignore_patterns("ledger.sql", "expected.json"))
    with closing(sqlite3.connect(root / "ledger.db")) as connection:
        connection.executescript((GOLDEN / "ledger.sql").read_text())
        connection.commit()
    for path in (root, *root.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return root
