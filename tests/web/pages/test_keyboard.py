"""The main task of every page by keyboard alone: what has the focus is visible, and everything is reached by Tab."""

import pytest
from playwright.sync_api import Page, expect

from tests.web.pages.conftest import CROW, OpenPage, Served
from tests.web.pages.foretelling import previewed

Steps = list[tuple[str, str]]
"""What to go to with Tab, as a selector, and what to press or type there."""
FARTHEST = 150
"""Presses of Tab after which something is not reached."""
TASKS: dict[str, tuple[str, Steps, str]] = {
    "status": ("/", [("a[href='/inbox?show=overdue']", "Enter")], "days late"),
    "inbox": (
        "/inbox?show=undecided",
        [("#action", "d"), ("#reason", "type:twice"), ("[name=request]", "Space"), (".bulk button", "Enter")],
        "request decided",
    ),
    "request": (
        "OWN",
        [("[name=action]", "ArrowDown"), ("#reason", "type:no such person"), ("#decide button", "Enter")],
        "The decision was recorded.",
    ),
    "models": ("/models", [("main a.name", "Enter")], "is live."),
    "model": ("/models/1", [("#on", "type:01022001"), ("#on ~ button, form button", "Enter")], "not registered yet"),
    "version": ("/models/1/versions/0", [("a[href$='/rollback/0']", "Enter")], "Nothing has been changed yet."),
    "rollback": ("/models/1/rollback/0", [("#reason", "type:only to look"), ("main a.button", "Enter")], "Version 0"),
    "preview": ("/models/1/preview", [("[name=class]", "Space"), ("main form button", "Enter")], "waits for a worker"),
    "filing": ("PREVIEW", [("#reason", "type:asked by post"), ("main form button", "Enter")], "The request was filed"),
    "report": ("/models/1/report", [("main a[href*=report]", "")], "Report"),
    "audit": ("/audit", [("form[action='/audit/verify'] button", "Enter")], "entries verify"),
    "certificate": ("/requests/1/certificate", [("main form button", "Enter")], "Certificate"),
    "certificates": ("/certificates", [("nav a[href='/certificates']", "Enter")], "Certificates"),
    "tokens": (
        "/tokens",
        [("#name", "type:by keyboard"), ("[name=scope]", "Space"), ("form[action='/tokens'] button", "Enter")],
        "Copy it now",
    ),
    "webhooks": (
        "/webhooks",
        [("#url", "type:https://127.0.0.1/hook"), ("form[action='/webhooks'] button", "Enter")],
        "127.0.0.1",
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_main_task_of_a_page_is_done_by_keyboard_alone(open_page: OpenPage, served: Served, task: str) -> None:
    address, steps, told = TASKS[task]
    page = open_page(expects_errors=task == "webhooks")
    if address == "OWN":
        address = f"/requests/{served.file(CROW, approval=True).id}"
    elif address == "PREVIEW":
        address = previewed(served, CROW)
    elif task == "inbox":
        served.file(CROW, approval=True)
    page.goto(address)
    for selector, keys in steps:
        _tab_to(page, selector)
        if keys.startswith("type:"):
            page.keyboard.type(keys.removeprefix("type:"))
        elif keys:
            page.keyboard.press(keys)
    expect(page.locator("main")).to_contain_text(told)


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus, which everybody must see."""
    for _ in range(FARTHEST):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "wanted => document.activeElement.matches(wanted) && getComputedStyle(document.activeElement).outlineStyle",
            selector,
        )
        if outline:
            assert outline != "none"
            return
    pytest.fail(f"Tab does not lead to {selector}")
