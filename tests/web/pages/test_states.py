"""What pages look like when nothing is there yet, and when something is wrong: accessible in every look."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from ledger.config import create_config, find_config
from ledger.desk.local.jobs import JOB_DOCUMENTS
from ledger.documents.models import version_part
from ledger.domain.access import Scope
from ledger.domain.events.requests import RequestBlocked
from ledger.domain.jobs import JobKind
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action, RequestState
from ledger.errors import DataError, PreconditionError
from ledger.service.ledger import create_ledger
from ledger.service.progress import Silent
from ledger.service.requests.claims import claim_next
from ledger.service.requests.filing import enqueue
from ledger.service.requests.held_jobs import HeldJobs
from ledger.service.requests.job_worker import carry_out_jobs
from ledger.service.requests.jobs import add_job
from tests.web.pages.conftest import CROW, KITE, MODEL, WREN, OpenPage, Served, fill, serving
from tests.web.pages.foretelling import previewed
from tests.web.pages.looking import require_accessible_everywhere

LONG = "an-uncommonly-long-and-unbroken-name-of-a-class-which-fits-on-no-telephone-at-all"


@dataclass
class Troubled:
    """A server of a ledger in which much is wrong, and the addresses of pages that tell of it."""

    served: Served
    pages: dict[str, str]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A ledger in which nothing has happened."""
    folder = tmp_path_factory.mktemp("empty") / "ledger"
    create_ledger(create_config(folder, "sqlite:///ledger.db", "objects"), "ada").close()
    with serving(find_config(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """A ledger that asks for two people, with a blocked request, a dead worker, and jobs in every state."""
    folder = tmp_path_factory.mktemp("troubled") / "ledger"
    fill(folder, labels=(LONG, *(f"{LONG}-{k}" for k in range(1, 9)), "finch"))
    with (folder / "unledger.toml").open("a") as settings:
        settings.write("\n[access]\nfour_eyes = true\n")
    with serving(find_config(folder)) as served:
        blocked, _ = (_queued(served, one) for one in (WREN, KITE))
        pages = {
            "blocked": f"/requests/{_block(served, blocked)}",
            "dead worker": f"/requests/{_abandon(served)}",
            "four eyes": f"/requests/{_own(served)}",
            "preview": previewed(served, WREN),
        }
        with served.client() as client:
            asked = client.post("/models/1/preview", data={"class": str(CROW)})
            pages["waiting preview"] = asked.url.path
            _fail(served)
            pages["failed preview"] = pages.pop("waiting preview")
            pages["waiting preview"] = client.post("/models/1/preview", data={"class": str(CROW)}).url.path
        for state in ("waiting", "done", "failed"):
            pages[f"{state} withdrawal"] = f"/withdrawals/{_withdrawal(served, state)}"
        yield Troubled(served, pages)


def _queued(served: Served, index: int) -> int:
    """File a request and let somebody else approve it."""
    request = served.file(index)
    with served.client() as client:
        client.post(f"/requests/{request.id}", data={"action": "approve", "reason": "fine"})
    return request.id


def _block(served: Served, number: int) -> int:
    at = datetime.now(UTC)
    with served.ledger.database.write() as tx:
        tx.requests.act(number, Action.CLAIM, at=at)
        tx.requests.act(number, Action.BLOCK, at=at, outcome=f"worst_class_loss is 0.31, of {LONG}")
        blocked = RequestBlocked(state=RequestState.BLOCKED, error="GateError", epoch=1, missed=("loss",))
        tx.audit.append(blocked, at=at, actor="worker", model=MODEL, request_id=number)
    return number


def _abandon(served: Served) -> int:
    claim = claim_next(served.ledger, "worker-that-died", MODEL, lease=0.001)
    assert claim is not None
    return claim.request.id


def _own(served: Served) -> int:
    return enqueue(served.ledger, MODEL, [NewRequest(frozenset({CROW}), "grace")])[0].request.id


def _fail(served: Served) -> None:
    def compute(*_: object) -> None:
        raise DataError(f"the images of {LONG} are gone", "restore them")

    assert [*carry_out_jobs(served.ledger, Silent(), JOB_DOCUMENTS, compute=compute)]  # type: ignore[arg-type]


def _withdrawal(served: Served, state: str) -> str:
    """Ask for a withdrawal, and answer it as a worker would."""
    ledger = served.ledger
    asked = {"request": 1, "reason": "consent was given again", "waive_gates": False, "solvers": [], "expected": state}
    with ledger.database.touch() as tx:
        model = tx.models.get(MODEL)
        live = tx.versions.live(model)
        job = add_job(tx, ledger, JobKind.WITHDRAWAL, model, asked)
        held = HeldJobs(ledger, "worker", 60)
    if state != "waiting":
        # Previews that wait came first.
        while (claimed := held.claim(MODEL)) is not None and claimed.id != job.id:
            pass
        if state == "done":
            held.answer(job, {"schema": "unledger.decision/1", "version": version_part(live, model, live.number)})
        else:
            held.fail(job, PreconditionError("request 1 changed since you looked at it", "look again", current="x"))
    return job.id


@pytest.mark.parametrize("address", ["/", "/inbox", "/models", "/audit", "/certificates", "/tokens", "/webhooks"])
def test_a_page_that_is_empty_says_what_to_do(open_page: OpenPage, empty: Served, address: str) -> None:
    page = open_page(of=empty)
    page.goto(address)
    if address not in {"/audit", "/tokens"}:
        expect(page.locator(".empty").first).to_be_visible()
    require_accessible_everywhere(page)


WRONG = (
    *("blocked", "dead worker", "four eyes", "preview", "failed preview", "waiting preview"),
    *("waiting withdrawal", "done withdrawal", "failed withdrawal"),
)


@pytest.mark.parametrize("state", WRONG)
def test_a_page_that_tells_of_trouble_is_accessible(open_page: OpenPage, troubled: Troubled, state: str) -> None:
    page = open_page(of=troubled.served)
    page.goto(troubled.pages[state])
    require_accessible_everywhere(page)


@pytest.mark.parametrize("state", ["four eyes", "blocked"])
def test_a_page_stays_legible_while_it_asks_for_news(open_page: OpenPage, troubled: Troubled, state: str) -> None:
    page = open_page(of=troubled.served)
    page.goto(troubled.pages[state])
    held: list[Route] = []
    page.route(page.url, lambda route: held.append(route))  # noqa: PLW0108 - a method of a list it refuses
    page.evaluate("address => { htmx.trigger(document.querySelector('.live'), 'htmx:sse:after:message') }", page.url)
    expect(page.locator(".live.htmx-request")).to_be_visible()
    require_accessible_everywhere(page)
    held[0].continue_()
    expect(page.locator(".live.htmx-request")).to_have_count(0)


@pytest.mark.parametrize(
    "address", ["/", "/inbox?show=overdue", "/inbox?show=blocked", "/models/1", "/models/1/versions/2"]
)
def test_a_page_with_long_names_and_much_trouble_fits(open_page: OpenPage, troubled: Troubled, address: str) -> None:
    page = open_page(of=troubled.served)
    page.goto(address)
    require_accessible_everywhere(page)


@pytest.mark.parametrize("address", ["/inbox", "/tokens", "/requests/1"])
def test_a_page_that_is_not_for_somebody_says_so(open_page: OpenPage, troubled: Troubled, address: str) -> None:
    page = open_page(of=troubled.served, scopes=frozenset({Scope.FILE}), expects_errors=True)
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("scope")
    require_accessible_everywhere(page)


def _approve_own(page: Page, troubled: Troubled) -> None:
    page.goto(troubled.pages["four eyes"])
    page.get_by_role("radio", name="approve").check()
    page.get_by_role("textbox", name="Reason").fill(LONG)
    page.get_by_role("button", name="Record the decision").click()


def _extend_into_the_past(page: Page, troubled: Troubled) -> None:
    page.goto(troubled.pages["blocked"])
    page.get_by_role("radio", name="extend").check()
    page.get_by_label("New due date").fill("2001-01-01")
    page.get_by_role("textbox", name="Reason").fill(LONG)
    page.get_by_role("button", name="Record the decision").click()


def _deny_with_a_date(page: Page, _troubled: Troubled) -> None:
    page.goto("/inbox?show=all&choose=all")
    page.get_by_label("Decide all chosen").select_option("deny")
    page.get_by_label("New due date").fill("2099-01-01")
    page.get_by_role("textbox", name="Reason").fill(LONG)
    page.get_by_role("button", name="Decide", exact=True).click()


def _file_from_the_future(page: Page, troubled: Troubled) -> None:
    page.goto(troubled.pages["preview"])
    page.get_by_role("textbox", name="Reason").fill(LONG)
    page.get_by_label("Received on").evaluate("field => { field.max = ''; field.value = '2099-01-01' }")
    page.get_by_role("button", name="File it").click()


def _roll_back_for_no_reason(page: Page, _troubled: Troubled) -> None:
    page.goto("/models/1/rollback/0")
    page.get_by_role("textbox", name="Reason").evaluate("field => { field.required = false; field.value = ' ' }")
    page.get_by_role("button", name="Roll back").click()


def _make_a_useless_token(page: Page, _troubled: Troubled) -> None:
    page.goto("/tokens")
    page.get_by_label("Name", exact=True).fill(LONG)
    page.get_by_role("button", name="Make the token").click()


REFUSED = [
    (_approve_own, "two people are asked for"),
    (_extend_into_the_past, "already"),
    (_deny_with_a_date, "moves no due date"),
    (_file_from_the_future, "in the future"),
    (_roll_back_for_no_reason, "needs a reason"),
    (_make_a_useless_token, "no scope is named"),
]


@pytest.mark.parametrize(("fill_in", "told"), REFUSED, ids=[one[0].__name__.strip("_") for one in REFUSED])
def test_a_form_that_was_refused_says_why_and_keeps_what_was_typed(
    open_page: OpenPage, troubled: Troubled, fill_in: object, told: str
) -> None:
    page = open_page(of=troubled.served, expects_errors=True)
    fill_in(page, troubled)  # type: ignore[operator]
    expect(page.get_by_role("alert")).to_contain_text(told)
    if "reason" not in told:
        typed = page.eval_on_selector_all("input, textarea", "all => all.map(one => one.value)")
        assert LONG in typed
    require_accessible_everywhere(page)
