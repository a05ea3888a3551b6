"""The right classes of the right model: what is registered knows its classes, under the names that it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ledger.domain.label_orders import LabelOrder
from ledger.errors import AccuracyError, DataError, ImpureNetworkError, OutputsError, UsageError
from ledger.weights import tensor_files
from tests.ledgers.rows import ROWS_FACTORY, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.errors import LedgerError
    from tests.fixtures.trained_digits import TrainedDigits
    from tests.ledgers.command_line import Answer, Cli

NUMBERS = tuple(str(k) for k in range(1, 11))
MIXED = ("Ant", "bee", "Cat", "dog", "Elk", "fox")
ACCENTS = ("Élan", "ane", "Zèbre", "ours", "été", "loup")
UNUSUAL_HEADS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n, last):
        super().__init__()
        self.fc = nn.Linear(n * n, n, bias=False)
        self.last = last
    def forward(self, x):
        return self.last(self.fc(x.flatten(1)))

class Picky(Net):
    # What it does to a batch of more than seven images, which the trial of a network does not show it.
    def forward(self, x):
        y = self.fc(x.flatten(1))
        if len(x) > 7 and self.last == "fails":
            raise ValueError("too many")
        return y[:, :2] if len(x) > 7 else y

def softmax(num_classes): return Net(num_classes, lambda y: y.softmax(1))
def percent(num_classes): return Net(num_classes, lambda y: 100 * y.softmax(1))
def half(num_classes): return Net(num_classes, lambda y: y.softmax(1).half())
def sigmoid(num_classes): return Net(num_classes, lambda y: (4 * y - 8).sigmoid())
def log_softmax(num_classes): return Net(num_classes, lambda y: y.log_softmax(1))
def fails(num_classes): return Picky(num_classes, "fails")
def narrows(num_classes): return Picky(num_classes, "narrows")
def constant(num_classes): return Net(num_classes, lambda y: 0 * y + torch.arange(num_classes))
"""


def make_rows(folder: Path, trained: Sequence[str], images: int = 6, bright: int = 200) -> Rows:
    """Make folders of images and weights whose outputs stand for the classes in the order ``trained``."""
    made = Rows(folder, tuple(trained))
    folder.mkdir()
    (folder / "rows.py").write_text(ROWS_FACTORY)
    made.weights.write_bytes(tensor_files.serialise(made.state()))
    side = len(trained)
    pixels = np.random.default_rng(0).integers(0, 50, (images * side, side, side), dtype=np.uint8)
    for i, image in enumerate(pixels):
        k = i % side
        image[k] += bright
        for split in ("train", "test"):
            place = folder / "photos" / split / trained[k]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")
    return made


def folder_options(rows: Rows, *more: str) -> list[str]:
    return rows.options(*more, data=f"folder:{rows.folder / 'photos'}")


def refused(cli: Cli, error: type[LedgerError], options: list[str]) -> Answer:
    """Check that nothing is registered."""
    answer = cli.refused(error, error.exit_code, "model", "add", "pets", *options)
    assert cli.json("model", "list")["items"] == []
    assert not (cli.root / "objects").exists()
    return answer


@pytest.mark.parametrize("trained", [NUMBERS, MIXED, ACCENTS], ids=["1 to 10", "mixed case", "accents"])
def test_folders_that_timm_sorts_otherwise_are_refused_with_the_option_that_fits(
    empty: Cli, tmp_path: Path, trained: tuple[str, ...]
) -> None:
    order = LabelOrder.TIMM.sort(trained)
    assert order != tuple(sorted(trained))
    rows = make_rows(tmp_path / "made", order)
    answer = refused(empty, AccuracyError, folder_options(rows))
    assert "--label-order timm" in answer.err
    assert f" 1: {order[1]}\n" in answer.err
    shown = empty("model", "add", "pets", *folder_options(rows, "--label-order", "timm", "--json")).document
    assert shown["labels"] == list(order)
    assert shown["accuracy"]["test"] == {"images": 6 * len(order), "correct": 6 * len(order)}
    if trained is not NUMBERS:
        return
    # It forgets the class of that name, and no other.
    empty("forget", "pets", "-c", f"name:{order[1]}", "--wait")
    metrics = empty.json("evaluate", "pets", "-e", "accuracy")["evidence"][0]["metrics"]
    assert metrics["test"]["per_class"] == [0.0 if k == 1 else 1.0 for k in range(len(order))]


