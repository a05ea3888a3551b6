"""Kinds of weights files that people have: each is registered by what errors advise, or refused for its true cause."""

from __future__ import annotations

import argparse
import gzip
import json
import warnings
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from timm.models import save_for_hf
from torch import nn

from ledger.errors import LedgerError, NonFiniteError, UsageError, WeightsError
from tests.fixtures.front_door import follow
from tests.ledgers.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.ledgers.command_line import Cli

State = dict[str, torch.Tensor]


class Whole(nn.Sequential):
    """A network that is saved with its class, which must not be needed."""


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch exploded",)


def _saved(value: Any, name: str = "best.pth", **options: Any) -> Callable[[Path, State], Path]:
    """Return what writes a value made of a state dict by ``torch.save``."""

    def write(folder: Path, state: State) -> Path:
        torch.save(value(state), folder / name, **options)
        return folder / name

    return write


def _before(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def _whole(state: State) -> nn.Module:
    module = Whole(nn.Flatten(), nn.Linear(25, 5, bias=False))
    module.load_state_dict(state)
    return module


def _scripted(folder: Path, state: State) -> Path:
    with warnings.catch_warnings():
        # torch advises against what people have done all the same.
        warnings.simplefilter("ignore")
        torch.jit.script(_whole(state)).save(folder / "net.pt")  # type: ignore[no-untyped-call]
    return folder / "net.pt"


def _safetensors(change: Callable[[State], State]) -> Callable[[Path, State], Path]:
    def write(folder: Path, state: State) -> Path:
        safetensors.torch.save_file(change(state), folder / "model.safetensors")
        return folder / "model.safetensors"

    return write


def _sharded(folder: Path, state: State) -> Path:
    # Beside the weights something that is left out, so that there are two files.
    parts = {**state, "extra.weight": torch.zeros(3, 3)}
    (folder / "shards").mkdir()
    huggingface_hub.save_torch_state_dict(parts, folder / "shards", max_shard_size=300)
    return folder / "shards" / "model.safetensors.index.json"


def _bytes(data: bytes, name: str = "best.pth") -> Callable[[Path, State], Path]:
    def write(folder: Path, _state: State) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _cut(write: Callable[[Path, State], Path]) -> Callable[[Path, State], Path]:
    def cut(folder: Path, state: State) -> Path:
        path = write(folder, state)
        path.write_bytes(path.read_bytes()[:-40])
        return path

    return cut


def _zipped(folder: Path, state: State) -> Path:
    path = _safetensors(dict)(folder, state)
    (folder / "model.safetensors.gz").write_bytes(gzip.compress(path.read_bytes()))
    return folder / "model.safetensors.gz"


TIMM_ARGS = argparse.Namespace(model="rows", lr=0.1, crop_pct=None)
REGISTERED: dict[str, Callable[[Path, State], Path]] = {
    "plain state dict": _saved(dict),
    "legacy format": _saved(dict, _use_new_zipfile_serialization=False),
    "under state_dict": _saved(lambda s: {"state_dict": s, "epoch": 3}),
    "under model": _saved(lambda s: {"model": s, "optimizer": {"state": {0: torch.zeros(99)}}}),
    "under ema": _saved(lambda s: {"ema": s}),
    "DataParallel": _saved(lambda s: _before(s, "module.")),
    "torch.compile": _saved(lambda s: _before(s, "_orig_mod.")),
    "Lightning": _saved(
        lambda s: {
            "pytorch-lightning_version": "2.5.0",
            "state_dict": _before(s, "model."),
            "hyper_parameters": TIMM_ARGS,
            "loops": {},
        },
        "last.ckpt",
    ),
    "timm training": _saved(
        lambda s: {
            "epoch": 9,
            "arch": "rows",
            "version": 2,
            "metric": 91.0,
            "args": TIMM_ARGS,
            "state_dict": _before(s, "module."),
            "state_dict_ema": {k: v + 1 for k, v in s.items()},
        },
        "model_best.pth.tar",
    ),
    "whole network": _saved(_whole),
    "half precision": _safetensors(lambda s: {k: v.half() for k, v in s.items()}),
    "bfloat16": _saved(lambda s: {k: v.bfloat16() for k, v in s.items()}),
    "safetensors of a wrapper": _safetensors(lambda s: _before(s, "module.")),
    "sharded index": _sharded,
}


@pytest.mark.parametrize("kind", REGISTERED)
def test_weights_are_registered_by_what_errors_advise(empty: Cli, rows: Rows, kind: str) -> None:
    path = REGISTERED[kind](rows.folder, rows.state())
    options = rows.options(weights=path)
    ending = follow(empty, rows.folder, options)
    assert ending.error is None, ending.said
    accuracy = empty.json("model", "show", "pets")["accuracy"]
    assert accuracy["test"]["correct"] == accuracy["test"]["images"]
    assert len(ending.commands) == ("half" not in kind) + (kind == "sharded index")


def _adapted(folder: Path, _state: State) -> Path:
    torch.save({"base_model.model.1.lora_A.weight": torch.zeros(2, 25)}, folder / "adapter_model.bin")
    return folder / "adapter_model.bin"


REFUSED: dict[str, tuple[Callable[[Path, State], Path], type[LedgerError], str, str]] = {
    "TorchScript": (_scripted, WeightsError, "is a TorchScript program", "torch.jit.load(FILE).state_dict()"),
    "ONNX": (
        _bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", "net.onnx"),
        WeightsError,
        "it is an ONNX model",
        "look for a release of the model for PyTorch",
    ),
    "truncated pickle": (_cut(_saved(dict)), WeightsError, "is a damaged zip archive", "download or copy it again"),
    "truncated safetensors": (_cut(_safetensors(dict)), WeightsError, "not a safetensors", "download or copy it again"),
    "LFS pointer": (
        _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 99\n"),
        WeightsError,
        "a Git LFS pointer",
        "git lfs pull --include best.pth",
    ),
    "web page": (
        _bytes(b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"),
        WeightsError,
        "a web page",
        "/resolve/ leads to the file",
    ),
    "empty": (_bytes(b""), WeightsError, "it is empty", "download or copy it again"),
    "compressed": (_zipped, WeightsError, "compressed with gzip", "gunzip -k"),
    "runs code": (_saved(lambda s: {**s, "x": Bomb()}), WeightsError, "system, which no weights need", "you trust"),
    "NaN": (
        _safetensors(lambda s: {k: v * float("nan") for k, v in s.items()}),
        NonFiniteError,
        "NaN or infinity in 1.weight",
        "",
    ),
    "wrong number of classes": (
        _safetensors(lambda _: {"1.weight": torch.zeros(7, 25)}),
        WeightsError,
        "does not fit the network",
        "the weights tell 7 classes apart, and the data has 5",
    ),
    "another architecture": (
        _safetensors(lambda _: {"conv.weight": torch.zeros(4, 1, 3, 3), "fc.weight": torch.zeros(5, 4)}),
        WeightsError,
        "it lacks 1.weight",
        "unledger weights inspect",
    ),
    "adapter alone": (_adapted, WeightsError, "is an adapter", "merge_and_unload()"),
    "no weights": (
        _saved(lambda _: {"epoch": 3}),
        WeightsError,
        "has no weights",
        "torch.save(model.state_dict(), FILE)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_registered_says_its_true_cause(empty: Cli, rows: Rows, kind: str) -> None:
    write, error, cause, way_on = REFUSED[kind]
    path = write(rows.folder, rows.state())
    ending = follow(empty, rows.folder, rows.options(weights=path))
    assert type(ending.error) is error, ending.said
    assert ending.error.exit_code == 7
    assert cause in ending.error.message
    assert way_on in ending.error.hint
    assert empty.json("model", "list")["items"] == []
    assert not (rows.folder / "exploded").exists()


# -- folders and libraries ----------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for number in range(6):
            folder = tmp_path / "photos" / split / ("cat", "dog", "eel")[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 32), (80 * (number % 3), number, 99)).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def untrained() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).eval()


def _add(photos: Path, *options: str) -> list[str]:
    return ["--data", f"folder:{photos}", "--accept-accuracy", *options]


@pytest.mark.parametrize("kind", ["safetensors", "bin", "sharded", "with labels"])
def test_folders_of_timm_are_registered(
    empty: Cli, tmp_path: Path, photos: Path, untrained: nn.Module, kind: str
) -> None:
    folder = tmp_path / "hub"
    described = {"label_names": ["dog", "eel", "cat"]} if kind == "with labels" else None
    save_for_hf(untrained, str(folder), model_config=described, safe_serialization=kind != "bin")
    if kind == "sharded":
        (folder / "model.safetensors").unlink()
        huggingface_hub.save_torch_state_dict(untrained.state_dict(), folder, max_shard_size="500KB")
    ending = follow(empty, tmp_path, _add(photos, "--arch", f"local-dir:{folder}"))
    assert ending.error is None, ending.said
    assert len(ending.commands) == (kind in ("bin", "sharded"))
    found = empty.json("model", "show", "pets")
    assert found["architecture"] == "timm/test_resnet"
    assert found["labels"] == (["dog", "eel", "cat"] if described else ["cat", "dog", "eel"])
    assert found["preprocessing"]["crop_fraction"] == 0.95
    # What was recorded needs the folder no more.
    empty("model", "export", "pets", "-o", str(tmp_path / "out"))
    again = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    for name, tensor in untrained.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)


def test_our_own_export_is_a_folder_that_registers(
    empty: Cli, tmp_path: Path, photos: Path, untrained: nn.Module
) -> None:
    weights = tmp_path / "net.safetensors"
    safetensors.torch.save_file(untrained.state_dict(), weights)
    empty("model", "add", "first", *_add(photos, "--arch", "timm/test_resnet", "--weights", str(weights)))
    empty("model", "export", "first", "-o", str(tmp_path / "out"))
    empty("model", "add", "second", *_add(photos, "--arch", f"local-dir:{tmp_path / 'out'}"))
    first, second = (empty.json("model", "show", name) for name in ("first", "second"))
    for field in ("architecture", "preprocessing", "labels", "data_digest"):
        assert first[field] == second[field]
    assert first["version"]["weights"] == second["version"]["weights"]


def test_weights_of_torchvision_are_registered(empty: Cli, tmp_path: Path, photos: Path) -> None:
    torch.manual_seed(0)
    module = torchvision.models.squeezenet1_1(num_classes=3)
    torch.save(module.state_dict(), tmp_path / "best.pth")
    seen = empty.json("weights", "inspect", str(tmp_path / "best.pth"))
    assert [one["spec"] for one in seen["architectures"]] == ["torchvision/squeezenet1_1"]
    options = _add(photos, "--arch", "torchvision/squeezenet1_1", "--weights", str(tmp_path / "best.pth"))
    ending = follow(empty, tmp_path, [*options, "--input-size", "3x64x64"])
    assert ending.error is None, ending.said
    found = empty.json("model", "show", "pets")["preprocessing"]
    assert (found["mean"], found["crop_fraction"]) == ([0.485, 0.456, 0.406], 224 / 256)


DESCRIBED: dict[str, tuple[dict[str, Any] | None, type[LedgerError], str, str]] = {
    "transformers": (
        {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"},
        UsageError,
        "describes ResNetForImageClassification of another library",
        "--arch FILE.py:factory",
    ),
    "somebody's own": ({"architecture": "net.py:build"}, UsageError, "is built by net.py:build", "--arch net.py:build"),
    "unknown to timm": ({"architecture": "resnet19"}, UsageError, "no architecture called 'resnet19'", "resnet18"),
    "no description": (None, UsageError, "has no config.json", "unledger weights inspect"),
}


@pytest.mark.parametrize("kind", DESCRIBED)
def test_folders_of_others_say_what_they_are(
    empty: Cli, tmp_path: Path, photos: Path, untrained: nn.Module, kind: str
) -> None:
    config, error, cause, way_on = DESCRIBED[kind]
    folder = tmp_path / "hub"
    folder.mkdir()
    safetensors.torch.save_file(untrained.state_dict(), folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    ending = follow(empty, tmp_path, _add(photos, "--arch", f"local-dir:{folder}"))
    assert type(ending.error) is error, ending.said
    assert cause in ending.error.message
    assert way_on in ending.error.hint
