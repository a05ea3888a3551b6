"""The shelf of reference networks: trained once, known again, and ignorant of what they were never shown."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ledger.cli.commands import demo

from ledger.digest import sha256_hex
from ledger.testing.training import EPOCHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEVER, ALL = frozenset({3}), frozenset[int]()


@pytest.fixture(scope="module")
def references(script: Callable[[str], Any]) -> Any:
    return script("references")


def facts(stored: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stored.weights.with_suffix(".json").read_text())
    return found


def test_a_network_knows_all_but_what_it_was_never_shown(shelf: Any) -> None:
    whole, never = shelf.get(ALL, 0), shelf.get(NEVER, 0)
    assert facts(whole)["per_class"]["3"] > 0.9
    assert facts(never)["per_class"]["3"] == 0
    assert whole.accuracy > 0.93
    # The mean of the nine, not of ten.
    assert never.accuracy > 0.93
    assert facts(whole)["images"] - facts(never)["images"] == sum(k == 3 for k in shelf.source.train.labels)
    assert facts(whole)["recipe"] == facts(never)["recipe"]
    assert (facts(never)["left_out"], facts(never)["labels"]) == ([3], ["3"])


def test_what_is_there_is_not_trained_again(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shelf.get(NEVER, 0)
    data = first.weights.read_bytes()
    monkeypatch.setattr(shelf, "_train", None)
    again = shelf.get(NEVER, 0)
    assert again.reused
    assert (again.weights, again.accuracy, again.weights.read_bytes()) == (first.weights, first.accuracy, data)
    assert facts(again)["digest"] == sha256_hex(data)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    references: Any, shelf: Any, tmp_path: Path
) -> None:
    short = references.changed(shelf.reference, 1, 20)
    one, other = (references.Shelf(tmp_path / name, short) for name in ("one", "other"))
    assert facts(one.get(NEVER, 0)) == facts(other.get(NEVER, 0))
    assert facts(one.get(NEVER, 0))["images"] == 180
    assert facts(one.get(NEVER, 1))["digest"] != facts(one.get(NEVER, 0))["digest"]
    assert [stored.seed for stored in one.stored(NEVER)] == [0, 1]


def test_other_recipes_and_changed_files_are_not_taken_for_it(references: Any, shelf: Any, tmp_path: Path) -> None:
    short = references.changed(shelf.reference, 1, 5)
    kept = references.Shelf(tmp_path, short).get(NEVER, 0)
    with pytest.raises(SystemExit, match="another recipe"):
        references.Shelf(tmp_path, references.changed(short, 2, 5)).get(NEVER, 0)
    kept.weights.write_bytes(kept.weights.read_bytes()[:-1] + b"\7")
    with pytest.raises(SystemExit, match="is not the file"):
        references.Shelf(tmp_path, short).get(NEVER, 0)


def test_training_that_was_stopped_is_done_again(references: Any, shelf: Any, tmp_path: Path) -> None:
    again = references.Shelf(tmp_path, references.changed(shelf.reference, 1, 5))
    kept = again.get(NEVER, 0)
    data = kept.weights.read_bytes()
    kept.weights.with_suffix(".json").unlink()
    kept.weights.write_bytes(data[:100])
    assert again.get(NEVER, 0).weights.read_bytes() == data


def test_an_empty_shelf_says_how_to_fill_it(references: Any, shelf: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"retrain.py .* --network small --left-out 3,5"):
        references.Shelf(tmp_path, shelf.reference).stored(frozenset({5, 3}))


def test_sets_of_classes_are_read_from_a_command_line(references: Any) -> None:
    labels = ["cat", "dog", "hen"]
    found = references.class_sets(["none", "dog,cat", "each"], labels)
    assert found == [frozenset(), {0, 1}, {0}, {1}, {2}]
    assert references.class_sets(["hen", "each"], labels) == [{2}, {0}, {1}]
    with pytest.raises(SystemExit, match="no class is called cow: they are cat, dog, hen"):
        references.class_sets(["cat,cow"], labels)


def test_the_first_images_of_each_class_are_taken_in_order(references: Any) -> None:
    labels = [1, 0, 1, 1, 0, 2]
    assert references.first_of_each(labels, 2) == [0, 1, 2, 4, 5]
    assert references.first_of_each(labels, None) == [0, 1, 2, 3, 4, 5]


def test_the_digits_network_is_the_demonstrations(references: Any) -> None:
    reference = references._DIGITS["digits"]
    assert reference.architecture.spec == demo.ARCHITECTURE
    assert (reference.preprocessing.height, reference.course.epochs) == (demo.SIZE, EPOCHS)
    assert f"--mean {reference.preprocessing.mean[0]} --std {reference.preprocessing.std[0]}" in demo.INPUT


def test_images_and_code_from_elsewhere_are_named_on_the_command_line(references: Any, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    references.add_arguments(parser)
    (tmp_path / "cifar10.npz").touch()
    (tmp_path / "orl").mkdir()
    where = ["--images", "images.zip", "--work", str(tmp_path)]
    faces = references.chosen_reference(parser.parse_args(["--network", "orl-faces", *where]))
    assert (faces.name, faces.data) == ("orl-faces", f"folder:{tmp_path / 'orl'}")
    photographs = ["--network", "cifar10-vgg11-bn", *where]
    found = references.chosen_reference(parser.parse_args([*photographs, "--models", "models"]))
    assert found.architecture.spec == "models/cifar10_vgg11_bn.py:vgg11_bn"
    assert found.data == f"npz:{tmp_path / 'cifar10.npz'}"
    assert found.course.augmentation == "crop and flip"
    for lacking in (photographs, ["--network", "orl-faces"], ["--network", "orl-faces", *where[:2]]):
        with pytest.raises(SystemExit, match="needs --images ZIP and --work FOLDER"):
            references.chosen_reference(parser.parse_args(lacking))


def test_a_command_line_trains_what_is_not_there_yet(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--epochs", "1", "--limit", "2", "--left-out", "3,5", "none", "--seeds", "0,1"]
    monkeypatch.setattr(sys, "argv", ["retrain.py", str(tmp_path), *given])
    said = []
    for _ in range(2):
        script("retrain").main()
        printed = capsys.readouterr()
        assert "| 3, 5 | 1 | " in printed.out
        assert "| (all shown) | 0 | " in printed.out
        said.append(printed.err)
    assert [text.count("trained in") for text in said] == [4, 0]
    assert [text.count("was there") for text in said] == [0, 4]
    assert len(list(tmp_path.glob("digits-*.safetensors"))) == 4


def test_the_places_of_files_are_no_part_of_a_recipe(shelf: Any) -> None:
    moved = replace(
        shelf.reference,
        architecture=replace(shelf.reference.architecture, spec="elsewhere/normalising_network.py:build"),
        data="npz:elsewhere.npz",
    )
    assert moved.recipe() == shelf.reference.recipe()
