"""Models that cannot be registered, or turn out not to work: refused with a reason, and nothing half-written."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from ledger.errors import (
    AccuracyError,
    AmbiguousClassError,
    ConflictError,
    DataError,
    LedgerError,
    NonFiniteError,
    NotFoundError,
    PluginError,
    UnknownDataSpecError,
    UnsupportedLayerError,
    UsageError,
    WeightsError,
)
from ledger.weights import tensor_files

if TYPE_CHECKING:
    from tests.ledgers.command_line import Cli
    from tests.ledgers.rows import Rows


def refuse(cli: Cli, error: type[LedgerError], options: list[str]) -> str:
    """Try to register a model, which must be refused without a trace; return what was said."""
    answer = cli.refused(error, error.exit_code, "model", "add", "pets", *options)
    assert cli.json("model", "list")["items"] == []
    assert not (cli.root / "objects").exists()
    return answer.err


# -- weights ------------------------------------------------------------------------------------------


def test_weights_must_be_there(empty: Cli, rows: Rows) -> None:
    refuse(empty, NotFoundError, rows.options(weights=rows.folder / "none.safetensors"))
    refuse(empty, UsageError, rows.options(weights=rows.folder))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[:60],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda data: data.replace(b"F32", b"Q99"),
        lambda data: b"<html>502 Bad Gateway</html>",
    ],
    ids=["empty", "4 bytes", "header cut", "1 byte short", "1 byte long", "huge header", "no JSON", "dtype", "HTML"],
)
def test_damaged_weights_are_no_weights(empty: Cli, rows: Rows, damage: Any) -> None:
    rows.weights.write_bytes(damage(rows.weights.read_bytes()))
    assert "is not a safetensors file" in refuse(empty, WeightsError, rows.options())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"1.weight": torch.zeros(4, 25)}, "1.weight is (4, 25), the network has (5, 25)"),
        ({"1.weight": torch.zeros(5, 24)}, "1.weight is (5, 24), the network has (5, 25)"),
        ({"1.weight": torch.zeros(5, 25), "1.bias": torch.zeros(5)}, "it has unknown 1.bias"),
        ({"0.weight": torch.zeros(5, 25)}, "it lacks 1.weight; it has unknown 0.weight"),
        ({}, "it lacks 1.weight"),
    ],
)
def test_weights_must_fit_the_network(empty: Cli, rows: Rows, state: dict[str, torch.Tensor], said: str) -> None:
    rows.weights.write_bytes(tensor_files.serialise(state))
    answer = refuse(empty, WeightsError, rows.options())
    assert said in answer
    assert "number of outputs equals the number of classes" in answer


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["module.1.weight"], "--prefix module."),
        (["_orig_mod.1.weight"], ""),
        (["model.1.weight", "criterion.weight"], "--prefix model."),
        (["model.1._orig_mod.weight"], "--prefix model."),
        (["1._orig_mod.weight"], ""),
        (["module.backbone.1.weight"], "--prefix module.backbone."),
        (["model.1.weight", "ema.1.weight"], "--prefix model."),
        (["model_ema.1.weight", "ema.decay"], "--prefix model_ema."),
        (["1.weight", "ema.1.weight"], "--leave-out 'ema.*'"),
        (["1.weight", "total_ops"], "--leave-out '*total_ops'"),
        (["state_dict.net.1.weight"], "--prefix state_dict.net."),
    ],
)
def test_weights_with_names_of_a_wrapper_say_how_to_go_on(
    empty: Cli, rows: Rows, names: list[str], options: str
) -> None:
    """The command that is printed is run, and what it writes is taken."""
    rows.weights.write_bytes(tensor_files.serialise({name: rows.state()["1.weight"] for name in names}))
    answer = refuse(empty, WeightsError, rows.options())
    found = re.search(r"unledger (.*)(weights convert .*)", answer)
    assert found is not None
    assert options in found[2]
    with contextlib.chdir(rows.folder):
        arguments = shlex.split(found[2])
        empty(*arguments)
        empty("model", "add", "pets", *rows.options(weights=Path(arguments[3])))


def test_weights_of_the_inner_network_say_how_to_go_on(empty: Cli, rows: Rows, networks: Path) -> None:
    rows.weights.write_bytes(tensor_files.serialise({"weight": rows.state()["1.weight"]}))
    answer = refuse(empty, WeightsError, rows.options(arch=f"{networks}:net"))
    assert "let the factory return what it calls fc" in answer
    assert "--add-prefix fc." in answer


def test_weights_for_other_classes_say_so(empty: Cli, rows: Rows) -> None:
    rows.weights.write_bytes(tensor_files.serialise({"1.weight": torch.zeros(1000, 25)}))
    assert "the weights tell 1000 classes apart, and the data has 5" in refuse(empty, WeightsError, rows.options())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_must_be_finite(empty: Cli, rows: Rows, value: float) -> None:
    state = rows.state()
    state["1.weight"][2, 3] = value
    rows.weights.write_bytes(tensor_files.serialise(state))
    assert "NaN or infinity in 1.weight" in refuse(empty, NonFiniteError, rows.options())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "renamed.safetensors", "a model's.ckpt"])
def test_pickles_are_refused_whatever_they_are_called(empty: Cli, rows: Rows, name: str, *, legacy: bool) -> None:
    path = rows.folder / name
    torch.save(rows.state(), path, _use_new_zipfile_serialization=not legacy)
    answer = refuse(empty, WeightsError, rows.options(weights=path))
    assert "is a pickle, which can run any code" in answer
    assert "convert it once" in answer


def test_a_pickle_is_never_unpickled(empty: Cli, rows: Rows) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (rows.folder / "exploded",))

    for name in ("bomb.pt", "bomb.safetensors"):
        torch.save({"1.weight": Bomb()}, rows.folder / name)
        refuse(empty, WeightsError, rows.options(weights=rows.folder / name))
    assert not (rows.folder / "exploded").exists()


def test_the_printed_command_converts_a_pickle(empty: Cli, rows: Rows) -> None:
    # Tied tensors and odd strides are what real checkpoints have; quotes and blanks what real folders have.
    state = {"1.weight": rows.state()["1.weight"].t().contiguous().t()}
    path = rows.folder / "it's mine [1].safetensors"
    torch.save(state, path)
    answer = refuse(empty, WeightsError, rows.options(weights=path))
    found = re.search(r"without running its code: unledger (.*)", answer)
    assert found is not None
    with contextlib.chdir(rows.folder):
        empty(*shlex.split(found[1]))
    [converted] = set(rows.folder.glob("*.safetensors")) - {path, rows.weights}
    empty("model", "add", "pets", *rows.options(weights=converted))
    assert converted.read_bytes() == rows.weights.read_bytes()
    # The original is as it was: by its name alone, the two could have been one file.
    with path.open("rb") as file:
        assert torch.equal(torch.load(file)["1.weight"], state["1.weight"])


# -- architectures ------------------------------------------------------------------------------------

NETWORKS = """
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(classes * classes, classes, bias=False)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Infinite(Net):
    def forward(self, x):
        return super().forward(x) / 0


