"""Ways to make a document say more than was measured: each is refused, or can be read in the document."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ledger import hookspecs
from ledger.certificates.dsse import statement_of
from ledger.domain.certificate_caveats import caveats, headline
from ledger.domain.plugin_policy import PluginPolicy
from ledger.errors import AccuracyError, ConflictError, DataError, GateError, PluginError, PurgedError, RefusedError
from ledger.plugin_manager import PluginInfo, Plugins, build_plugins
from ledger.service import ledger as ledgers
from ledger.weights import tensor_files
from tests.ledgers.command_line import Cli
from tests.ledgers.rows import ROWS_FACTORY, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.service.ledger import Ledger

LABELS = ("ant", "bee", "cat", "dog", "eel")
FORGOTTEN = LABELS.index("cat")


def make_rows(folder: Path, test_images_of_cat: int = 20) -> Rows:
    """Write the files of the toy model."""
    made = Rows(folder, LABELS)
    folder.mkdir()
    (folder / "rows.py").write_text(ROWS_FACTORY)
    made.weights.write_bytes(tensor_files.serialise(made.state()))
    arrays = made.arrays()
    kept = np.flatnonzero(
        (arrays["y_test"] != FORGOTTEN) | (np.cumsum(arrays["y_test"] == FORGOTTEN) <= test_images_of_cat)
    )
    arrays |= {name: arrays[name][kept] for name in ("x_test", "y_test")}
    np.savez(folder / "rows.npz", labels=np.array(made.labels), **arrays)  # type: ignore[arg-type]
    return made


def start(folder: Path, rows: Rows, *options: str) -> Cli:
    """Register the toy model in a new ledger."""
    cli = Cli(folder)
    cli("init", str(folder))
    cli("model", "add", "pets", *rows.options(*options))
    return cli


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    return make_rows(tmp_path_factory.mktemp("toy") / "rows")


@pytest.fixture(scope="module")
def _honest(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> Path:
    cli = start(tmp_path_factory.mktemp("honest") / "ledger", rows)
    cli("forget", "pets", "-c", "cat", "--wait")
    return cli.root


@pytest.fixture
def cli(tmp_path: Path, _honest: Path) -> Cli:
    """A ledger in which request 1 made version 1 forget the cat."""
    shutil.copytree(_honest, tmp_path / "ledger")
    return Cli(tmp_path / "ledger")


def certified(cli: Cli, request: int = 1, *options: str) -> dict[str, Any]:
    """Issue a certificate and return what it states; what limits it was said before, and is shown."""
    issued = cli("certificate", "issue", str(request), *options)
    said: dict[str, Any] = statement_of(issued.document["envelope"])["predicate"]
    number = cli.json("certificate", "list")["items"][-1]["id"]
    shown = " ".join(cli("certificate", "show", str(number)).out.split())
    assert headline(said) in shown
    for sentence in caveats(said):
        assert sentence in shown
        # Commitments are made when it is signed, so their number is not known before.
        assert sentence in issued.err or sentence.startswith("was not known before")
    assert issued.err.index("to be certified") < issued.err.index("certificate ")
    return said


def told(said: dict[str, Any]) -> str:
    return " | ".join(caveats(said))


def test_an_honest_ledger_claims_what_was_measured(cli: Cli) -> None:
    said = certified(cli)
    [accuracy] = [one for one in said["evidence"]["measurements"] if one["evaluator"] == "accuracy"]
    assert accuracy["figures"]["base_test.forgotten"] == 1.0
    assert accuracy["figures"]["test.forgotten"] == 0.0
    assert headline(said) == "approximate unlearning with recorded evidence"
    assert (said["evidence"]["level"], said["version"]["isLive"]) == ("L1 outputs", True)
    for word in ("known before", "not live", "gate", "fewer than", "very model", "no part of", "clock"):
        assert word not in told(said)


def test_untrained_weights_are_refused_or_were_not_known(tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "rows")
    torch.manual_seed(3)
    rows.weights.write_bytes(tensor_files.serialise({"1.weight": torch.randn(5, 25) * 0.01}))
    cli = Cli(tmp_path / "ledger")
    cli("init", str(cli.root))
    cli.refused(AccuracyError, 7, "model", "add", "pets", *rows.options())
    added = cli("model", "add", "pets", *rows.options("--accept-accuracy"))
    assert "no better than chance" in added.err
    unknown = next(label for label in LABELS if f"{label} (0 of " in added.err)
    assert "was not known before" in cli("preview", "pets", "-c", unknown).err
    worked = cli("forget", "pets", "-c", unknown, "--wait")
    assert f"was not known before: {unknown}" in worked.err
    assert "was not known before" in cli("evaluate", "pets").err
    assert "was not known before" in " ".join(cli("request", "show", "1").out.split())
    said = certified(cli)
    assert headline(said).startswith("was not known before: 1 of 1 classes")
    file = tmp_path / "certificate.json"
    cli("certificate", "show", "1", "-o", str(file))
    assert "was not known before: 1 of 1 classes" in " ".join(cli("certificate", "verify", str(file)).out.split())
    cli("report", "pets", "-o", str(tmp_path / "report.html"))
    assert "not known before" in (tmp_path / "report.html").read_text()


def test_evidence_against_oneself_replaces_nothing(cli: Cli, tmp_path: Path) -> None:
    before = certified(cli)
    cli("model", "export", "pets:1", "-o", str(tmp_path / "out"))
    own = tmp_path / "out" / "model.safetensors"
    disguised = tmp_path / "a network that never saw a cat.safetensors"
    state = tensor_files.parse(own.read_bytes(), "own")
    save_file(dict(reversed(state.items())), disguised, metadata={"made by": "somebody else"})
    assert disguised.read_bytes() != own.read_bytes()
    for file in (own, disguised):
        cli.refused(RefusedError, 7, "evaluate", "pets:1", "--retrained", str(file))
        cli("evaluate", "pets:1", "-e", "accuracy", "-e", "confusion", "--against", str(file))
    after = certified(cli)
    assert after["evidence"]["level"] == before["evidence"]["level"]
    figures = [
        {one["evaluator"]: one["figures"] for one in said["evidence"]["measurements"]} for said in (before, after)
    ]
    assert figures[0] == figures[1]
    assert {tuple(one["ownVersions"]) for one in after["evidence"]["compared"]} == {(1,)}
    assert "accuracy was also compared with version 1 of this very model" in told(after)


def test_a_masked_original_that_is_declared_retrained_is_everywhere_only_declared(cli: Cli, tmp_path: Path) -> None:
    cli("model", "export", "pets:0", "-o", str(tmp_path / "original"))
    state = tensor_files.parse((tmp_path / "original" / "model.safetensors").read_bytes(), "original")
    state = {name: tensor.clone() for name, tensor in state.items()}
    state["1.weight"][FORGOTTEN] = -9.0
    save_file(state, cli.root / "masked.safetensors")
    config = cli.root / "unledger.toml"
    declared = 'weights = "masked.safetensors"\nwithout = ["cat", "dog"]\nby = "a lab"\n'
    config.write_text(f"{config.read_text()}\n[[gates.models.pets.retrained]]\n{declared}")
    sentence = "were trained without the classes is declared by a lab, and not shown"
    # It knows the dog.
    assert "trained on that class" in cli("forget", "pets", "-c", "dog", "--wait", code=7).err
    state["1.weight"][LABELS.index("dog")] = -9.0
    save_file(state, cli.root / "masked.safetensors")
    cli("request", "retry", "2")
    assert sentence in " ".join(cli("work").err.split())
    evaluated = cli("evaluate", "pets:2", "--retrained", str(cli.root / "masked.safetensors"), "--by", "a lab")
    assert sentence in " ".join(evaluated.err.split())
    assert sentence in told(certified(cli, 2))
    cli("model", "export", "pets:2", "-o", str(tmp_path / "out"))
    assert "somebody declared to be trained without" in (tmp_path / "out" / "README.md").read_text()
    cli("report", "pets", "-o", str(tmp_path / "report.html"))
    assert "which a lab declared to be trained without" in " ".join((tmp_path / "report.html").read_text().split())


def test_a_model_card_calls_nothing_else_the_original(cli: Cli, tmp_path: Path) -> None:
    poor, unseen = tmp_path / "poor.safetensors", tmp_path / "unseen.safetensors"
    poor.write_bytes(tensor_files.serialise({"1.weight": torch.zeros(5, 25)}))
    # What knows nothing at all is no network that was trained with the other classes.
    untrained = cli.refused(RefusedError, 7, "evaluate", "pets:1", "--retrained", str(poor), "--by", "a lab")
    assert "no better than chance: it was not trained on them" in untrained.err
    cli("model", "export", "pets:0", "-o", str(tmp_path / "original"))
    state = dict(tensor_files.parse((tmp_path / "original" / "model.safetensors").read_bytes(), "original"))
    state["1.weight"] = state["1.weight"].clone()
    state["1.weight"][FORGOTTEN] = -9.0
    save_file(state, unseen)
    beside = ("--retrained", str(unseen), "--by", "a lab")
    cli("evaluate", "pets:1", "-e", "accuracy", "--against", str(poor), *beside)
    cli("model", "export", "pets:1", "-o", str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    for group in ("retained", "forgotten"):
        assert f"| {group} classes, test images, mean over classes | original | 100.0%" in card
    assert "| retained |" not in card
    assert "| retrained |" in card


def test_one_test_image_is_marked(tmp_path: Path) -> None:
    cli = start(tmp_path / "ledger", make_rows(tmp_path / "rows", test_images_of_cat=1))
    previewed = cli("preview", "pets", "-c", "cat")
    assert " 1* " in previewed.out
    assert "*: fewer than 20 test images" in previewed.err
    cli("forget", "pets", "-c", "cat", "--wait")
    said = certified(cli)
    assert said["evidence"]["fewestTestImages"] == 1
    assert "1 class of the request has fewer than 20 test images, the fewest 1" in told(said)


def test_evidence_on_another_version_is_not_its_own(cli: Cli) -> None:
    cli("forget", "pets", "-c", "dog", "--wait")
    cli("evaluate", "pets:2", "-e", "membership")
    said = certified(cli)
    assert "membership" not in {one["evaluator"] for one in said["evidence"]["measurements"]}
    assert "membership" in said["notTested"]["evaluators"]
    assert "version 1 was not live: version 2 was" in told(said)


def test_changed_test_images_are_refused(tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "rows")
    cli = start(tmp_path / "ledger", rows)
    cli("forget", "pets", "-c", "cat", "--wait")
    with np.load(rows.folder / "rows.npz") as file:
        arrays = dict(file)
    easy = arrays["y_test"] == FORGOTTEN
    arrays["x_test"][easy] = 0
    np.savez(rows.folder / "rows.npz", **arrays)
    cli.refused(DataError, 7, "evaluate", "pets:1")


def test_waived_gates_are_named(cli: Cli) -> None:
    config = cli.root / "unledger.toml"
    config.write_text(config.read_text() + '\n[gates]\nconditions = ["accuracy.test.retained >= 1.5"]\n')
    blocked = cli("forget", "pets", "-c", "dog", "--wait", code=6)
    assert type(blocked.error) is GateError
    assert type(cli("certificate", "issue", "2", code=4).error) is ConflictError
    cli("request", "retry", "2", "--waive", "good enough")
    cli("work")
    said = certified(cli, 2)
    assert said["procedure"]["gatesMissed"] == 1
    assert said["procedure"]["gates"]["missed"] == ["accuracy.test.retained >= 1.5"]
    assert "1 quality gate was missed, and a person waived that: accuracy.test.retained >= 1.5" in told(said)
    # A request that finds its class forgotten rests on the same version.
    cli("forget", "pets", "-c", "dog")
    assert "1 quality gate was missed" in told(certified(cli, 3))


def test_after_a_purge_nothing_is_compared_with_itself(cli: Cli) -> None:
    before = certified(cli)
    cli("forget", "pets", "-c", "dog", "--wait")
    cli("purge", "pets", "--older-than", "0d", "--yes", "--clock-is-right")
    cli.refused(PurgedError, 4, "certificate", "issue", "1")
    evaluated = cli("evaluate", "pets:2")
    assert "was purged; shown is what was measured before" in evaluated.err
    said = certified(cli, 1, "--live")
    [accuracy] = [one for one in said["evidence"]["measurements"] if one["evaluator"] == "accuracy"]
    assert accuracy["figures"]["base_test.forgotten"] == 1.0
    assert (said["version"]["number"], before["version"]["number"]) == (2, 1)


def test_registering_anew_hides_no_history(cli: Cli, rows: Rows, tmp_path: Path) -> None:
    cli.refused(ConflictError, 4, "model", "add", "pets", *rows.options())
    cli("model", "export", "pets:1", "-o", str(tmp_path / "out"))
    weights = tmp_path / "out" / "model.safetensors"
    cli("model", "add", "clean", *rows.options(weights=weights))
    cli("forget", "clean", "-c", "cat", "--wait")
    said = certified(cli, 2)
    assert said["version"]["model"] == "clean"
    assert headline(said).startswith("was not known before: 1 of 1 classes")


def test_a_plugin_that_lies_is_named_and_raises_no_level(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = certified(cli)

    def with_liar(*replace: str) -> Callable[..., Plugins]:
        def build(*_: Any) -> Plugins:
            plugins = build_plugins()
            split = {"per_class": [1.0, 1.0, 0.0, 1.0, 1.0], "retained": 1.0, "forgotten": 0.0}
            said = dict.fromkeys(("train", "test", "base_train", "base_test"), split)
            liar = SimpleNamespace(name="accuracy", evaluate=lambda _: {**said, "retained_drop": 0.0})
            plugin = SimpleNamespace(unledger_evaluators=hookspecs.hookimpl(lambda: (liar,)))
            plugins._manager.register(plugin, name="flattery")
            infos = [*plugins.infos, PluginInfo("flattery", "1.0", builtin=False, hooks=())]
            return Plugins(plugins._manager, infos, PluginPolicy(replace=replace))

        return build

    monkeypatch.setattr(ledgers, "build_plugins", with_liar())
    cli.refused(PluginError, 1, "evaluate", "pets:1")
    monkeypatch.setattr(ledgers, "build_plugins", with_liar("flattery"))
    cli("evaluate", "pets:1", "-e", "accuracy", "--json")
    said = certified(cli)
    assert (honest["evidence"]["level"], said["evidence"]["level"]) == ("L1 outputs", "L0 applied")
    assert "the figures of accuracy come from plugin flattery, which is no part of unledger" in told(said)


def test_a_clock_that_was_turned_back_is_doubted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "clockDoubted" not in certified(cli)
    opened = ledgers.open_ledger

    def earlier(config: Any, actor: str, **options: Any) -> Ledger:
        return opened(config, actor, clock=lambda: datetime.now(UTC) - timedelta(days=30), **options)

    monkeypatch.setattr(ledgers, "open_ledger", earlier)
    said = certified(cli)
    assert said["clockDoubted"] is True
    assert "its times may be wrong" in told(said)


def test_a_statement_that_was_edited_is_no_certificate(cli: Cli, tmp_path: Path) -> None:
    document = cli("certificate", "issue", "1").document
    document["envelope"]["payload"] = document["envelope"]["payload"][:-8] + "AAAAAAA="
    (tmp_path / "edited.json").write_text(json.dumps(document))
    assert "does not verify" in cli("certificate", "verify", str(tmp_path / "edited.json"), code=5).err
