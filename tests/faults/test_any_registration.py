"""``model add`` on whatever people write: it registers and says how accurate, or it refuses and says why."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ledger.errors import LedgerError
from tests.ledgers.command_line import Cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLES = 500 if os.environ.get("FULL_SIZE") == "1" else 12
"""Read once at import: tests run with the environment guarded."""
CLASSES = ("ant", "bee", "cat")
SIDE = 8
FACTORY = """
from torch import nn


def build(num_classes, normed=True):
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes)]
    return nn.Sequential(*(layers if normed else [nn.Flatten(), nn.Linear(64, num_classes)]))
"""


@dataclass
class Given:
    """What one registration is given."""

    weights: bytes
    images: dict[str, bytes]
    options: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


State = dict[str, torch.Tensor]


def _state(draw: Any) -> State:
    """Return weights that fit, or nearly."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 3)))

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) - 0.5

    state = {"0.weight": random(4, 1, 3, 3), "0.bias": random(4), "1.weight": random(4), "1.bias": random(4)}
    state |= {"1.running_mean": random(4), "1.running_var": torch.ones(4), "1.num_batches_tracked": torch.tensor(1)}
    state |= {"4.weight": random(3, 256), "4.bias": random(3)}
    if draw(st.integers(0, 3)) == 0:
        state = {"1.weight": state["4.weight"][:, :64], "1.bias": state["4.bias"]}
    for change in draw(st.lists(st.sampled_from(tuple(CHANGES)), max_size=2)):
        state = CHANGES[change](state, draw)
    return state


def _changed_shape(state: State, draw: Any) -> State:
    name = draw(st.sampled_from(sorted(state)))
    return state | {name: state[name].reshape(-1)[: draw(st.integers(0, 4))].clone()}


def _changed_kind(state: State, draw: Any) -> State:
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool, torch.complex64)
    kind = draw(st.sampled_from(kinds))
    return {key: tensor if tensor.is_complex() else tensor.to(kind) for key, tensor in state.items()}


def _changed_value(state: State, draw: Any) -> State:
    name = draw(st.sampled_from(sorted(state)))
    value = draw(st.sampled_from((float("nan"), float("inf"), 0.0, 1e30)))
    return state | ({name: torch.full_like(state[name], value)} if state[name].dtype == torch.float32 else {})


def _dropped(state: State, draw: Any) -> State:
    name = draw(st.sampled_from(sorted(state)))
    return {key: tensor for key, tensor in state.items() if key != name or len(state) == 1}


def _prefixed(state: State, draw: Any) -> State:
    prefix = draw(st.sampled_from(("module.", "_orig_mod.", "model.", "net.backbone.")))
    return {prefix + key: tensor for key, tensor in state.items()}


CHANGES: dict[str, Callable[[State, Any], State]] = {
    "drop": _dropped,
    "add": lambda state, draw: state | {draw(st.sampled_from(("ema.0.weight", "fc.bias", "é.weight"))): torch.ones(2)},
    "shape": _changed_shape,
    "kind": _changed_kind,
    "value": _changed_value,
    "prefix": _prefixed,
    "copy": lambda state, _: state | {f"ema.{key}": tensor.clone() for key, tensor in state.items()},
}


@st.composite
def checkpoints(draw: Any) -> bytes:
    """Weights files: whole and damaged, of several kinds."""
    state = _state(draw)
    kind = draw(st.sampled_from(("safetensors",) * 6 + ("zip", "legacy", "wrapped", "text", "bytes")))
    if kind == "safetensors":
        metadata = draw(st.sampled_from((None, {"format": "pt"}, {"4.bias": "0.bias"}, {"5.bias": "0.bias"})))
        data: bytes = safetensors.torch.save({name: t.contiguous().clone() for name, t in state.items()}, metadata)
    elif kind in ("zip", "legacy", "wrapped"):
        file = io.BytesIO()
        value = {"state_dict": state, "epoch": 3} if kind == "wrapped" else state
        torch.save(value, file, _use_new_zipfile_serialization=kind != "legacy")
        data = file.getvalue()
    elif kind == "text":
        data = draw(
            st.sampled_from((b"", b"<html>", b'{"weight_map": {}}', b"version https://git-lfs.github.com/spec/"))
        )
    else:
        data = draw(st.binary(max_size=64))
    damage = draw(st.sampled_from(("none",) * 6 + ("cut", "longer", "flipped")))
    if damage == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if damage == "flipped" and data:
        at = draw(st.integers(0, min(len(data), 600) - 1))
        return data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
    return data + b"\0" if damage == "longer" else data


