"""The main job through the command line, on each supported database: the same answers, to the last byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ledger.cli.main import app
from safetensors.torch import save_file
from typer.testing import CliRunner

FACTORY = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, num_classes))
"""
CLASSES, SIDE = 5, 6
Run = Callable[..., Any]


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy pictures (n, 6, 6), class k bright in row k, and their classes."""
    noise = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = noise.uniform(0, 0.3, (count, SIDE, SIDE)).astype(np.float32)
    images[np.arange(count), labels] += 0.7
    return images, labels


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Return a folder with a data file, a factory and weights trained on the data."""
    x_train, y_train = pictures(400, seed=1)
    x_test, y_test = pictures(100, seed=2)
    np.savez(tmp_path / "data.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    (tmp_path / "net.py").write_text(FACTORY)
    namespace: dict[str, Any] = {}
    exec(FACTORY, namespace)
    torch.manual_seed(0)
    network = namespace["build"](CLASSES)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    images, labels = torch.from_numpy(x_train).unsqueeze(1), torch.from_numpy(y_train)
    for _ in range(60):
        optimiser.zero_grad()
        loss: torch.Tensor = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    return tmp_path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a command and returns its JSON output, if it has any."""

    def call(*arguments: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["--ledger", str(tmp_path / "ledger"), "--actor", "tester", *arguments])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in arguments else None

    return call


def digests(run: Run) -> list[str]:
    return [version["weights"] for version in run("model", "versions", "rows", "--json")["items"]]


def test_the_whole_story(database_url: str, trained: Path, run: Run) -> None:
    run("init", str(trained / "ledger"), "--db", database_url)
    run(
        *(
            "model",
            "add",
            "rows",
            "--arch",
            f"{trained / 'net.py'}:build",
            "--weights",
            str(trained / "net.safetensors"),
        ),
        *("--data", f"npz:{trained / 'data.npz'}", "--input-size", "1x6x6", "--mean", "0.3", "--std", "0.3"),
        *("--set", "max_retained_drop=0.2"),
    )
    before = run("audit", "verify", "--json")["head"], sorted((trained / "ledger").rglob("*"))
    preview = run("preview", "rows", "-c", "1", "--json")
    assert preview["accuracy"]["test"]["per_class"][1] == 0.0
    assert before == (run("audit", "verify", "--json")["head"], sorted((trained / "ledger").rglob("*")))
    run("forget", "rows", "-c", "1", "--due", "2031-05-06")
    run("forget", "rows", "-c", "3", "-c", "4")
    run("work", "--drain")
    evidence = {item["evaluator"]: item for item in run("evaluate", "rows", "--json")["evidence"]}
    test = evidence["accuracy"]["metrics"]
    assert min(test["base_test"]["per_class"]) > 0.95
    assert [test["test"]["per_class"][k] for k in (1, 3, 4)] == [0.0, 0.0, 0.0]

    plan = run("rollback", "rows", "--to", "0", "--yes", "--json")
    assert [(r["id"], r["due_at"][:10] if r["id"] == 1 else "") for r in plan["reopened"]] == [
        (1, "2031-05-06"),
        (2, ""),
    ]
    run("request", "retry", "2")
    run("work")
    run("request", "retry", "1")
    run("work")
    base, one, both, back, other, again = digests(run)
    assert (back, again) == (base, both)
    assert len({base, one, both, other}) == 4
    run("request", "withdraw", "2")
    assert digests(run)[-1] == one
    run("forget", "rows", "-c", "1")
    receipt = run("request", "show", "3", "--json")
    assert (receipt["state"], receipt["no_op"], receipt["version"]) == ("fulfilled", True, 6)

    certificate, opening = str(trained / "certificate.json"), str(trained / "openings.json")
    run("certificate", "issue", "3", "-o", certificate, "--openings", opening)
    verified = run("certificate", "verify", certificate, "--opening", opening, "--json")
    assert [item["index"] for item in verified["classes"]] == [1]
    assert [copy["version"] for copy in verified["statement"]["predicate"]["copies"]["stored"]] == [0, 3, 4]
    run("certificate", "issue", "2", code=4)

    states = {item["id"]: item["state"] for item in run("request", "list", "--json")["items"]}
    assert states == {1: "fulfilled", 2: "withdrawn", 3: "fulfilled"}
    assert run("audit", "verify", "--json")["ok"] is True
    assert all(item["problem"] is None for item in run("model", "verify", "rows", "--json")["items"])
    assert all(item["ok"] for item in run("doctor", "--json")["items"])
