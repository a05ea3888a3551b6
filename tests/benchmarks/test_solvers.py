"""The table over solvers and depths says of a small network what can be measured of it in other ways."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.domain.settings import Settings
from ledger.images.loading import load_images
from ledger.service.computation.class_space_cache import ClassSpaceCache
from ledger.service.computation.unlearning import search
from ledger.service.computation.workbench import Workbench
from ledger.service.progress import Silent

if TYPE_CHECKING:
    from tests.fixtures.trained_digits import TrainedDigits

FORGOTTEN = (3, 8)
SOLVERS = ("redirect", "projection", "least-squares")


@dataclass
class Table:
    """What the script made of a small network."""

    script: Any
    subject: Any
    rows: list[Any]
    searched: list[tuple[tuple[str, ...], tuple[int, ...]]]
    """Solvers and depths of every search."""
    collected: int
    """Class spaces that the ledger holds."""

    def row(self, made: str, depth: int | None = None) -> Any:
        [row] = [row for row in self.rows if (row.made, row.depth) == (made, depth)]
        return row


@pytest.fixture(scope="module")
def table(
    script: Callable[[str], Any], trained_digits: "TrainedDigits", open_bench: Callable[[Settings], Workbench]
) -> Iterator[Table]:
    """The lines of two forgotten classes."""
    solvers = script("solvers")
    with pytest.MonkeyPatch.context() as patch:
        searched = []

        def watched(bench: Workbench, *others: Any) -> Any:
            searched.append((bench.model.settings.solvers, bench.model.settings.depths))
            return search(bench, *others)

        patch.setattr(solvers, "search", watched)
        bench = open_bench(trained_digits.settings)
        images = [
            (load_images(split, range(len(split.labels)), bench.model.preprocessing), torch.tensor(split.labels))
            for split in (bench.source.train, bench.source.test)
        ]
        subject = solvers.Subject("digits", bench, *images, 0.02)
        rows = list(subject.cells(FORGOTTEN))
        with bench.ledger.database.read() as tx:
            collected = sum(event.kind == "class_space.collected" for event in tx.audit.events())
        yield Table(solvers, subject, rows, searched, collected)


def test_every_solver_is_searched_alone_at_every_depth_of_the_ladder(table: Table) -> None:
    cells = [(solver, depth) for solver in SOLVERS for depth in (4, 2, 1)]
    assert [(row.made, row.depth) for row in table.rows] == [("registered", None), *cells]
    assert table.searched == [((solver,), (depth,)) for solver, depth in cells]
    assert {row.layers for row in table.rows} == {4}


def test_class_spaces_are_collected_once_and_the_model_keeps_its_settings(
    table: Table, trained_digits: "TrainedDigits"
) -> None:
    assert table.collected == 10
    assert table.subject.bench.model.settings == trained_digits.settings


def test_the_registered_weights_know_what_the_best_edit_has_forgotten(table: Table) -> None:
    registered, edited = table.row("registered"), table.row("least-squares", 1)
    assert registered.worst > 0.9
    assert registered.probe > 0.9
    assert (registered.drop, registered.holds) == (0.0, None)
    assert edited.worst <= 0.02
    assert edited.drop <= 0.015
    assert edited.holds


def test_figures_are_those_of_the_weights_that_the_search_chose(table: Table) -> None:
    """Measured here through the network itself."""
    bench, (images, labels) = table.subject.bench, table.subject.test
    only = replace(bench.model.settings, solvers=("least-squares",), depths=(2,), retained_bar=1.0)
    limited = Workbench(bench.ledger, replace(bench.model, settings=only), bench.anchor)
    collected = ClassSpaceCache(bench).collect_and_store(frozenset(FORGOTTEN), Silent())
    chosen = search(limited, collected, frozenset(FORGOTTEN), Silent()).candidate
    accuracies = []
    for state in (bench.anchor_state, chosen.state):
        limited.network.load(state, "a test")
        with torch.inference_mode():
            correct = (limited.network.module(images).argmax(1) == labels).double()
        accuracies.append([float(correct[labels == k].mean()) for k in range(10)])
    retained = [k for k in range(10) if k not in FORGOTTEN]
    before, after = ([found[k] for k in retained] for found in accuracies)
    # The two differ, so that neither their mean nor the lower of them would do.
    assert accuracies[0][FORGOTTEN[0]] != accuracies[0][FORGOTTEN[1]]
    assert table.row("registered").worst == max(accuracies[0][k] for k in FORGOTTEN)
    row = table.row("least-squares", 2)
    assert row.alphas == (chosen.recipe.strength.alpha_r, chosen.recipe.strength.alpha_f)
    assert row.worst == max(accuracies[1][k] for k in FORGOTTEN)
    assert row.drop == pytest.approx((sum(before) - sum(after)) / len(retained), abs=1e-12)


def test_an_edit_of_the_last_layer_leaves_the_probe_all_it_had(table: Table) -> None:
    """The probe learns a last layer of its own; a deeper edit changes what it learns from."""
    registered = table.row("registered").probe
    assert {table.row(solver, 1).probe for solver in SOLVERS} == {registered}
    assert any(table.row(solver, 4).probe != registered for solver in SOLVERS)


@pytest.mark.parametrize(
    ("worst", "drop", "holds"), [(0.02, 0.015, True), (0.03, 0.0, False), (0.0, 0.016, False)], ids=str
)
def test_a_cell_holds_at_both_bars_and_not_beyond_either(
    table: Table, monkeypatch: pytest.MonkeyPatch, worst: float, drop: float, *, holds: bool
) -> None:
    monkeypatch.setattr(table.subject, "measure", lambda *_: table.script.Figures(worst, drop, probe=0.5))
    cells = table.subject.cells(FORGOTTEN)
    next(cells)
    assert next(cells).holds is holds


def test_a_line_shows_points_and_per_cents(table: Table) -> None:
    row = table.script.Row(
        "digits", (3, 8), "projection", 2, 4, (1.0, 2.0), 0.0, worst=0.125, drop=-0.0104, probe=0.87, holds=False
    )
    header, rule, line, other = table.script.table([row, table.rows[0]]).splitlines()
    assert line == "| digits | 2 | projection | 2 of 4 | -1.04 | 12.5 | 87.0 | no |"
    assert other.startswith("| digits | 2 | registered |  | +0.00 |")
    assert {text.count("|") for text in (header, rule, line, other)} == {9}
