"""Make the golden ledger of a release: a small ledger as that release leaves it, for later ones to open and upgrade.

    python tests/golden/make_ledger.py tests/golden/rNNNN

Run it with the release's own ``unledger`` on the path: it only runs commands. It leaves the database as SQL text, the
stored objects and, if there are any, the keys; the network's code; and what the release said about it in
``expected.json``. Two requests are carried out, one is reopened by a rollback, one waits.
"""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

NETWORK = '''\
"""A network for digits that fits into a few kilobytes."""

from torch import nn


def build(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
'''
SETTINGS = ("retain_samples=20", "forget_samples=30", "rows_per_class=20", "max_rank=8", "calibration_samples=10")
TOLERANT = ("max_forgotten_accuracy=1.0", "max_retained_drop=1.0")
"""No quality gate shall stop so small a network."""


def train(path: Path) -> None:
    """Train the network on scikit-learn's digits as the ledger's own data source shows them."""
    torch.manual_seed(0)
    namespace: dict[str, Any] = {}
    exec(NETWORK, namespace)
    network = namespace["build"](10)
    digits = load_digits()
    images = (torch.from_numpy(digits.images).float() / 16 - 0.3) / 0.35
    labels = torch.from_numpy(digits.target)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimiser.zero_grad()
        loss: torch.Tensor = torch.nn.functional.cross_entropy(network(images.unsqueeze(1)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    save_file(network.state_dict(), path)


def main(folder: Path) -> None:
    """Tell the ledger's story and keep what it left."""
    folder.mkdir(parents=True)
    (folder / "digits_network.py").write_text(NETWORK)
    train(folder / "digits.safetensors")

    def run(*arguments: str) -> Any:
        # The network is imported by its module's name: paths would be those of the machine it was made on.
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["unledger", "--actor", "founder", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout) if "--json" in arguments else None

    run("init")
    options = [text for setting in (*SETTINGS, *TOLERANT) for text in ("--set", setting)]
    run(
        *("model", "add", "digits", "--arch", "digits_network:build", "--weights", "digits.safetensors"),
        *("--data", "digits", "--input-size", "1x8x8", "--mean", "0.3", "--std", "0.35", *options),
    )
    run("forget", "digits", "-c", "3", "--reason", "she asked", "--idempotency-key", "first", "--due", "2031-05-06")
    run("forget", "digits", "-c", "5", "-c", "8", "--external-id", "T-2", "--due", "2031-05-06")
    run("work")
    run("evaluate", "digits", "-e", "accuracy")
    run("rollback", "digits", "--to", "1", "--reason", "second thoughts", "--yes")
    run("forget", "digits", "-c", "7", "--due", "2031-05-06")
    expected = {
        "schema": run("db", "current", "--json")["current"],
        "head": run("audit", "verify", "--json")["head"],
        "versions": [
            {key: version[key] for key in ("version", "kind", "parent", "forgotten", "weights", "live")}
            for version in run("model", "versions", "digits", "--json")["items"]
        ],
        "requests": {item["id"]: item["state"] for item in run("request", "list", "--json")["items"]},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        (folder / "ledger.sql").write_text("\n".join(connection.iterdump()) + "\n")
    (folder / "ledger.db").unlink()
    (folder / "ledger.db-journal").unlink(missing_ok=True)
    (folder / "digits.safetensors").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