class Picky(Net):
    def forward(self, x):
        assert x.shape[1] == 3, "three channels, please"


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


class Bare(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.gate = nn.Parameter(torch.eye(classes))

    def forward(self, x):
        return super().forward(x) @ self.gate


class Around(Net):
    def forward(self, x):
        return x.flatten(1) @ self.fc.weight.T


class Moody(Net):
    # Some images make it overflow, while a file lies beside this one.
    def forward(self, x):
        x = x.flatten(1)
        moody = Path(__file__).with_name("mood").exists()
        return self.fc(torch.where(x.argmax(1, keepdim=True) == 9, torch.inf, x) if moody else x)


def net(num_classes): return Net(num_classes)
def infinite(num_classes): return Infinite(num_classes)
def picky(num_classes): return Picky(num_classes)
def pair(num_classes): return Pair(num_classes)
def bare(num_classes): return Bare(num_classes)
def around(num_classes): return Around(num_classes)
def moody(num_classes): return Moody(num_classes)
def raises(num_classes): raise KeyError("x")
def no_module(num_classes): return 7
def wants_more(num_classes, width): return Net(num_classes)
constant = 7
"""


@pytest.fixture
def networks(rows: Rows) -> Path:
    """A file of factories, with weights that fit most of them."""
    path = rows.folder / "networks.py"
    path.write_text(NETWORKS)
    rows.weights.write_bytes(tensor_files.serialise({"fc.weight": rows.state()["1.weight"]}))
    return path


@pytest.mark.parametrize(
    ("arch", "error", "said"),
    [
        ("timm/resnet19", UsageError, "resnet18"),
        ("resnet18", UsageError, "no plugin builds the architecture 'resnet18'"),
        ("nowhere.py:build", UsageError, "there is no file"),
        ("no.such.package:build", UsageError, "cannot import 'no.such.package'"),
        ("{networks}:nothing", UsageError, "has no callable 'nothing'"),
        ("{networks}:constant", UsageError, "has no callable 'constant'"),
        ("{networks}:wants_more", UsageError, "check --arch-option"),
        ("{networks}:raises", PluginError, "KeyError: 'x'"),
        ("{networks}:no_module", PluginError, "returned int, not a torch module"),
        ("{networks}:picky", DataError, "three channels, please"),
        ("{networks}:pair", WeightsError, "the network answers tuple"),
        ("{networks}:infinite", NonFiniteError, "the network answers NaN or infinity"),
        ("{networks}:around", UnsupportedLayerError, "the network goes around its layer"),
    ],
)
def test_a_network_that_cannot_be_used(
    empty: Cli, rows: Rows, networks: Path, arch: str, error: type[LedgerError], said: str
) -> None:
    assert said in refuse(empty, error, rows.options(arch=arch.format(networks=networks)))


@pytest.mark.parametrize("text", ["import no_such_module", "def (:", "1 / 0", "raise SystemExit"])
def test_a_file_that_cannot_be_imported(empty: Cli, rows: Rows, text: str) -> None:
    (rows.folder / "broken.py").write_text(text)
    assert "broken.py failed: " in refuse(empty, PluginError, rows.options(arch=f"{rows.folder / 'broken.py'}:f"))


def test_a_weight_that_nobody_edits_must_be_accepted_by_name(empty: Cli, rows: Rows, networks: Path) -> None:
    rows.weights.write_bytes(tensor_files.serialise({"fc.weight": rows.state()["1.weight"], "gate": torch.eye(5)}))
    options = rows.options(arch=f"{networks}:bare")
    answer = refuse(empty, UnsupportedLayerError, options)
    assert "gate [5, 5]: no handler for Bare" in answer
    assert "--allow-unhandled NAME" in answer
    refuse(empty, UnsupportedLayerError, [*options, "--allow-unhandled", "another"])
    empty("model", "add", "pets", *options, "--allow-unhandled", "gate")
    covered = {item["name"]: item["treatment"] for item in empty.json("model", "coverage", "pets")["items"]}
    assert covered == {"fc.weight": "edited", "gate": "unhandled"}
    empty("forget", "pets", "-c", "dog", "--wait")
    assert [item["name"] for item in empty.json("model", "diff", "pets", "0", "1")["items"]] == ["fc.weight"]


def test_infinity_that_shows_only_later_fails_the_request(empty: Cli, rows: Rows, networks: Path) -> None:
    mood = rows.folder / "mood"
    mood.touch()
    refuse(empty, NonFiniteError, rows.options(arch=f"{networks}:moody"))
    mood.unlink()
    empty("model", "add", "pets", *rows.options(arch=f"{networks}:moody"))
    mood.touch()
    answer = empty("forget", "pets", "-c", "dog", "--wait", code=7)
    assert type(answer.error) is NonFiniteError
    assert "the input of fc holds NaN or infinity" in answer.err
    check_failed(empty)


def check_failed(cli: Cli, model: str = "pets") -> None:
    """Check that the only request failed, and that it left neither a version nor half an object."""
    assert cli.state(1) == "failed"
    assert [version["version"] for version in cli.versions(model)] == [0]
    assert cli.json("model", "show", model)["live"] == 0
    cli.verified()


# -- what is said about it ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a:1", "../x", "[x]", "x\n"])
def test_a_name_must_be_one(empty: Cli, rows: Rows, name: str) -> None:
    empty.refused(UsageError, 2, "model", "add", name, *rows.options())


def test_a_name_is_taken_once(pets: Cli, rows: Rows) -> None:
    pets.refused(ConflictError, 4, "model", "add", "pets", *rows.options())


@pytest.mark.parametrize(
    "changes",
    [
        {"input_size": "5x5"},
        {"input_size": "1xfivexfive"},
        {"input_size": "0x5x5"},
        {"input_size": "1x-5x5"},
        {"mean": "grey"},
        {"mean": "nan"},
        {"mean": "0,0,0"},
        {"std": "0"},
        {"std": "-1"},
        {"std": "inf"},
        {"preprocessing": "."},
    ],
    ids=str,
)
def test_preprocessing_must_make_sense(empty: Cli, rows: Rows, changes: dict[str, str]) -> None:
    refuse(empty, UsageError, rows.options(**changes))


def test_a_preprocessing_file_must_be_there(empty: Cli, rows: Rows) -> None:
    refuse(empty, NotFoundError, rows.options(preprocessing="none.json"))


def test_an_input_size_that_the_network_cannot_take(empty: Cli, rows: Rows) -> None:
    assert "set --input-size" in refuse(empty, DataError, rows.options(input_size="1x6x6"))
    assert "set the input size" in refuse(empty, DataError, rows.options(input_size="4x5x5"))


@pytest.mark.parametrize(
    "setting",
    [
        *("batch_size", "=1", "colour=red", "seed=1.5", "batch_size=0", "retain_samples=-1", "retain_samples=many"),
        *("max_rank=true", "max_rank=null", "max_retained_drop=NaN", "max_retained_drop=Infinity", "min_retained={}"),
        *("alpha_r=3", "alpha_r=[]", "alpha_r=[0.5]", "alpha_f=[1, null]", 'alpha_f=["3"]', "alpha_f=[1e999]"),
    ],
)
def test_settings_must_make_sense(empty: Cli, rows: Rows, setting: str) -> None:
    refuse(empty, UsageError, rows.options("--set", setting))


def test_one_option_says_how_many_images_of_a_class_are_looked_at(empty: Cli, rows: Rows) -> None:
    refuse(empty, UsageError, rows.options("--samples-per-class", "0"))
    empty("model", "add", "rows", *rows.options("--samples-per-class", "3", "--set", "forget_samples=4"))
    settings = empty.json("model", "show", "rows")["settings"]
    assert (settings["retain_samples"], settings["forget_samples"]) == (3, 4), "a setting by name goes before it"


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        ("dog\n1\ncat\n[/fox]\\\neel\n", AccuracyError, "with the labels 'dog' and '1' exchanged"),
        ("1\ndog\ncat\n[/fox]\\\n", DataError, "4 labels, 5 classes; 'eel' is not among the labels"),
        ("1\ndog\n", DataError, "2 labels, 5 classes; '[/fox]\\\\', 'cat', 'eel' are not among the labels"),
        ("1\ndog\nCat\n[/fox]\\\nEel\n", DataError, "'Cat', 'Eel' have no images; 'cat', 'eel' are not among"),
        ("1\ndog\ncat\n[/fox]\\\nEel\n", DataError, "'Eel' has no images; 'eel' is not among the labels"),
        ("1\ndog\ndog\n[/fox]\\\neel\n", AmbiguousClassError, "names 'dog' more than once"),
    ],
)
def test_labels_must_agree_with_the_data(
    empty: Cli, rows: Rows, lines: str, error: type[LedgerError], said: str
) -> None:
    (rows.folder / "labels.txt").write_text(lines)
    assert said in refuse(empty, error, rows.options(labels=rows.folder / "labels.txt"))


def test_a_label_file_must_be_readable(empty: Cli, rows: Rows) -> None:
    refuse(empty, NotFoundError, rows.options(labels=rows.folder / "none.txt"))
    (rows.folder / "archive.zip").write_bytes(b"PK\x03\x04\x14\0\0\0\x08\0")
    for file in (rows.weights, rows.folder / "archive.zip"):
        assert "is not a text" in refuse(empty, UsageError, rows.options(labels=file))
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32-le"):
        (rows.folder / "wide.txt").write_bytes("1\ndog\ncat".encode(encoding))
        assert "in UTF-16" in refuse(empty, UsageError, rows.options(labels=rows.folder / "wide.txt"))
    (rows.folder / "binary.txt").write_bytes(b"\xff\xfe\0")
    refuse(empty, UsageError, rows.options(labels=rows.folder / "binary.txt"))


# -- data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["digitz", "cifar10", "folder", "", "s3://bucket/images"])
def test_an_unknown_data_specification(empty: Cli, rows: Rows, spec: str) -> None:
    said = refuse(empty, UnknownDataSpecError, rows.options(data=spec))
    assert "use digits, digit-pairs, folder:PATH, csv:FILE, npz:PATH" in said


def test_a_path_without_its_kind_is_told_the_kind(empty: Cli, rows: Rows, tmp_path: Path) -> None:
    folder, file = tmp_path / "my photos", tmp_path / "a.npz"
    folder.mkdir()
    file.touch()
    for path, wanted in ((folder, f"'folder:{folder}'"), (file, f"npz:{file}")):
        assert f"here: {wanted}" in refuse(empty, UnknownDataSpecError, rows.options(data=str(path)))


@pytest.mark.parametrize("option", ["num_classes=7", "pretrained=true"])
def test_options_that_this_program_sets_itself_are_named(empty: Cli, rows: Rows, option: str) -> None:
    options = [*rows.options(arch="timm/test_resnet"), "--arch-option", option]
    name = option.partition("=")[0]
    assert f"leave {name} out" in refuse(empty, UsageError, options)


TARGETS = np.arange(100) % 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_train": None}, "lacks x_train"),
        ({"y_train": TARGETS[:-1]}, "100 images in x_train but 99 labels"),
        ({"y_train": TARGETS + 0.5}, "not a list of class indices"),
        ({"y_train": TARGETS - 1}, "not a list of class indices"),
        ({"y_train": TARGETS[:, None]}, "not a list of class indices"),
        ({"y_train": np.array(list("abcde") * 20)}, "not a list of class indices"),
        ({"y_train": np.where(TARGETS == 4, 3, TARGETS)}, "no train images of eel"),
        ({"y_test": np.where(TARGETS == 4, 3, TARGETS)}, "no test images of eel"),
        ({"y_test": TARGETS + 1}, "class 5 but names only 5"),
        ({"labels": None, "y_train": TARGETS + 10**9}, "class 1000000004"),
        ({"labels": np.array(list("abc"))}, "class 4 but names only 3"),
        ({"x_train": np.zeros((100, 25))}, "not (n, height, width, channels)"),
        ({"x_train": np.full((100, 5, 5), 255.0)}, "floating values in [0, 1]"),
        ({"x_train": np.full((100, 5, 5), np.nan)}, "floating values in [0, 1]"),
        ({"x_train": np.zeros((100, 5, 5), np.int64)}, "must be uint8"),
        ({"x_train": np.full(100, None)}, "not a readable .npz archive of plain arrays"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_must_be_images_and_classes(empty: Cli, rows: Rows, changes: dict[str, Any], said: str) -> None:
    arrays = {**rows.arrays(), "labels": np.array(rows.labels), **changes}
    np.savez(rows.folder / "rows.npz", **{name: array for name, array in arrays.items() if array is not None})
    assert said in refuse(empty, DataError, rows.options())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"junk"])
def test_an_archive_must_be_one(empty: Cli, rows: Rows, data: bytes) -> None:
    (rows.folder / "rows.npz").write_bytes(data)
    assert "rows.npz" in refuse(empty, DataError, rows.options())
    (rows.folder / "rows.npz").unlink()
    assert "there is no file" in refuse(empty, DataError, rows.options())


@pytest.fixture
def photos(rows: Rows) -> Path:
    """The toy model's images as files in one folder per class; its labels are now the folders' names."""
    arrays = rows.arrays()
    for split in ("train", "test"):
        for n, (image, k) in enumerate(zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True)):
            folder = rows.folder / "photos" / split / "abcde"[k]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((255 * image).astype(np.uint8)).save(folder / f"{n:03}.png")
    return rows.folder / "photos"


def test_folders_of_images_work(empty: Cli, rows: Rows, photos: Path) -> None:
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    empty("forget", "pets", "-c", "b", "--wait")
    metrics = empty.json("evaluate", "pets", "-e", "accuracy")["evidence"][0]["metrics"]
    assert metrics["base_test"]["per_class"] == [1.0] * 5
    assert metrics["test"]["per_class"] == [1.0, 0.0, 1.0, 1.0, 1.0]


def test_a_class_without_images_is_refused(empty: Cli, rows: Rows, photos: Path) -> None:
    (photos / "train" / "empty").mkdir()
    options = rows.options(data=f"folder:{photos}")
    assert "no train images of empty" in refuse(empty, DataError, options)
    (photos / "train" / "empty").rmdir()
    for image in (photos / "test" / "c").iterdir():
        image.unlink()
    assert "no test images of c" in refuse(empty, DataError, options)


def test_folders_must_lie_as_expected(empty: Cli, rows: Rows, photos: Path) -> None:
    (photos / "test" / "stranger").mkdir()
    assert "classes that train/ lacks: stranger" in refuse(empty, DataError, rows.options(data=f"folder:{photos}"))
    assert "no train/ folder" in refuse(empty, DataError, rows.options(data=f"folder:{photos / 'train'}"))
    assert "there is no folder" in refuse(empty, DataError, rows.options(data="folder:nowhere"))


@pytest.mark.parametrize("data", [b"", b"not an image", None], ids=["empty", "junk", "truncated"])
def test_every_image_is_read_at_registration(empty: Cli, rows: Rows, photos: Path, data: bytes | None) -> None:
    path = photos / "train" / "c" / "052.png"
    path.write_bytes(path.read_bytes()[:50] if data is None else data)
    answer = refuse(empty, DataError, rows.options(data=f"folder:{photos}"))
    assert f"cannot read 1 image of folder:{photos}: train/c/052.png" in answer
    assert "--bad-images skip" in answer


def test_images_that_broke_fail_the_request_and_are_named_by_class(empty: Cli, rows: Rows, photos: Path) -> None:
    whole = {path: path.read_bytes() for path in (photos / "train" / "c").iterdir()}
    # Registration looks at every image, so they break afterwards.
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    for path, data in whole.items():
        path.write_bytes(data[:20] + b"X" * (len(data) - 20))
    answer = empty("forget", "pets", "-c", "b", "--wait", code=7)
    assert type(answer.error) is DataError
    assert "changed since it was registered: c (train images or their names are others)" in answer.err
    check_failed(empty)
    # Found before anything was computed.
    assert empty.json("model", "spaces", "pets")["items"] == []
    for path, data in whole.items():
        path.write_bytes(data)
    empty("request", "retry", "1")
    empty("work")
    assert empty.state(1) == "fulfilled"
    assert [item["class_index"] for item in empty.json("model", "spaces", "pets")["items"]] == [0, 1, 2, 3, 4]


def test_images_that_moved_fail_the_request_with_the_way_on(empty: Cli, rows: Rows, photos: Path) -> None:
    moved = photos.parent / "elsewhere"
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    photos.rename(moved)
    for arguments in (("preview", "pets", "-c", "b"), ("evaluate", "pets:0"), ("forget", "pets", "-c", "b", "--wait")):
        answer = empty(*arguments, code=7)
        said = answer.err
        assert type(answer.error) is DataError
        assert f"the images of pets cannot be read: there is no folder {photos}" in said
        assert "model rebind pets --data SPEC" in said
    # The number is that of the request.
    assert "request retry 1" in said
    check_failed(empty)
    assert "request retry 1" in empty("model", "rebind", "pets", "--data", f"folder:{moved}").err
    empty("request", "retry", "1")
    empty("work")
    assert empty.state(1) == "fulfilled"


def test_images_in_other_folders_are_accepted_with_their_accuracy(empty: Cli, rows: Rows, photos: Path) -> None:
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    for split in ("train", "test"):
        for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
            (photos / split / old).rename(photos / split / new)
    said = empty("model", "rebind", "pets", "--accept-changes", "sorted again").err
    assert "accuracy now, with nothing forgotten: " in said
    assert "warning: " in said


def test_only_test_images_left_is_told_as_images_that_cannot_be_read(empty: Cli, rows: Rows, photos: Path) -> None:
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    (photos / "train").rename(photos / "gone")
    said = empty.refused(DataError, 7, "preview", "pets", "-c", "b").err
    assert "the images of pets cannot be read" in said
    assert "model rebind pets --data SPEC" in said


def test_an_image_that_went_missing_fails_the_request(empty: Cli, rows: Rows, photos: Path) -> None:
    empty("model", "add", "pets", *rows.options(data=f"folder:{photos}"))
    (photos / "train" / "c" / "052.png").unlink()
    answer = empty("forget", "pets", "-c", "b", "--wait", code=7)
    assert "changed since it was registered" in answer.err
    check_failed(empty)
