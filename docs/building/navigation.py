"""The navigation of the site: it is the list of pages in `docs/index.md`, so there is only one."""

import posixpath
import re
from collections.abc import Iterator

SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)
ITEM = re.compile(r"^(?:-|\d+\.) \[[^\]]+\]\(([^)#\s]+\.(?:md|ipynb))\)", re.MULTILINE)


def with_toctrees(text: str, page: str) -> str:
    """Return a page with a hidden table of contents for each section that lists pages.

    Args:
        text: Its Markdown.
        page: Its name in the site, e.g. ``docs/index``.
    """
    trees = [_toctree(title, list(_pages(body, page))) for title, body in SECTION.findall(text) if ITEM.search(body)]
    return text + "\n" + "\n".join(trees)


def _pages(listed: str, page: str) -> Iterator[str]:
    for link in ITEM.findall(listed):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        yield "/" + path.rpartition(".")[0]


def _toctree(title: str, pages: list[str]) -> str:
    entries = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:caption: {title}\n\n{entries}\n```\n"
