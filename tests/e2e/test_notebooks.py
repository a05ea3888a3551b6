"""The notebooks run from their first cell to the last, and what they show is what they showed."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def answers(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Return of each cell what kinds of answers it shows; what libraries write to the side is none."""
    return [[k for o in cell.get("outputs", ()) for k in sorted(o.get("data", ()))] for cell in notebook.cells]


def test_both_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["five_minutes", "own_solver"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_kept_with_their_answers(path: Path) -> None:
    kept = json.loads(path.read_text())
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] in ("error", "stream")]
    assert "/tmp/" not in json.dumps([cell["outputs"] for cell in code])


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel is another process, and its client leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_they_run(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.reads(path.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    shown = answers(notebook)
    NotebookClient(notebook, timeout=550, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # Assertions in the cells say what must hold; an error in any of them ends the run.
    assert answers(notebook) == shown
