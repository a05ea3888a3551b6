"""``unledger weights convert``: weights from whatever training scripts write, without running any of their code."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import json
import pathlib
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from ledger.documents.weights import converted_document
from ledger.errors import ConflictError, NotFoundError, RefusedError, UsageError, WeightsError
from ledger.service.models.conversion import convert
from ledger.service.models.weights_reading import Names
from ledger.weights import tensor_files
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ledgers.rows import Rows


class Attributes(dict[str, Any]):
    """A dictionary of a training framework's own."""


class Whole(nn.Module):
    """A network that is saved as a whole; its class must not be needed."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        inner = nn.Linear(25, 5, bias=False)
        inner.weight.data = weight.clone()
        self.add_module("1", inner)
        self.register_buffer("passing", torch.zeros(3), persistent=False)


def _optimizer(weight: torch.Tensor) -> dict[str, Any]:
    parameter = nn.Parameter(weight.clone())
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = weight.clone()
    optimizer.step()
    return optimizer.state_dict()


def _tied(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"1.weight": weight, "2.weight": weight}


W = torch.Tensor
TRAINED: dict[str, tuple[Callable[[W], Any], dict[str, Any]]] = {
    "state dict": (lambda w: {"1.weight": w}, {"key": "", "left_out": []}),
    "ordered": (lambda w: collections.OrderedDict({"1.weight": w}), {"key": ""}),
    "parameter": (lambda w: {"1.weight": nn.Parameter(w)}, {"key": ""}),
    "odd strides": (lambda w: {"1.weight": w.t().contiguous().t()}, {"key": ""}),
    "state_dict": (lambda w: {"state_dict": {"1.weight": w}, "epoch": 3}, {"key": "state_dict", "left_out": ["epoch"]}),
    "model": (
        lambda w: {"model": {"1.weight": w}, "optimizer": _optimizer(w)},
        {"key": "model", "left_out": ["optimizer"]},
    ),
    "model_state_dict": (lambda w: {"model_state_dict": {"1.weight": w}, "loss": torch.tensor(3.0)}, {}),
    "nested": (lambda w: {"checkpoint": {"model": {"1.weight": w}}}, {"key": "checkpoint.model"}),
    "averaged too": (
        lambda w: {"state_dict": {"1.weight": w}, "state_dict_ema": {"1.weight": w + 1}},
        {"key": "state_dict", "others": [{"key": "state_dict_ema", "tensors": 1}]},
    ),
    "only averaged": (lambda w: {"state_dict_ema": {"1.weight": w}}, {"key": "state_dict_ema"}),
    "parallel": (lambda w: {"module.1.weight": w}, {"removed": ["module."]}),
    "compiled": (lambda w: {"_orig_mod.1.weight": w}, {"removed": ["_orig_mod."]}),
    "both": (lambda w: {"module._orig_mod.1.weight": w}, {"removed": ["_orig_mod.", "module."]}),
    "part compiled": (lambda w: {"model.1._orig_mod.weight": w}, {"removed": ["_orig_mod.", "model."]}),
    "Lightning": (
        lambda w: {"pytorch-lightning_version": "2.1", "state_dict": {"model.1.weight": w}, "loops": {}},
        {"removed": ["model."]},
    ),
    "averaged inside": (
        lambda w: {"model.1.weight": w, "model_ema.1.weight": w + 1, "model_ema.decay": torch.tensor(0.9)},
        {"removed": ["model."], "left_out": ["model_ema.1.weight", "model_ema.decay"]},
    ),
    "swa": (lambda w: {"n_averaged": torch.tensor(4), "module.1.weight": w}, {"left_out": ["n_averaged"]}),
    "counters beside": (lambda w: {"1.weight": w, "epoch": 3, "best": 0.5}, {"left_out": ["epoch", "best"]}),
    "options": (
        lambda w: {"state_dict": {"1.weight": w}, "args": argparse.Namespace(lr=0.1)},
        {"not_run": ["argparse.Namespace"]},
    ),
    "numbers of NumPy": (lambda w: {"state_dict": {"1.weight": w}, "best": np.float64(0.9), "a": np.zeros(2)}, {}),
    "paths": (lambda w: {"state_dict": {"1.weight": w}, "out": pathlib.PurePosixPath("a/b")}, {}),
    "default dictionary": (lambda w: {"state_dict": {"1.weight": w}, "log": collections.defaultdict(list, a=[1])}, {}),
    "namespace": (lambda w: {"state_dict": {"1.weight": w}, "cfg": SimpleNamespace(lr=1)}, {}),
    "own dictionary": (lambda w: Attributes(state_dict=Attributes({"1.weight": w})), {"key": "state_dict"}),
    "DeepSpeed": (lambda w: {"module": {"1.weight": w}, "ds_version": "0.1", "optimizer": None}, {"key": "module"}),
}


WHOLE: dict[str, tuple[Callable[[W], Any], dict[str, Any]]] = {
    "whole network": (Whole, {"key": ""}),
    "whole network in it": (lambda w: {"model": Whole(w), "epoch": 1}, {"key": "model", "left_out": ["epoch"]}),
    "parallel network": (lambda w: nn.DataParallel(Whole(w)), {"removed": ["module."]}),
}


@pytest.mark.parametrize(("make", "said"), WHOLE.values(), ids=WHOLE)
def test_weights_are_found_in_a_whole_network_whose_class_is_not_loaded(
    tmp_path: Path, make: Callable[[W], Any], said: dict[str, Any]
) -> None:
    test_weights_are_found_in_what_training_scripts_write(tmp_path, make, said, legacy=False)
    torch.save(make(torch.ones(5, 25)), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="cannot be read without running its code") as caught:
        convert(tmp_path / "old.pth", tmp_path / "old.safetensors", Names(), config=None)
    assert "torch.save(model.state_dict(), FILE)" in caught.value.hint


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("make", "said"), TRAINED.values(), ids=TRAINED)
def test_weights_are_found_in_what_training_scripts_write(
    tmp_path: Path, make: Callable[[W], Any], said: dict[str, Any], *, legacy: bool
) -> None:
    source, out, weight = tmp_path / "best.pth.tar", tmp_path / "out.safetensors", torch.rand(5, 25)
    torch.save(make(weight), source, _use_new_zipfile_serialization=not legacy)
    made = convert(source, out, Names(), config=None)
    assert out.read_bytes() == tensor_files.serialise({"1.weight": weight})
    document = converted_document(source, out, made)
    assert (document["kind"], document["tensors"]) == ("torch.save", 1)
    assert {key: document[key] for key in said} == said


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (lambda w: {"a": {"x": w}, "b": {"y": w}}, ["--key", "b"], ["y"]),
        (lambda w: {"ema": {"x": w}, "model": {"x": w, "y": w}}, ["--key", "ema"], ["x"]),
        (lambda w: {"model.x": w, "ema.x": w}, ["--prefix", "ema."], ["x"]),
        (lambda w: {"model.x": w, "loss.x": w}, ["--prefix", "model."], ["x"]),
        (lambda w: {"model.x": w, "loss.x": w}, [], ["loss.x", "model.x"]),
        (lambda w: {"model.x": w, "loss.x": w}, ["--leave-out", "loss.*"], ["x"]),
        (lambda w: {"model.x": w}, ["--keep-names"], ["model.x"]),
        (lambda w: {"x": w}, ["--add-prefix", "net."], ["net.x"]),
        (_tied, [], ["1.weight", "2.weight"]),
    ],
)
def test_options_choose(tmp_path: Path, make: Any, options: list[str], names: list[str]) -> None:
    torch.save(make(torch.ones(2, 2)), tmp_path / "in.pth")
    Cli(tmp_path / "nowhere")(
        "weights", "convert", str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors"), *options
    )
    state = tensor_files.parse((tmp_path / "out.safetensors").read_bytes(), "out")
    assert sorted(state) == names


def _sharded(folder: Path) -> Path:
    tensor = torch.ones(2)
    safetensors.torch.save_file({"a": tensor}, folder / "m-00001-of-00002.safetensors")
    torch.save({"b": tensor}, folder / "m-00002-of-00002.bin")
    index = {"metadata": {}, "weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.bin"}}
    path = folder / "m.safetensors.index.json"
    path.write_text(json.dumps(index))
    return path


def test_several_files_are_joined(empty: Cli, tmp_path: Path) -> None:
    answer = empty("weights", "convert", str(_sharded(tmp_path)), str(tmp_path / "out.safetensors"), "--json")
    assert (answer.document["kind"], answer.document["tensors"]) == ("index", 2)
    (tmp_path / "m-00002-of-00002.bin").unlink()
    args = ("weights", "convert", str(tmp_path / "m.safetensors.index.json"), str(tmp_path / "other.safetensors"))
    empty.refused(NotFoundError, 3, *args)
    (tmp_path / "m.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')
    assert "names a file elsewhere" in empty.refused(WeightsError, 7, *args).err


def test_it_needs_no_ledger_and_overwrites_nothing(empty: Cli, rows: Rows, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    command = ("weights", "convert", str(rows.weights), str(out))
    Cli(tmp_path / "nowhere")(*command)
    empty.refused(ConflictError, 4, *command)
    out.write_text("mine")
    empty(*command, "--force")
    assert out.read_bytes() == rows.weights.read_bytes()
    empty.refused(UsageError, 2, "weights", "convert", str(out), str(out), "--force")
    empty.refused(RefusedError, 7, *command[:3], str(empty.root / "keys" / "new"))
    empty.refused(UsageError, 2, *command[:3], str(tmp_path / "x"), "--key", "nothing")
    empty.refused(UsageError, 2, *command[:3], str(tmp_path / "x"), "--prefix", "nothing.")
    empty.refused(UsageError, 2, *command[:3], str(tmp_path / "x"), "--leave-out", "*")
    assert not (tmp_path / "x").exists()


class Runs:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _wide() -> torch.Tensor:
    return torch.zeros(1).expand(10**9)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Runs(__import__("os").system, "touch exploded"), "asks to run posix.system"),
        (Runs(eval, "1"), "asks to run"),
        (Runs(__import__("subprocess").Popen, ["touch", "exploded"]), "asks to run subprocess.Popen"),
        (Runs(pathlib.Path.touch, pathlib.Path("exploded")), "cannot be read without running its code"),
        ({"epoch": 3}, "has no weights"),
        ([torch.ones(2)], "has no weights"),
        (torch.ones(2), "has no weights"),
        ({"x": torch.ones(2).to_sparse()}, "sparse, quantised"),
        ({"x": torch.ones(2, device="meta")}, "without values"),
        ({"x": torch.zeros(0), "y": torch.zeros(0)}, "zero_to_fp32"),
        ({"x": _wide()}, "announces 4,000,000,000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, said: str, *, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(value, tmp_path / "in.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError) as caught:
        convert(Path("in.pth"), Path("out.safetensors"), Names(), config=None)
    assert said in caught.value.message + caught.value.hint
    assert not {"exploded", "out.safetensors"} & {path.name for path in tmp_path.iterdir()}


def _torchscript() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in ("m/code/__torch__.py", "m/data.pkl", "m/constants.pkl"):
            archive.writestr(name, b"\x80\x02}.")
    return made.getvalue()


def _archive(compression: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    return made.getvalue()


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return made.getvalue()


def _arrays() -> bytes:
    made = io.BytesIO()
    np.savez(made, x=np.zeros(2))
    return made.getvalue()


FOREIGN: dict[str, tuple[str, bytes, str, str]] = {
    "empty": ("m.safetensors", b"", "it is empty", "download"),
    "pointer": (
        "m.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n",
        "a Git LFS pointer",
        "git lfs pull --include m.safetensors",
    ),
    "page": ("m.safetensors", b"\n<!DOCTYPE html>\n<html lang=en>", "a web page", "/resolve/"),
    "error": ("m.safetensors", b"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML document", "address"),
    "JSON": ("config.json", b'{"architectures": ["ResNet"]}', "a JSON document", "name the weights file"),
    "text": ("m.safetensors", "Zugriff verweigert – bitte anmelden".encode(), "a text file", "name the weights file"),
    "gzip": ("m.safetensors.gz", gzip.compress(b"x"), "compressed with gzip", "gunzip -k"),
    "tar": ("m.tar", _tar(), "a tar archive", "tar -xf"),
    "arrays": ("m.npz", _arrays(), "an archive of NumPy arrays", "save_file"),
    "HDF5": ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file", "torch network"),
    "ONNX": ("m.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(60), "an ONNX model", "torch network"),
    "TF Lite": ("m.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(60), "a TensorFlow Lite model", "torch network"),
    "TensorFlow": ("m.ckpt.data-00000-of-00001", bytes(range(200)), "a file of TensorFlow", "torch network"),
    "GGUF": ("m.gguf", b"GGUF\x03" + bytes(60), "a GGUF file", "torch network"),
    "image": ("m.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(60), "a PNG image", "name the weights file"),
}


@pytest.mark.parametrize(("name", "data", "said", "hint"), FOREIGN.values(), ids=FOREIGN)
def test_another_kind_of_file_is_called_what_it_is(
    tmp_path: Path, name: str, data: bytes, said: str, hint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for act in (tensor_files.read_file, lambda path: convert(path, tmp_path / "out", Names(), config=None)):
        with pytest.raises(WeightsError, match=said) as caught:
            act(path)
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_torchscript(), "a TorchScript program"),
        (_archive(zipfile.ZIP_DEFLATED), "that torch did not write"),
        (_archive(zipfile.ZIP_STORED), "damaged"),
        (b"PK\x03\x04" + bytes(50), "a damaged zip archive"),
        (b"\x80\x02}q\x00.", "was not written by torch.save"),
        (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01.", "was not written by torch.save"),
        (b"\x80\x02" + bytes(50), "was not written by torch.save"),
    ],
)
def test_a_pickle_that_cannot_be_read_says_so(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "in.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        convert(tmp_path / "in.pth", tmp_path / "out", Names(), config=None)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["m.safetensors", "other.bin"], "m.safetensors"),
        (["pytorch_model.bin"], "pytorch_model.bin"),
        ([".metadata", "__0_0.distcp"], "dcp_to_torch"),
        (["zero_pp_rank_0_mp_rank_00_optim_states.pt"], "zero_to_fp32.py"),
        (["saved_model.pb"], "TensorFlow"),
        ([], "name the safetensors file in it"),
    ],
)
def test_a_folder_says_which_file_is_meant(tmp_path: Path, names: list[str], hint: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    for act in (tensor_files.read_file, lambda path: convert(path, tmp_path / "out", Names(), config=None)):
        with pytest.raises(UsageError) as caught:
            act(folder)
        assert hint in caught.value.hint