def _image(mode: str, size: tuple[int, int], kind: str, shade: int) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, shade if mode in ("L", "I;16") else None or 0).save(file, kind)
    return file.getvalue()


@st.composite
def image_folders(draw: Any) -> dict[str, bytes]:
    """Trees of images: mostly as they should be, with a few surprises."""
    files = {
        f"{split}/{label}/{number}.png": _image("L", (SIDE, SIDE), "PNG", 40 + 70 * CLASSES.index(label) + number)
        for split in ("train", "test")
        for label in CLASSES
        for number in range(2)
    }
    for surprise in draw(st.lists(st.sampled_from(tuple(SURPRISES)), max_size=2)):
        SURPRISES[surprise](files, draw)
    return files


def _spoil(files: dict[str, bytes], draw: Any) -> None:
    name = draw(st.sampled_from(sorted(files)))
    files[name] = files[name][: draw(st.integers(0, len(files[name])))]


def _add(files: dict[str, bytes], draw: Any) -> None:
    name = draw(st.sampled_from(("._0.png", ".ipynb_checkpoints/0.png", "9.jfif", "notes.txt", "été.png", "x y'z.png")))
    files[f"train/ant/{name}"] = draw(st.sampled_from((b"", b"text", files["train/bee/0.png"])))


def _other(files: dict[str, bytes], draw: Any) -> None:
    mode, kind = draw(st.sampled_from((("RGB", "JPEG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("F", "TIFF"), ("P", "GIF"))))
    size = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    files["train/bee/other.png"] = _image(mode, size, kind, 5)


def _without(part: str) -> Any:
    def take(files: dict[str, bytes], _draw: Any) -> None:
        for name in [name for name in files if name.startswith(part)]:
            del files[name]

    return take


def _more(files: dict[str, bytes], draw: Any) -> None:
    label = draw(st.sampled_from(("0", "10", "Ant", "e\u0301", "\u00e9", "[x]", "-c", "a b")))
    for split in ("train", "test")[: draw(st.integers(1, 2))]:
        files[f"{split}/{label}/0.png"] = files.get("train/ant/0.png", b"")


SURPRISES = {
    "spoil": _spoil,
    "add": _add,
    "other": _other,
    "no test": _without("test/"),
    "no class": _without("train/cat"),
    "no test of a class": _without("test/bee"),
    "more": _more,
}
OPTIONS: tuple[list[str], ...] = (
    [],
    ["--accept-accuracy"],
    ["--accept-accuracy", "--arch-option", "normed=false"],
    ["--mean", "127.5", "--std", "60"],
    ["--std", "0"],
    ["--arch-option", "num_classes=7"],
    ["--arch-option", "width=2"],
    ["--bad-images", "skip", "--accept-accuracy"],
    ["--labels", "labels.txt", "--accept-accuracy"],
    ["--labels", "labels.json"],
    ["--preprocessing", "pre.json", "--accept-accuracy"],
    ["--set", "batch_size=0"],
    ["--input-size", "3x8x8"],
)
FILES = {
    "labels.txt": ("ant\nbee\ncat\n", "cat\r\nbee\r\nant\r\n", "ant\nbee", "\ufeffbee\nant\ncat\n", ""),
    "labels.json": ('["cat", "bee", "ant"]', '{"ant": 2, "bee": 0, "cat": 1}', '{"0": "ant"}', "[1]", "{"),
    "pre.json": (
        '{"pretrained_cfg": {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]}}',
        '{"image_mean": [0.5], "image_std": [0.2], "size": {"height": 8, "width": 8}}',
        '{"input_size": [1, 9999999, 8]}',
        '{"crop_pct": 1e-9}',
        "{}",
        "null",
    ),
}


@st.composite
def registrations(draw: Any) -> Given:
    """All of it together."""
    files = {name: draw(st.sampled_from(texts)) for name, texts in FILES.items()}
    return Given(draw(checkpoints()), draw(image_folders()), list(draw(st.sampled_from(OPTIONS))), files)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    made = Cli(tmp_path_factory.mktemp("any") / "ledger")
    made("init", str(made.root))
    REGISTERED.clear()
    return made


NUMBER = iter(range(10**6))
REGISTERED: set[str] = set()


@given(given_=registrations())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_whatever_is_registered_is_told_and_whatever_is_not_says_why(
    ledger: Cli, tmp_path_factory: pytest.TempPathFactory, given_: Given
) -> None:
    folder = tmp_path_factory.mktemp("given")
    write(folder, given_)
    name = f"m{next(NUMBER)}"
    options = [str(folder / word) if word in given_.files else word for word in given_.options]
    usual = {"--input-size": f"1x{SIDE}x{SIDE}", "--mean": "0.3", "--std": "0.3"}
    size = [word for pair in usual.items() if pair[0] not in options for word in pair]
    arguments = ("--arch", f"{folder}/net.py:build", "--weights", str(folder / "weights.safetensors"))
    # Anything but an error of ours is raised here.
    answer = ledger("model", "add", name, *arguments, "--data", f"folder:{folder}/images", *size, *options, code=None)
    before = set(REGISTERED)
    REGISTERED.update([name] if answer.code == 0 else [])
    after = {model["name"] for model in ledger.json("model", "list")["items"]}
    if answer.code == 0:
        assert after == before | {name}
        assert "accuracy: " in answer.err
        assert "not measured" not in answer.err
    else:
        assert after == before
        assert isinstance(answer.error, LedgerError)
        assert answer.code == answer.error.exit_code in (1, 2, 3, 7)
        assert f"error: {answer.error.message}" in answer.err
        assert answer.out == ""


def write(folder: Path, given_: Given) -> None:
    """Write the files of a registration."""
    (folder / "net.py").write_text(FACTORY)
    (folder / "weights.safetensors").write_bytes(given_.weights)
    for name, text in given_.files.items():
        (folder / name).write_text(text)
    (folder / "images").mkdir()
    for name, data in given_.images.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_the_surprises_include_what_can_be_registered(ledger: Cli, tmp_path: Path) -> None:
    """Else everything above could be refused for one and the same reason."""
    generator = torch.Generator().manual_seed(0)
    state = {"1.weight": torch.rand(3, 64, generator=generator), "1.bias": torch.zeros(3)}
    files: dict[str, Any] = {}
    for split in ("train", "test"):
        for label in CLASSES:
            files[f"{split}/{label}/0.png"] = _image("L", (SIDE, SIDE), "PNG", 60 * (1 + CLASSES.index(label)))
    write(tmp_path, Given(safetensors.torch.save(state), files))
    said = ledger(
        *("model", "add", "plain", "--arch", f"{tmp_path}/net.py:build", "--arch-option", "normed=false"),
        *("--weights", str(tmp_path / "weights.safetensors"), "--data", f"folder:{tmp_path}/images"),
        *("--input-size", f"1x{SIDE}x{SIDE}", "--mean", "0.3", "--std", "0.3", "--accept-accuracy"),
    ).err
    REGISTERED.add("plain")
    assert "accuracy: " in said
    assert json.loads(ledger("model", "show", "plain", "--json").out)["accuracy"] is not None
