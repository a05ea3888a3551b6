"""With a single image of each class the ledger works, and says what that is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ledger.domain.registered_accuracy import Count
from ledger.domain.settings import Preprocessing
from ledger.service.computation.class_space_collection import Specs, class_space_specs
from ledger.service.computation.unlearning import missed_by_figures
from ledger.service.computation.workbench import Workbench, open_workbench
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledgers.desk import Desk

ONE_EACH = "even if none of 1 is recognised, up to 95% of a class may be (95% confidence)"


@pytest.fixture
def one_each(desk: Desk, tmp_path: Path) -> Path:
    """One image of each digit to train on, and another to test on."""
    source = desk.ledger.plugins.data_source("digits")
    root = tmp_path / "digits"
    for name, split in (("train", source.train), ("test", source.test)):
        for k in range(10):
            [pixels] = split.pixels([list(split.labels).index(k)], Preprocessing(channels=1, height=32, width=32))
            folder = root / name / str(k)
            folder.mkdir(parents=True)
            Image.fromarray((255 * pixels[0]).round().byte().numpy()).save(folder / "only.png")
    return root


def test_a_missed_gate_says_of_how_many_images(desk: Desk) -> None:
    desk.register("cars")
    bench = open_workbench(desk.ledger, "cars")
    counts = {3: Count(7, 7), 5: Count(7, 6)}
    missed = list(missed_by_figures(bench, {3: 3 / 7, 5: 0.0}, counts, 0.0))
    assert [one.gate for one in missed] == ["max_forgotten_accuracy <= 0.01"]
    assert [one.told for one in missed] == [
        "3 is still recognised in 42.9% of calibration images (3 of 7), the gate allows 1.0%"
    ]


def test_a_class_of_one_image_is_forgotten_and_the_little_it_shows_is_told(desk: Desk, one_each: Path) -> None:
    told: list[str] = []
    desk.ledger.tell = told.append
    desk.register("few", data_spec=f"folder:{one_each}")
    assert f"note: 10 of 10 classes have fewer than 30 training images, the fewest 1: {ONE_EACH}" in told
    assert any(sentence.startswith("note: 10 of 10 classes have a single training image") for sentence in told)
    told.clear()

    version = desk.forget(3, model="few")
    figures = evaluate(desk.ledger, "few", version.number, Silent()).evidence["accuracy"].metrics
    assert figures["base_train"]["per_class"][3] == 1.0
    assert figures["train"]["per_class"][3] == 0.0
    assert f"note: test images: 3 1; {ONE_EACH}" in told


def test_few_images_are_read_at_fewer_positions_and_found_by_another_specification(desk: Desk) -> None:
    desk.register("cars")
    bench = open_workbench(desk.ledger, "cars")
    rows = bench.model.settings.rows_per_class

    def spec(most: int, count: int) -> Specs:
        other = replace(bench.model, settings=replace(bench.model.settings, rows_per_image=most))
        return class_space_specs(Workbench(bench.ledger, other, bench.anchor), 3, range(count))

    assert bench.model.settings.positions(1) == min(64, rows)
    # Where it limits nothing, class spaces of releases without it are found.
    assert spec(64, 40) == spec(8, 40) == spec(10**6, 40)
    assert spec(8, 2) != spec(64, 2)
    assert spec(rows, 1) == spec(rows + 1, 1) != spec(rows - 1, 1)
