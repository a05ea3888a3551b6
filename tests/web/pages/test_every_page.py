"""Every page, as a browser sees it: narrow and wide, light and dark, by the rules of accessible pages, and discreet."""

import pytest
from playwright.sync_api import Page

from tests.web.pages.conftest import LABELS, OpenPage
from tests.web.pages.looking import require_accessible_everywhere

PAGES = [
    "/",
    "/inbox",
    "/inbox?show=all&choose=all",
    "/inbox?show=blocked",
    "/requests/1",
    "/requests/3",
    "/requests/4",
    "/requests/1/certificate",
    "/models",
    "/models/1?on=2026-01-01",
    "/models/1/versions/0",
    "/models/1/versions/2",
    "/models/1/rollback/0",
    "/models/1/report",
    "/audit",
    "/audit?before=5",
    "/certificates",
    "/tokens",
    "/webhooks",
    "/models/1/preview",
]


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_accessible_and_discreet_in_every_look(open_page: OpenPage, address: str) -> None:
    page = open_page()
    answer = page.goto(address)
    assert answer is not None
    assert answer.ok
    require_accessible_everywhere(page)
    _require_discreet(page)


@pytest.mark.parametrize("address", ["/login", "/login?link=spent"])
def test_the_page_that_signs_in_is_accessible(open_page: OpenPage, address: str) -> None:
    page = open_page(scopes=None, expects_errors=True)
    page.goto(address)
    require_accessible_everywhere(page)


@pytest.mark.parametrize("address", ["/requests/999", "/models/77", "/nowhere", "/models/1/rollback/3"])
def test_an_error_is_a_page_that_leads_back(open_page: OpenPage, address: str) -> None:
    page = open_page(expects_errors=True)
    answer = page.goto(address)
    assert answer is not None
    assert 400 <= answer.status < 500
    assert "html" in answer.headers["content-type"]
    assert page.get_by_role("link", name="Go back").is_visible()
    require_accessible_everywhere(page)


def _require_discreet(page: Page) -> None:
    """No class is named where an address or the title of a window is kept or seen."""
    addresses = page.eval_on_selector_all(
        "[href], [src], [action]", "all => all.map(one => one.outerHTML.slice(0, one.outerHTML.indexOf('>')))"
    )
    kept = " ".join([page.url, page.title(), *addresses])
    assert not [label for label in LABELS if label in kept]
