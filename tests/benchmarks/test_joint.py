"""The joint-strength benchmark measures what it says, on a small network that knows its digits."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.algebra.strength import Strength
from ledger.candidates.candidate import CandidateBuilder, Recipe
from ledger.images.loading import load_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.settings import Settings
    from ledger.service.computation.workbench import Workbench
    from tests.fixtures.trained_digits import TrainedDigits

ORDER = [3, 5, 0, 8, 2, 4]
WEAK = (100.0, 3.0)


@pytest.fixture(scope="module")
def joint(script: Callable[[str], Any]) -> Any:
    return script("joint")


@pytest.fixture(scope="module")
def subject(joint: Any, trained_digits: TrainedDigits, open_bench: Callable[[Settings], Workbench]) -> Any:
    bench = open_bench(trained_digits.settings)
    split = bench.source.test
    images = load_images(split, range(len(split.labels)), bench.model.preprocessing)
    return joint.Subject(bench, ORDER, (images, torch.tensor(split.labels)))


@pytest.fixture(scope="module")
def rows(joint: Any, subject: Any) -> dict[tuple[int, str], Any]:
    study = joint.Study("projection", len(subject.bench.network.layers), (1, 2, 6), (WEAK,))
    return {(row.count, row.normalisation): row for row in subject.measure(study)}


def test_one_class_is_forgotten_the_same_under_both_normalisations(joint: Any, rows: dict[Any, Any]) -> None:
    assert rows.keys() == {
        (1, joint.EITHER),
        *((count, name) for count in (2, 6) for name in (joint.MEAN, joint.PER_CLASS)),
    }
    row = rows[1, joint.EITHER]
    assert row.of_alone == pytest.approx(1.0)
    assert row.mean == row.worst


def test_in_the_mean_of_many_spaces_each_class_is_forgotten_less(joint: Any, subject: Any, rows: Any) -> None:
    assert subject.registered[ORDER].min() > 0.85
    mean, per_class = rows[6, joint.MEAN], rows[6, joint.PER_CLASS]
    assert per_class.mean < mean.mean - 0.1
    assert per_class.confidence < mean.confidence - 0.1
    assert mean.removed < per_class.removed < 1
    assert mean.of_alone < per_class.of_alone
    shares = [rows[1, joint.EITHER].of_alone, rows[2, joint.MEAN].of_alone, mean.of_alone]
    assert all(more > less for more, less in pairwise(shares))


def test_a_removed_share_is_read_off_the_weights(joint: Any, subject: Any) -> None:
    """At ``alpha_r = 1`` and a huge ``alpha_f``, with nothing retained that matters, nearly everything goes."""
    layers = [layer.maps for layer in subject.bench.network.layers]
    nothing = {m.key: joint.Space.empty(m.width) for maps in layers for m in maps}
    builder = CandidateBuilder(
        subject.bench.anchor_state,
        layers,
        retain=lambda key: [nothing[key]],
        forget=lambda key: [subject.forget[3][key]],
        solvers=subject.bench.ledger.plugins.solvers(["projection"]),
    )
    retained = [k for k in range(10) if k != 3]
    for alpha_f, low, high in ((1e9, 0.999, 1.001), (1.0, 0.0, 0.9)):
        candidate = builder.build(Recipe("projection", len(layers), Strength(1.0, alpha_f)))
        assert low < subject.removed(candidate, 3, retained) < high


def test_in_the_classifier_only_what_sets_a_class_apart_counts(joint: Any, subject: Any) -> None:
    """Least squares moves the outputs of forgotten classes alone, to the mean of the others."""
    study = joint.Study("least-squares", 1, (2,), ((1.0, 1e6),))
    [_, row] = subject.measure(study)
    assert row.removed == pytest.approx(1.0, abs=0.02)
    assert row.of_alone == pytest.approx(1.0, abs=0.05)


def test_the_table_has_a_line_for_each_row(joint: Any, rows: Any) -> None:
    lines = joint.table(list(rows.values())).splitlines()
    assert len(lines) == 2 + len(rows)
    assert {line.count("|") for line in lines} == {len(joint.COLUMNS) + 1}
    assert lines[2].startswith("| (100, 3) | 1 | either |")
