"""Take the pictures of ``docs/pages.md``: pages of a small ledger with a past, as Chromium shows them.

    python benchmarks/page_pictures.py [FOLDER]

The ledger is the one that the tests of the pages look at. Look at the pictures before they are kept.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ledger.web.security.cookies import PLAIN_NAME  # noqa: E402 - the tests are found only now
from tests.web.pages.conftest import CHROMIUM, CROW, WREN, Served, fill, serving  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
WIDE, NARROW = (1024, 760), (390, 820)


@dataclass(frozen=True)
class Picture:
    """One page, and how it is looked at."""

    name: str
    address: str
    size: tuple[int, int] = WIDE
    dark: bool = False


def main() -> None:
    """Take all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    with tempfile.TemporaryDirectory() as place, serving(fill(Path(place) / "ledger")) as served:
        served.file(WREN, approval=True, reason="licence expired", external_id="CASE-4712")
        asked = served.file(CROW, approval=True, reason="consent withdrawn", basis="GDPR art. 17")
        pictures = (
            Picture("pages-status", "/"),
            Picture("pages-request", f"/requests/{asked.id}", dark=True),
            Picture("pages-rollback", "/models/1/rollback/0"),
            Picture("pages-inbox-narrow", "/inbox", NARROW),
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for picture in pictures:
                _take(browser, served, picture, folder)
            browser.close()


def _take(browser: Browser, served: Served, picture: Picture, folder: Path) -> None:
    width, height = picture.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if picture.dark else "light"
    )
    context.add_cookies([{"name": PLAIN_NAME, "value": served.cookie(name="ada"), "url": served.address}])
    page = context.new_page()
    page.goto(f"{served.address}{picture.address}")
    page.screenshot(path=folder / f"{picture.name}.png")
    context.close()


if __name__ == "__main__":
    main()