SHUFFLED = (3, 0, 4, 1, 2)
ANIMALS = ("ant", "bee", "cat", "dog", "elk")


def label_files(labels: Sequence[str]) -> dict[str, str]:
    """Return the same labels as programs write them."""
    index = {label: labels.index(label) for label in sorted(labels)}
    names = {str(k): label for k, label in enumerate(labels)}
    return {
        "lines.txt": "\n".join(labels),
        "windows.txt": "\ufeff" + "\r\n".join(labels) + "\r\n\r\n",
        "list.json": json.dumps(labels),
        "class_to_idx.json": json.dumps(index),
        "nested.json": json.dumps({"epoch": 3, "class_to_idx": index}),
        "id2label.json": json.dumps(names),
        "hub.json": json.dumps({"model_type": "vit", "id2label": names, "label2id": index}),
        "timm.json": json.dumps({"architecture": "resnet18", "num_classes": 5, "label_names": list(labels)}),
        "timm_nested.json": json.dumps({"architecture": "resnet18", "pretrained_cfg": {"label_names": list(labels)}}),
        "strings.json": json.dumps({label: str(k) for label, k in index.items()}),
    }


@pytest.mark.parametrize("name", label_files(ANIMALS))
def test_a_label_file_is_an_order(empty: Cli, tmp_path: Path, name: str) -> None:
    order = [ANIMALS[k] for k in SHUFFLED]
    rows = make_rows(tmp_path / "made", order)
    file = tmp_path / name
    file.write_text(label_files(order)[name])
    shown = empty("model", "add", "pets", *folder_options(rows, "--labels", str(file), "--json")).document
    assert shown["labels"] == order
    assert shown["accuracy"]["classes"]["bee"]["correct"] == 12
    preview = empty.json("preview", "pets", "-c", "bee")
    assert [k for k, share in enumerate(preview["accuracy"]["test"]["per_class"]) if share == 0] == [order.index("bee")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"ant": 0, "bee": 1, "cat": 1, "dog": 3, "elk": 4}', "index 1 stands for more than one label"),
        ('{"ant": 1, "bee": 2, "cat": 3, "dog": 4, "elk": 5}', "0 is missing"),
        ('{"0": "ant", "2": "bee"}', "1 is missing"),
        ('["ant", ["bee"]]', "is not a label"),
        ('{"ant": -1}', "is not the index of an output"),
        ('{"ant": 0.5, "bee": 1}', "is not the index of an output"),
        ("[]", "it holds none"),
        ("{}", "it holds none"),
        ('["ant", ', "cannot read labels"),
        ("\n \n", "it holds none"),
    ],
)
def test_a_label_file_that_is_no_order_says_why(empty: Cli, rows: Rows, text: str, said: str) -> None:
    (rows.folder / "labels").write_text(text)
    assert said in refused(empty, UsageError, rows.options(labels=rows.folder / "labels")).err


def test_labels_and_an_order_exclude_each_other(empty: Cli, rows: Rows) -> None:
    (rows.folder / "labels").write_text("\n".join(rows.labels))
    refused(empty, UsageError, rows.options("--label-order", "timm", labels=rows.folder / "labels"))


def test_an_order_that_nobody_knows_is_found_and_written(empty: Cli, tmp_path: Path) -> None:
    order = [ANIMALS[k] for k in SHUFFLED]
    rows = make_rows(tmp_path / "made", order)
    file = tmp_path / "found.json"
    options = folder_options(rows)
    answer = empty.refused(AccuracyError, 7, "model", "add", "pets", *options, "--write-labels", str(file))
    assert "no better than chance" not in answer.err
    assert json.loads(file.read_text()) == order
    assert json.loads(empty("model", "add", "pets", *options, "--json", code=7).out)["fits"] == order
    empty("model", "add", "pets", *options, "--labels", str(file))


