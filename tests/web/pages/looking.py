"""How a page is looked at: in every width and light that people have, by the rules of accessible pages."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

LOOKS = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
WIDEST = 1600
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BY_LOOK = {"type": "rule", "values": ["color-contrast", "target-size", "scrollable-region-focusable"]}
"""The rules whose answer depends on colours or layout; all others are asked once."""


def require_accessible_everywhere(page: Page) -> None:
    """Look at a page narrow and wide, light and dark: nothing is cut off, and no rule is broken."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        require_fit(page, width)
        require_accessible(page, WCAG if (width, scheme) == LOOKS[0] else BY_LOOK)
    page.set_viewport_size({"width": WIDEST, "height": 900})
    require_fit(page, WIDEST)


def require_fit(page: Page, width: int) -> None:
    """Nothing makes the page scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def require_accessible(page: Page, rules: object = WCAG) -> None:
    """No rule of accessible pages is broken."""
    found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
