"""The documentation as a site: made without a warning, with links that lead somewhere, of what the program has."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
needs_sphinx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_nb", "furo")),
    reason="the site needs Sphinx: make docs installs it",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the finished site."""
    place = tmp_path_factory.mktemp("site")
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"python -m sphinx (.+) -d build/doctrees \. build/docs$", makefile, re.MULTILINE)
    assert "-W" in options
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options.split(), "-d", place / "doctrees", ROOT, place / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "html"


def shown(site: Path, page: str) -> str:
    """Return a page of the site as HTML."""
    return (site / "docs" / f"{page}.html").read_text()


@needs_sphinx
@pytest.mark.slow
def test_every_page_is_in_the_navigation(site: Path) -> None:
    start = shown(site, "index")
    pages = {os.path.relpath(page, ROOT / "docs").removesuffix(".md") for page in PAGES} - {"index"}
    assert len(pages) > 60
    sidebar = start.partition('class="sidebar-tree"')[2].partition("</aside>")[0]
    assert [page for page in sorted(pages) if f'href="{page}.html"' not in sidebar] == []
    assert (site / "index.html").is_file()


@needs_sphinx
@pytest.mark.slow
def test_commands_are_those_of_the_program(site: Path) -> None:
    from ledger.cli.examples import EXAMPLES

    page = shown(site, "reference/commands")
    assert [name for name in EXAMPLES if f'id="unledger-{name.replace(" ", "-")}"' not in page] == []
    assert "--contact-sheet" in page


@needs_sphinx
@pytest.mark.slow
def test_errors_hooks_settings_and_schemas_are_those_of_the_program(site: Path) -> None:
    from ledger import errors, hookspecs

    page = shown(site, "reference/errors")
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert [name for name in kinds if f'id="ledger.errors.{name}"' not in page] == []
    assert page.count("Exit code ") == len(kinds)
    hooks = [name for name in vars(hookspecs) if name.startswith("unledger_")]
    assert [name for name in hooks if f'id="ledger.hookspecs.{name}"' not in shown(site, "reference/hooks")] == []
    settings = shown(site, "reference/settings")
    assert [name for name in toml_names() if f">{name}<" not in settings] == []
    schemas = [path.stem for path in (ROOT / "ledger" / "documents" / "schemas").glob("*.json")]
    listed = shown(site, "reference/schemas")
    assert [name for name in schemas if name != "parts" and f"unledger.{name}/1" not in listed] == []


def toml_names() -> set[str]:
    """Return the names of what ``unledger.toml`` may set."""
    import dataclasses

    from ledger.config import _File
    from ledger.domain.access_policy import AccessPolicy, OidcPolicy, WebhookPolicy
    from ledger.domain.gate_policy import _MODEL_KEYS, _RETRAINED_KEYS
    from ledger.domain.plugin_policy import PluginPolicy

    fields = {
        field.name
        for kind in (_File, PluginPolicy, AccessPolicy, OidcPolicy, WebhookPolicy)
        for field in dataclasses.fields(kind)
    }
    return {*fields, *_MODEL_KEYS, *_RETRAINED_KEYS} - {"plugins", "gates", "access", "webhooks", "oidc"}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    links = pytest.importorskip("docs.building.links")
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="#top"></a><a href="b.html#there"></a><img src="c.png">'
    )
    (tmp_path / "b.html").write_text('<a href="https://example.org/x"></a><a href="a.html#gone"></a><a id="there"></a>')
    assert list(links.broken_links(tmp_path)) == [("a.html", "c.png"), ("b.html", "a.html#gone")]


def test_variables_of_the_environment_are_listed() -> None:
    told = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert sorted(set(variables()) - set(re.findall(r"`(UNLEDGER_\w+)`", told))) == []
    assert len(set(variables())) >= 7


def variables() -> Iterator[str]:
    """Yield the variables of the environment that the source names."""
    for folder in ("ledger", "cli", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and re.fullmatch(r"UNLEDGER_[A-Z_]+", str(node.value)):
                    yield str(node.value)


def test_each_setting_says_what_it_means() -> None:
    from docs.building.settings import MODEL_TABLES, TABLES, meanings

    silent = [
        f"{table.holder.__name__}.{name}"
        for table in (*TABLES, *MODEL_TABLES)
        for name in table.holder.__dataclass_fields__
        if not name.startswith("_") and name not in table.omitted and name not in meanings(table.holder)
    ]
    assert silent == []


def test_notebooks_are_shown_with_their_answers() -> None:
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert any(cell.get("outputs") for cell in cells), path.name