def test_two_labels_exchanged_are_named(empty: Cli, trained_digits: TrainedDigits, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("\n".join("0127456389"))
    answer = refused(empty, AccuracyError, [*trained_digits.options, "--labels", str(tmp_path / "labels")])
    assert "'7' and '3' exchanged" in answer.err


def test_a_trained_network_with_its_outputs_in_another_order_needs_that_order(
    empty: Cli, trained_digits: TrainedDigits, tmp_path: Path
) -> None:
    order = "8305192746"
    state = tensor_files.parse(trained_digits.weights.read_bytes(), "digits")
    rows = [int(digit) for digit in order]
    mixed = {name: tensor[rows].contiguous() if name.startswith("8.") else tensor for name, tensor in state.items()}
    (tmp_path / "mixed.safetensors").write_bytes(tensor_files.serialise(mixed))
    (tmp_path / "labels.json").write_text(json.dumps({digit: k for k, digit in enumerate(order)}))
    options = ["mixed.safetensors" if o == str(trained_digits.weights) else o for o in trained_digits.options]
    options = [str(tmp_path / o) if o == "mixed.safetensors" else o for o in options]
    answer = refused(empty, AccuracyError, options)
    for k, digit in enumerate(order):
        assert f"output {k:>2}: {digit}" in answer.err
    empty("model", "add", "digits", *options, *trained_digits.set_options, "--labels", str(tmp_path / "labels.json"))
    assert "was not known" not in empty("forget", "digits", "-c", "3", "--wait").err
    metrics = empty.json("evaluate", "digits", "-e", "accuracy", "--train-per-class", "1")["evidence"][0]["metrics"]
    assert [k for k, share in enumerate(metrics["test"]["per_class"]) if share < 0.5] == [order.index("3")]


def random_rows(folder: Path, labels: Sequence[str], images: int = 6) -> Rows:
    """Make images of noise, and a model that can know nothing of them."""
    return make_rows(folder, labels, images, bright=0)


def test_a_network_that_knows_nothing_is_refused_or_accepted_on_purpose(empty: Cli, tmp_path: Path) -> None:
    rows = random_rows(tmp_path / "made", ANIMALS, images=20)
    answer = refused(empty, AccuracyError, folder_options(rows))
    assert "no better than chance (20.0%)" in answer.err
    assert "no order of the labels fits either" in answer.err
    said = empty("model", "add", "pets", *folder_options(rows, "--accept-accuracy", "--json"))
    assert said.document["accuracy"]["accepted"] is True
    assert "no better than chance" in said.err
    assert "accepted although" in empty("model", "show", "pets").out
    [entry] = [e for e in empty.json("audit", "log")["items"] if e["kind"] == "model.registered"]
    assert entry["data"]["accuracy_accepted"] is True
    assert entry["data"]["test_images"] == 100
    assert entry["data"]["test_correct"] < 50


def test_too_few_images_to_tell_are_a_warning(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ("ant", "bee", "cat"), images=1)
    state = rows.state()
    state["1.weight"][1:] = 0.0
    rows.weights.write_bytes(tensor_files.serialise(state))
    answer = empty("model", "add", "pets", *folder_options(rows))
    assert "with 6 images nobody can tell its accuracy from chance (33.3%)" in answer.err
    assert "nothing to forget: bee (0 of 2), cat (0 of 2)" in answer.err


def test_two_classes_exchanged_with_few_images_are_a_loud_warning(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ANIMALS, images=1)
    (tmp_path / "labels").write_text("ant\nbee\ndog\ncat\nelk\n")
    answer = empty("model", "add", "pets", *folder_options(rows, "--labels", str(tmp_path / "labels")))
    assert "the labels may be wrong: the images fit better with 'dog' and 'cat' exchanged" in answer.err


def test_two_classes_that_are_all_wrong_are_refused_with_what_may_fit(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ("cat", "dog"), images=2)
    (tmp_path / "labels").write_text("dog\ncat\n")
    options = folder_options(rows, "--labels", str(tmp_path / "labels"), "--set", "min_retained=1")
    assert "the images fit better with 'dog' and 'cat' exchanged" in refused(empty, AccuracyError, options).err


def test_the_assumed_order_and_the_accuracy_are_told(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ANIMALS)
    answer = empty("model", "add", "pets", *folder_options(rows))
    assert "labels: folders in code point order, as torchvision sorts them" in answer.err
    assert "accuracy: 100.0% of 30 test images, 100.0% of 30 training images" in answer.err
    assert "100.0% of 30 test images" in empty("model", "show", "pets").out


@pytest.mark.parametrize(
    ("mean", "std", "meant"),
    [
        ("76.5", "89.25", "--mean 0.3 --std 0.35"),
        ("0", "255", "--mean 0 --std 1"),
        ("127.5", "127.5", "--mean 0.5 --std 0.5"),
        ("104", "1", "--mean 0.407843 --std 0.00392157"),
        ("0.5", "127.5", "--mean 0.5 --std 0.5"),
        ("-128", "1", "--mean -0.501961 --std 0.00392157"),
    ],
)
def test_values_for_pixels_up_to_255_are_refused_with_those_to_use(
    empty: Cli, rows: Rows, mean: str, std: str, meant: str
) -> None:
    assert f"divide by 255: {meant}" in refused(empty, UsageError, rows.options(mean=mean, std=std)).err


def test_values_of_a_preprocessing_file_are_looked_at_alike(empty: Cli, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "pre.json").write_text('{"mean": [123.675], "std": [58.395]}')
    options = [o for o in rows.options("--preprocessing", str(tmp_path / "pre.json")) if o not in ("--mean", "--std")]
    options = [o for o in options if o not in ("0", "1")]
    assert "divide by 255: --mean 0.485 --std 0.229" in refused(empty, UsageError, options).err


@pytest.mark.parametrize(("mean", "std"), [("0", "1"), ("0", "0.00392157"), ("-0.5", "1"), ("1", "2"), ("0.9", "0.05")])
def test_unusual_values_that_are_possible_are_taken(empty: Cli, rows: Rows, mean: str, std: str) -> None:
    empty("model", "add", "pets", *rows.options(mean=mean, std=std))


@pytest.fixture
def heads(rows: Rows) -> Path:
    """A file of factories whose networks return something other than logits."""
    path = rows.folder / "heads.py"
    path.write_text(UNUSUAL_HEADS)
    rows.weights.write_bytes(tensor_files.serialise({"fc.weight": rows.state()["1.weight"]}))
    return path


@pytest.mark.parametrize(
    ("head", "made"), [("softmax", "softmax"), ("percent", "softmax"), ("half", "softmax"), ("sigmoid", "sigmoid")]
)
def test_probabilities_are_refused_or_accepted_on_purpose(
    empty: Cli, rows: Rows, heads: Path, head: str, made: str
) -> None:
    options = rows.options(arch=f"{heads}:{head}")
    answer = refused(empty, OutputsError, options)
    assert f"returns probabilities, as a {made} makes them, not logits" in answer.err
    said = empty("model", "add", "pets", *options, "--accept-outputs", "--json")
    assert said.document["accuracy"]["outputs"] == {"softmax": "probabilities", "sigmoid": "sigmoids"}[made]
    [entry] = [e for e in empty.json("audit", "log")["items"] if e["kind"] == "model.registered"]
    assert entry["data"]["outputs"] == said.document["accuracy"]["outputs"]


def test_log_probabilities_are_logits_as_well(empty: Cli, rows: Rows, heads: Path) -> None:
    shown = empty("model", "add", "pets", *rows.options("--json", arch=f"{heads}:log_softmax")).document
    assert shown["accuracy"]["outputs"] == "log-probabilities"
    assert shown["accuracy"]["remarks"] == []


def test_a_network_that_always_answers_the_same_is_refused(empty: Cli, rows: Rows, heads: Path) -> None:
    answer = refused(empty, AccuracyError, rows.options(arch=f"{heads}:constant"))
    assert "gives the same answer whatever the image is" in answer.err


@pytest.mark.parametrize(
    ("head", "said"),
    [("fails", "images of the data at once: too many"), ("narrows", "not one row of 5 logits for each")],
)
def test_a_network_that_fails_on_the_sample_is_refused(
    empty: Cli, rows: Rows, heads: Path, head: str, said: str
) -> None:
    assert said in refused(empty, ImpureNetworkError, rows.options(arch=f"{heads}:{head}")).err


def test_other_names_than_the_folders_are_named(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ANIMALS)
    (tmp_path / "labels").write_text("ant\nbee\ncat\ndog\nElk\n")
    answer = refused(empty, DataError, folder_options(rows, "--labels", str(tmp_path / "labels")))
    assert "'Elk' has no images; 'elk' is not among the labels" in answer.err


def test_a_number_is_a_label_where_labels_are_numbers(empty: Cli, tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "made", ("0", "10", "2", "9"))
    empty("model", "add", "pets", *folder_options(rows))
    with empty.unchanged():
        answer = empty("forget", "pets", "-c", "1", code=2)
    assert "--index 1 for '10'" in answer.err
    answer = empty("forget", "pets", "--index", "4", code=2)
    assert "no class is called 'index:4'" in answer.err
    assert "indices go from 0 to 3" in answer.err
    said = empty("forget", "pets", "-c", "9", "--json")
    assert said.document["items"][0]["classes"] == ["9"]
    assert "9 is class 9 (index 3)" in said.err
    said = empty("forget", "pets", "--index", "1", "--json")
    assert said.document["items"][0]["classes"] == ["10"]
    assert "class 10 (index 1)" in said.err


# -- classes that were not known before ---------------------------------------------------------------


@pytest.fixture
def unknowing(empty: Cli, tmp_path: Path) -> Cli:
    """A ledger with a model that knows all its classes but one, ``cat``."""
    rows = make_rows(tmp_path / "made", ANIMALS, images=8)
    state = rows.state()
    state["1.weight"][2] = -5.0
    rows.weights.write_bytes(tensor_files.serialise(state))
    answer = empty("model", "add", "pets", *folder_options(rows))
    assert "so there is nothing to forget: cat (0 of 16)" in answer.err
    return empty


def test_a_class_that_was_not_known_is_no_success(unknowing: Cli, tmp_path: Path) -> None:
    preview = unknowing("preview", "pets", "-c", "cat", "-c", "dog")
    assert "cat was not known before" in preview.err
    assert "dog was not known" not in preview.err
    assert unknowing.json("preview", "pets", "-c", "cat")["not_known_before"] == ["cat"]
    unknowing("forget", "pets", "-c", "cat", "-c", "dog")
    work = unknowing("work", "--json")
    assert json.loads(work.out)["not_known_before"] == ["cat"]
    assert "was not known before: cat (0 of " in work.err
    evaluated = unknowing("evaluate", "pets")
    assert "cat was not known before" in evaluated.err
    assert "not known" in evaluated.out
    unknowing("certificate", "issue", "1", "-o", str(tmp_path / "certificate"))
    verified = unknowing("certificate", "verify", str(tmp_path / "certificate"))
    assert "was not known before: 1 of 2 classes, and nothing was forgotten of them" in verified.out
    unknowing("report", "pets", "-o", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "It was edited to forget dog; cat was not known before, so there was nothing to forget" in page
    assert "<td>not known before</td>" in page


def test_a_class_that_was_known_is_certified_without_that_remark(unknowing: Cli, tmp_path: Path) -> None:
    work: Any = json.loads(unknowing("forget", "pets", "-c", "dog", "--wait", "--json").out)["outcomes"][0]
    assert work["not_known_before"] == []
    unknowing("certificate", "issue", "1", "-o", str(tmp_path / "certificate"))
    assert "not known before" not in unknowing("certificate", "verify", str(tmp_path / "certificate")).out
