"""Adapters of PEFT are merged as PEFT merges them, or refused with the reason.

``tests/golden/make_adapters.py`` made them, with PEFT itself.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ledger.errors import UsageError, WeightsError
from ledger.service.models.conversion import convert
from ledger.service.models.weights_reading import Names

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows

GOLDEN = Path(__file__).parents[1] / "golden" / "peft"
BASE = GOLDEN / "base.safetensors"


def _merge(adapter: Path, target: Path, base: Path | None = BASE) -> dict[str, torch.Tensor]:
    convert(adapter, target, Names(), config=None, base=base)
    return load_file(target)


@pytest.mark.parametrize("name", ["plain", "convolutions", "patterns"])
def test_weights_are_those_that_peft_merges(tmp_path: Path, name: str) -> None:
    merged = _merge(GOLDEN / name, tmp_path / "out.safetensors")
    wanted, base = load_file(GOLDEN / name / "merged.safetensors"), load_file(BASE)
    assert merged.keys() == wanted.keys()
    assert any(not torch.equal(merged[key], base[key]) for key in base)
    for key, tensor in wanted.items():
        torch.testing.assert_close(merged[key], tensor)


def test_the_base_may_be_any_weights_file(tmp_path: Path) -> None:
    state = load_file(BASE)
    torch.save({"state_dict": {f"module.{key}": tensor.half() for key, tensor in state.items()}}, tmp_path / "b.pth")
    merged = _merge(GOLDEN / "plain", tmp_path / "out.safetensors", tmp_path / "b.pth")
    wanted = load_file(GOLDEN / "plain" / "merged.safetensors")
    assert merged["fc.weight"].dtype == torch.float16
    # Half precision holds three digits.
    torch.testing.assert_close(merged["fc.weight"].float(), wanted["fc.weight"], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("name", "said"), [("dora", "DoRA"), ("lokr", "its kind is LOKR, not LORA")])
def test_what_is_no_change_of_weights_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        _merge(GOLDEN / name, tmp_path / "out.safetensors")
    assert "merge_and_unload()" in caught.value.hint
    assert not (tmp_path / "out.safetensors").exists()


def _changed(folder: Path, config: dict[str, Any], tensors: Any = None) -> Path:
    """Return a copy of the plain adapter with another configuration or other tensors."""
    shutil.copytree(GOLDEN / "plain", folder)
    said = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(said | config))
    if tensors is not None:
        path = folder / "adapter_model.safetensors"
        save_file(tensors(load_file(path)), path)
    return folder


LAYER = "base_model.model.fc.lora_A.weight"
BROKEN: dict[str, tuple[dict[str, Any], Any, str]] = {
    "no kind": ({"peft_type": None}, None, "not a configuration of PEFT"),
    "biases": ({"lora_bias": True}, None, "biases of its own"),
    "another layer": ({}, lambda t: {k.replace("fc", "gone"): v for k, v in t.items()}, "which the base lacks"),
    "another shape": ({}, lambda t: {**t, LAYER: torch.zeros(2, 9)}, r"by \(8, 9\), the base has \(8, 8\)"),
    "another rank": ({}, lambda t: {**t, LAYER: torch.zeros(3, 8)}, "do not fit each other"),
    "one of two": ({}, lambda t: {LAYER: t[LAYER]}, "one matrix of two for fc"),
    "an embedding": (
        {},
        lambda t: {**t, "base_model.model.fc.lora_embedding_A": t[LAYER] + 1},
        "no part of a plain one",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_adapter_must_fit(tmp_path: Path, kind: str) -> None:
    config, tensors, said = BROKEN[kind]
    with pytest.raises(WeightsError, match=said):
        _merge(_changed(tmp_path / "adapter", config, tensors), tmp_path / "out.safetensors")


def test_an_adapter_names_the_command_that_merges_it(tmp_path: Path, empty: Cli, rows: Rows) -> None:
    commands: list[tuple[str, ...]] = [
        ("weights", "convert", str(GOLDEN / "plain"), str(tmp_path / "x.safetensors")),
        ("weights", "inspect", str(GOLDEN / "plain")),
        ("model", "add", "pets", *rows.options(weights=GOLDEN / "plain" / "adapter_model.safetensors")),
    ]
    for words in commands:
        answer = empty.refused(WeightsError, 7, *words)
        assert f"weights convert {GOLDEN / 'plain'} merged.safetensors --base FILE" in answer.advice
    answer = empty.refused(
        UsageError, 2, "weights", "convert", str(BASE), str(tmp_path / "x.safetensors"), "--base", str(BASE)
    )
    assert "is no adapter" in answer.err
    made = empty(
        "weights", "convert", str(GOLDEN / "plain"), str(tmp_path / "x.safetensors"), "--base", str(BASE), "--json"
    )
    assert made.document["tensors"] == len(load_file(BASE))
