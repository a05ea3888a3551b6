"""What Sphinx does besides: pages read from the program, navigation, and a look at every link."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from .commands import commands_page
from .docstrings import find, rewrite, sign
from .links import broken_links
from .navigation import with_toctrees
from .python_api import modules_page
from .schemas import schemas_page
from .settings import MODEL_TABLES, TABLES, settings_page

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"<!-- on the site: (?P<what>[a-z ]+?)(?: of (?P<names>[\w. ]+))? -->")
"""Where a page wants something that is read from the program; on other readers' screens there is nothing."""
SOURCES: Mapping[str, Callable[[list[str]], str]] = {
    "commands": lambda _: commands_page(),
    "modules": modules_page,
    "schemas": lambda _: schemas_page(ROOT),
    "settings": lambda _: settings_page(TABLES),
    "settings by model": lambda _: settings_page(MODEL_TABLES),
}
OFF_SITE = re.compile(r"<!-- off the site -->\n(?:.+\n)+\n?")
"""A paragraph for readers of the page elsewhere: it says where to find what is read from the program."""
INDEX = "docs/index"
log = logging.getLogger(__name__)


def complete(text: str) -> str:
    """Return a page's text with what is read from the program in its places."""
    text = OFF_SITE.sub("", text)
    return PLACE.sub(lambda place: SOURCES[place["what"]]((place["names"] or "").split()), text)


def _read(_app: Sphinx, page: str, source: list[str]) -> None:
    if not source[0].lstrip().startswith("{"):
        source[0] = complete(source[0])
    if page == INDEX:
        source[0] = with_toctrees(source[0], page)


def _outdated(_app: Sphinx, environment: Any, _added: set[str], _changed: set[str], _gone: set[str]) -> list[str]:
    # What they show is code, of whose changes Sphinx does not know.
    return [page for page in environment.found_docs if page.startswith("docs/reference/")]


def _check_links(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        for page, link in broken_links(Path(app.outdir)):
            log.warning("%s leads nowhere", link, location=page)


def setup(app: Sphinx) -> dict[str, Any]:
    """Take part in making a site."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", sign)
    app.connect("missing-reference", find)
    app.connect("build-finished", _check_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
