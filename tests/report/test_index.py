"""Reports on all models, and their index."""

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ledger.config import find_config
from ledger.errors import ConflictError
from ledger.report.index import page_names
from ledger.service.ledger import open_ledger
from tests.ledgers.reports import write_all
from tests.ledgers.sample import LABELS, START, Sample

NAMES = ("<b>birds</b>", "Birds", "birds", "../../etc", "index")


class Links(HTMLParser):
    """Collects where links lead, and which tags there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name == "href"]


@pytest.fixture
def several(empty_folder: Path, tmp_path: Path) -> Iterator[Sample]:
    folder = tmp_path / "ledger"
    shutil.copytree(empty_folder, folder)
    ledger = open_ledger(find_config(folder), "ada", clock=lambda: START)
    for name in NAMES:
        sample = Sample(ledger, [START], name)
        sample.register(LABELS)
    sample.forget(0)
    yield sample
    ledger.close()


def test_every_model_has_a_page_that_the_index_leads_to(several: Sample, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    index, *pages = write_all(several.ledger, folder)
    assert index == folder / "index.html"
    assert sorted([index, *pages]) == sorted(folder.iterdir())
    assert len(pages) == len(NAMES)
    links = Links(index.read_text())
    assert sorted(links.found) == sorted(page.name for page in pages)
    assert "b" not in links.tags
    text = index.read_text()
    assert "It was edited to forget owl" in text
    assert "http" not in text.replace("http-equiv", "")


def test_pages_are_replaced_with_force_only(several: Sample, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    index, *_ = write_all(several.ledger, folder)
    index.write_text("mine")
    with pytest.raises(ConflictError, match="not an empty folder"):
        write_all(several.ledger, folder)
    assert index.read_text() == "mine"
    write_all(several.ledger, folder, force=True)
    assert index.read_text() != "mine"


def test_names_of_pages_are_plain_and_differ_where_case_does_not_count() -> None:
    names = [*NAMES, "", "...", "日本", "a" * 200, "a" * 199 + "b"]
    found = page_names(names)
    files = [file.lower() for file in found.values()]
    assert len(set(files)) == len(names)
    assert all("/" not in file and not file.startswith(".") and len(file) < 100 for file in files)
    assert "index.html" not in files
