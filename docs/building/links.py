"""The links of a finished site: each leads to a file of it, and to a place within that file."""

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = {"a": "href", "link": "href", "img": "src", "script": "src"}


class _Page(HTMLParser):
    """Collects the links of a page, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, and its name."""
        values = dict(attrs)
        self.places |= {name for key in ("id", "name") if (name := values.get(key))}
        link = values.get(LINKS.get(tag, ""))
        if link is not None:
            self.links.append(link)


def broken_links(site: Path) -> Iterator[tuple[str, str]]:
    """Yield each page of a site with a link of it that leads nowhere; addresses of other sites are not asked.

    Args:
        site: The folder of the finished site.
    """

    @cache
    def read(path: Path) -> _Page:
        page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    for path in sorted(site.rglob("*.html")):
        for link in dict.fromkeys(read(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = target.is_file() and target.is_relative_to(site.resolve())
            place = unquote(parts.fragment)
            if not there or (place and target.suffix == ".html" and place not in read(target).places):
                yield str(path.relative_to(site)), link
