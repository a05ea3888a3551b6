"""What the pages point to exists: links, files, modules and classes; the map of pages and the glossary are complete."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.domain.events.event import EventKind
from tests.fixtures.doc_blocks import PAGES, ROOT, blocks

FOLDERS = ("benchmarks", "cli", "docs", "ledger", "migrations", "plugins", "tests")
PLACEHOLDER = re.compile(r"NNNN|\*")
LOCAL_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


def identify(page: Path) -> str:
    """Name a page in a test's parameters."""
    return str(page.relative_to(ROOT))


def without_blocks(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """Return what stands in backticks, in sentences and tables."""
    return [span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", without_blocks(page))]


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings can be linked by."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def paths(page: Path) -> Iterator[str]:
    """Yield the files and folders of this repository that a page names, alone or within a command."""
    for span in spans(page):
        for word in span.split():
            named = word.partition("::")[0].rstrip("/,")
            if not PLACEHOLDER.search(named) and (named.split("/")[0] in FOLDERS and "/" in named):
                yield named.removesuffix(":")


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LOCAL_LINK.findall(without_blocks(page)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_named_files_exist(page: Path) -> None:
    assert [named for named in paths(page) if not (ROOT / named).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_scripts_named_without_a_folder_exist(page: Path) -> None:
    files = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    named = {span.split()[0] for span in spans(page) if re.fullmatch(r"[a-z_]+\.py", span.split()[0])}
    assert named <= files | {block.file for block in blocks(page)}


def resolve(name: str) -> Any:
    """Return the module, class or function with a dotted name.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    module, _, attribute = name.rpartition(".")
    if attribute[0].isupper() or hasattr(importlib.import_module(module), attribute):
        return getattr(importlib.import_module(module), attribute)
    return importlib.import_module(name)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_named_modules_and_classes_exist(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(r"ledger(\.\w+)+", span) and span not in list(EventKind):
            assert resolve(span) is not None


# -- the map of the pages -----------------------------------------------------------------------------


def test_every_page_is_on_the_map() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LOCAL_LINK.findall(index.read_text())}
    assert [page for page in map(identify, PAGES) if ROOT / page not in linked | {index}] == []


def test_decisions_are_listed_under_their_titles() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in sorted((ROOT / "docs" / "adr").glob("*.md")):
        number, _, title = page.read_text().splitlines()[0].removeprefix("# ").partition(". ")
        assert page.name.startswith(f"{int(number):04}-")
        assert f"{number}. [{title}](adr/{page.name})" in index


def test_the_map_is_within_reach() -> None:
    assert "docs/index.md" in (ROOT / "README.md").read_text()
    assert "ARCHITECTURE.md" in (ROOT / "CONTRIBUTING.md").read_text()


# -- the glossary -------------------------------------------------------------------------------------


def glossary() -> list[tuple[str, str, str]]:
    """Return the glossary's rows: term, meaning, where it is in the code."""
    text = (ROOT / "docs" / "glossary.md").read_text().partition("## Recorded names")[0]
    rows = (re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if line.startswith("| "))
    return [(term, meaning, code) for term, meaning, code in rows if term != "term"]


def test_a_term_stands_once_and_in_order() -> None:
    terms = [term for term, _, _ in glossary()]
    assert len(terms) == len(set(terms)) > 50
    text = (ROOT / "docs" / "glossary.md").read_text().partition("## Recorded names")[0]
    for section in text.split("\n## ")[1:]:
        listed = re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)[1:]
        assert listed == sorted(listed), section.splitlines()[0]


@pytest.mark.parametrize(("term", "meaning", "code"), glossary(), ids=[row[0] for row in glossary()])
def test_a_term_names_what_stands_for_it(term: str, meaning: str, code: str) -> None:
    assert meaning.endswith("."), term
    names = re.findall(r"`([^`]+)`", code)
    assert names
    assert all(resolve(name) is not None for name in names)


# -- the architecture ---------------------------------------------------------------------------------


def test_the_floors_are_those_that_imports_are_held_to() -> None:
    tree = ast.parse((ROOT / "tests" / "structure" / "test_layering.py").read_text())
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    text = (ROOT / "ARCHITECTURE.md").read_text()
    drawn = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    assert [int(number) for number, _ in drawn] == list(range(len(drawn), 0, -1))
    assert [set(re.findall(r"`([\w.]+)`", rooms)) for _, rooms in drawn] == ast.literal_eval(assigned["FLOORS"])
    plugins = re.search(r"`ledger.plugins` may import ([^\n]+)", text)
    assert plugins is not None
    assert set(re.findall(r"`([\w.]+)`", plugins[1])) == ast.literal_eval(assigned["PLUGINS_MAY_IMPORT"])


@pytest.mark.parametrize("package", ["ledger", "ledger/service", "plugins"])
def test_every_room_is_shown(package: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for folder in sorted(path.parent for path in (ROOT / package).glob("*/__init__.py")):
        assert re.search(rf"\b{folder.name}\b", text), folder
