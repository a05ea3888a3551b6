"""The main task of each page, done by a person: with JavaScript and without, narrow and wide, light and dark."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from ledger.domain.access import Scope
from ledger.domain.states import Action, RequestState
from ledger.service.access.sessions import create_login_link
from ledger.service.access.tokens import create_token
from ledger.service.requests.decisions import decide
from ledger.service.requests.listing import show_request
from tests.web.pages.conftest import CROW, MODEL, OpenPage, Served
from tests.web.pages.foretelling import carry_out

LOOKS = [
    pytest.param({"javascript": True, "width": 1280}, id="wide-light"),
    pytest.param({"javascript": False, "width": 390, "dark": True}, id="narrow-dark-without-javascript"),
]
everywhere = pytest.mark.parametrize("look", LOOKS)
Look = dict[str, bool | int]


def _state(served: Served, number: int) -> RequestState:
    return show_request(served.ledger, number)[1].state


@everywhere
def test_sign_in_with_a_link_that_works_once_and_sign_out(open_page: OpenPage, served: Served, look: Look) -> None:
    page = open_page(scopes=None, expects_errors=True, **look)
    link = f"/login?link={create_login_link(served.ledger, 'grace')}"
    page.goto(link)
    expect(page.get_by_role("heading", name="Status")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/inbox")
    expect(page).to_have_url(re.compile("/login"))
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("used")


@everywhere
def test_sign_in_with_a_token_and_go_where_one_wanted_to(open_page: OpenPage, served: Served, look: Look) -> None:
    page = open_page(scopes=None, expects_errors=True, **look)
    page.goto("/inbox")
    page.get_by_label("Token").fill("ul_1_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("no token of this ledger")
    _, text = create_token(served.ledger, "officer", {Scope.READ})
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


@everywhere
def test_status_leads_to_what_is_late(open_page: OpenPage, look: Look) -> None:
    page = open_page(**look)
    page.goto("/")
    expect(page.get_by_text("no worker is there")).to_be_visible()
    page.get_by_role("link", name="overdue").click()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    expect(page.get_by_text("days late").first).to_be_visible()


@everywhere
def test_decide_about_many_requests_with_one_reason(open_page: OpenPage, served: Served, look: Look) -> None:
    first, second = served.file(CROW, approval=True), served.file(CROW, approval=True)
    page = open_page(**look)
    page.goto("/inbox")
    _filter(page, "that want a decision", javascript=bool(look.get("javascript", True)))
    for one in (first, second):
        page.get_by_label(f"Choose request {one.id}", exact=True).check()
    page.get_by_label("Decide all chosen").select_option("deny")
    page.get_by_label("Reason").fill("asked twice")
    # Somebody else is quicker with one of them: that one is told, and the other is decided.
    decide(served.ledger, second.id, Action.CANCEL, "by phone")
    page.get_by_role("button", name="Decide", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("1.request decided, 1 refused"))).to_be_visible()
    assert _state(served, first.id) is RequestState.DENIED
    assert _state(served, second.id) is RequestState.CANCELLED


def _filter(page: Page, show: str, *, javascript: bool) -> None:
    page.get_by_label("Show").select_option(label=show)
    if not javascript:
        page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("show=undecided"))


@everywhere
def test_decide_about_one_request(open_page: OpenPage, served: Served, look: Look) -> None:
    request = served.file(CROW, approval=True)
    page = open_page(**look)
    page.goto(f"/requests/{request.id}")
    page.get_by_role("radio", name="deny").check()
    page.get_by_label("Reason").fill("not the owner of these images")
    page.get_by_role("button", name="Record the decision").click()
    expect(page.get_by_role("status")).to_contain_text("recorded")
    expect(page.locator(".history")).to_contain_text("not the owner of these images")
    assert _state(served, request.id) is RequestState.DENIED


@everywhere
def test_a_decision_about_something_else_than_was_seen_is_refused(
    open_page: OpenPage, served: Served, look: Look
) -> None:
    request = served.file(CROW, approval=True)
    page = open_page(expects_errors=True, **look)
    page.goto(f"/requests/{request.id}")
    page.get_by_role("radio", name="cancel").check()
    page.get_by_label("Reason").fill("a long explanation")
    decide(served.ledger, request.id, Action.APPROVE, "by somebody else")
    page.get_by_role("button", name="Record the decision").click()
    expect(page.get_by_role("alert")).to_contain_text("changed since you looked at it")
    expect(page.get_by_label("Reason")).to_have_value("a long explanation")
    assert _state(served, request.id) is RequestState.QUEUED
    page.get_by_role("button", name="Record the decision").click()
    expect(page.get_by_role("status")).to_contain_text("recorded")
    assert _state(served, request.id) is RequestState.CANCELLED


@everywhere
def test_give_a_request_more_time(open_page: OpenPage, served: Served, look: Look) -> None:
    request = served.file(CROW, approval=True)
    page = open_page(**look)
    page.goto(f"/requests/{request.id}")
    page.get_by_role("radio", name="extend").check()
    page.get_by_label("New due date").fill("2099-12-31")
    page.get_by_label("Reason").fill("complex")
    page.get_by_role("button", name="Record the decision").click()
    expect(page.locator("dl time[datetime^='2099-12-31']")).to_be_visible()


@everywhere
def test_what_was_live_on_a_date(open_page: OpenPage, look: Look) -> None:
    page = open_page(**look)
    page.goto("/models")
    page.get_by_role("link", name="birds").click()
    page.get_by_label("At the end of this day").fill(f"{datetime.now(UTC):%Y-%m-%d}")
    page.get_by_role("button", name="Look up").click()
    expect(page.locator("#on-date")).to_contain_text("version 3 was live")
    # Anew: an answer that is still being put in place could take the next date with it.
    page.goto("/models/1")
    page.get_by_label("At the end of this day").fill("2001-01-01")
    page.get_by_role("button", name="Look up").click()
    expect(page.locator("#on-date")).to_contain_text("not registered yet")


@everywhere
def test_a_version_tells_first_what_was_not_tested(open_page: OpenPage, look: Look) -> None:
    page = open_page(**look)
    page.goto("/models/1/versions/2")
    main = page.locator("main").inner_text()
    assert main.index("Not tested") < main.index("L1 outputs")
    expect(page.get_by_role("row", name=re.compile("zeisig forgotten"))).to_be_visible()


@everywhere
def test_a_rollback_shows_what_it_reopens_before_it_asks(open_page: OpenPage, served: Served, look: Look) -> None:
    page = open_page(expects_errors=True, **look)
    page.goto("/models/1/versions/0")
    page.get_by_role("link", name="Roll back to this version").click()
    expect(page.get_by_text("The model would know again:")).to_be_visible()
    expect(page.get_by_role("table", name="Reopened by this rollback")).to_contain_text("zeisig")
    page.get_by_label("Reason").fill("only to look at it")
    before = _live(served)
    # Nothing has been done before somebody says so: this person does not.
    page.get_by_role("link", name="Leave it as it is").click()
    expect(page.get_by_role("heading", name="Version 0")).to_be_visible()
    assert _live(served) == before


@everywhere
def test_a_rollback_that_was_seen_is_carried_out(open_page: OpenPage, served: Served, look: Look) -> None:
    # To whichever of the two versions with other weights is not what is live.
    target = 2 if look["javascript"] else 1
    page = open_page(**look)
    page.goto(f"/models/1/rollback/{target}")
    page.get_by_label("Reason").fill("second thoughts")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("status")).to_contain_text("rolled back")
    expect(page.locator(".history > li").first).to_contain_text(f"a rollback to version {target}")


def _live(served: Served) -> int:
    with served.ledger.database.read() as tx:
        return tx.versions.live(tx.models.get(MODEL)).number


@everywhere
def test_preview_then_file(open_page: OpenPage, served: Served, look: Look) -> None:
    page = open_page(**look)
    page.goto("/preview")
    page.get_by_role("checkbox", name="wren").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="waits for a worker")).to_be_visible()
    carry_out(served)
    if not look["javascript"]:
        page.reload()
    expect(page.get_by_role("heading", name="What forgetting would cost")).to_be_visible()
    page.get_by_label("Reason").fill("consent withdrawn")
    page.get_by_label("Legal basis").fill("GDPR art. 17")
    page.get_by_role("button", name="File it, bound to this preview").click()
    expect(page.get_by_role("status")).to_contain_text("filed")
    expect(page.get_by_text("consent withdrawn").first).to_be_visible()


@everywhere
def test_check_the_whole_history_and_take_it_along(open_page: OpenPage, look: Look, tmp_path: Path) -> None:
    page = open_page(**look)
    page.goto("/audit")
    if page.get_by_role("button", name="Sign the head now").is_visible():
        page.get_by_role("button", name="Sign the head now").click()
    page.get_by_role("button", name="Verify now").click()
    expect(page.locator("#verified")).to_contain_text("entries verify")
    with page.expect_download() as download:
        page.get_by_role("link", name="The whole log").click()
    download.value.save_as(tmp_path / "log.jsonl")
    with page.expect_download() as download:
        page.get_by_role("link", name="The verifier's key").click()
    key = download.value.path().read_text().strip()
    assert (tmp_path / "log.jsonl").read_text().count("\n") > 20
    assert "+" in key
    # How many pages there are depends on what others did in this ledger meanwhile.
    page.goto("/audit?before=40")
    expect(page.get_by_role("row", name=re.compile("model registered"))).to_be_visible()
    expect(page.locator("#entry-40")).to_be_hidden()
    page.get_by_role("link", name="Newer").click()
    expect(page.locator("#entry-40")).to_be_visible()


@everywhere
def test_a_token_is_shown_once_and_revoked(open_page: OpenPage, look: Look) -> None:
    name = f"night batch {'js' if look['javascript'] else 'plain'}"
    page = open_page(**look)
    page.goto("/tokens")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("checkbox", name="file").check()
    page.get_by_role("button", name="Make the token").click()
    expect(page.locator(".once code")).to_have_text(re.compile("^ul_"))
    page.goto("/tokens")
    expect(page.locator(".once")).to_have_count(0)
    page.get_by_role("button", name=f"Revoke {name}").click()
    expect(page.get_by_role("status")).to_contain_text("revoked")
    expect(page.get_by_role("button", name=f"Revoke {name}")).to_have_count(0)


@everywhere
def test_a_private_address_is_refused_as_a_webhook(open_page: OpenPage, look: Look) -> None:
    page = open_page(expects_errors=True, **look)
    page.goto("/webhooks")
    page.get_by_label("Address").fill("https://127.0.0.1/hook")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Address")).to_have_value("https://127.0.0.1/hook")
    expect(page.get_by_text("Nobody is told yet.")).to_be_visible()


def test_a_page_hears_what_others_do(open_page: OpenPage, served: Served) -> None:
    request = served.file(CROW, approval=True)
    page = open_page()
    with page.expect_response("**/api/v1/events?after=*"):
        page.goto(f"/requests/{request.id}")
    page.get_by_label("Reason").fill("half a sent")
    decide(served.ledger, request.id, Action.APPROVE, "the owner called")
    expect(page.locator(".history")).to_contain_text("the owner called")
    expect(page.locator("#request-head")).to_contain_text("queued")
    expect(page.get_by_label("Reason")).to_have_value("half a sent")


def test_a_page_hears_what_happened_before_it_began_to_listen(open_page: OpenPage, served: Served) -> None:
    request = served.file(CROW, approval=True)
    page = open_page()

    def dawdle(route: Route) -> None:
        decide(served.ledger, request.id, Action.APPROVE, "the owner called")
        route.continue_()

    page.route("**/api/v1/events*", dawdle)
    page.goto(f"/requests/{request.id}")
    expect(page.locator(".history")).to_contain_text("the owner called")


@pytest.mark.parametrize("late", ["hx-sse", "htmx"])
def test_a_page_listens_whichever_script_comes_last(open_page: OpenPage, served: Served, late: str) -> None:
    request = served.file(CROW, approval=True)
    page = open_page()
    held: list[Route] = []
    page.route(f"**/{late}.min.js*", lambda route: held.append(route))  # noqa: PLW0108 - a method of a list it refuses
    page.goto(f"/requests/{request.id}", wait_until="commit")
    expect(page.locator("footer")).to_be_visible()
    page.wait_for_timeout(300)
    with page.expect_response("**/api/v1/events?after=*"):
        held[0].continue_()


def test_only_pages_that_show_what_happens_listen(open_page: OpenPage, served: Served) -> None:
    request = served.file(CROW)
    page = open_page()
    for address, listens in (("/", 1), (f"/requests/{request.id}", 1), ("/inbox", 0), ("/models", 0), ("/audit", 0)):
        page.goto(address)
        expect(page.locator("#events")).to_have_count(listens)


def test_decide_with_the_keyboard_alone(open_page: OpenPage, served: Served) -> None:
    request = served.file(CROW, approval=True)
    page = open_page()
    page.goto(f"/requests/{request.id}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    assert _outline(page) != "none"
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="deny")).to_be_checked()
    while page.evaluate("document.activeElement.id") != "reason":
        page.keyboard.press("Tab")
    page.keyboard.type("no such person")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("recorded")
    assert _state(served, request.id) is RequestState.DENIED


def _outline(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
