"""What a caller's scopes do not allow is not shown, and refused anyway; what comes from elsewhere changes nothing."""

import re

import httpx
import pytest

from ledger.desk.local.audit import LocalAudit
from ledger.domain.access import ALL_SCOPES, Scope
from ledger.domain.states import RequestState
from ledger.errors import AuditError, IntegrityError, RowError
from ledger.service.requests.listing import show_request
from ledger.web.security.cookies import PLAIN_NAME
from tests.web.pages.conftest import CROW, LABELS, Served

SECTIONS = {
    Scope.READ: {"/", "/inbox", "/models", "/certificates"},
    Scope.AUDIT: {"/audit", "/certificates"},
    Scope.ADMIN: {"/tokens", "/webhooks"},
}
OWN = {"sec-fetch-site": "same-origin"}
WRONG = "the row of kite is not what the log says"


def _client(served: Served, *scopes: Scope) -> httpx.Client:
    return httpx.Client(base_url=served.address, cookies={PLAIN_NAME: served.cookie(frozenset(scopes))}, timeout=30)


def _links(page: str) -> set[str]:
    navigation = page.partition("<nav")[2].partition("</nav>")[0]
    return set(re.findall(r'href="([^"]+)"', navigation))


@pytest.mark.parametrize("scope", list(Scope))
def test_who_has_one_scope_is_led_to_what_it_allows_and_refused_the_rest(served: Served, scope: Scope) -> None:
    allowed = SECTIONS.get(scope, set())
    with _client(served, scope) as client:
        for address in set().union(*SECTIONS.values()) - {"/"}:
            answer = client.get(address)
            if address in allowed:
                assert answer.status_code == 200
                assert _links(answer.text) == allowed
            else:
                assert answer.status_code == 403
                assert not [label for label in LABELS if label in answer.text]


def test_an_auditor_sees_history_and_certificates_without_a_class_name(served: Served) -> None:
    with _client(served, Scope.AUDIT) as client:
        first = client.get("/")
        assert (first.status_code, first.headers["location"]) == (303, "/audit")
        for address in ("/audit", "/certificates"):
            page = client.get(address).text
            assert not [label for label in LABELS if label in page]


def test_an_auditor_sees_no_legal_basis_in_a_list(served: Served) -> None:
    with _client(served, Scope.AUDIT) as auditor, _client(served, *ALL_SCOPES) as reader:
        assert "GDPR art. 17" in reader.get("/audit").text
        assert "GDPR art. 17" not in auditor.get("/audit").text


@pytest.mark.parametrize("error", [AuditError(WRONG, seq=7), RowError(WRONG)])
def test_an_auditor_learns_that_the_log_is_wrong_and_no_name(
    served: Served, monkeypatch: pytest.MonkeyPatch, error: IntegrityError
) -> None:
    def verify(*_: object) -> None:
        raise error

    monkeypatch.setattr(LocalAudit, "verify", verify)
    with _client(served, Scope.AUDIT) as auditor, _client(served, *ALL_SCOPES) as reader:
        told = auditor.post("/audit/verify", headers=OWN).text
        assert WRONG in reader.post("/audit/verify", headers=OWN).text
    assert 'class="told bad"' in told
    assert "kite" not in told


@pytest.mark.parametrize("lacking", [Scope.DECIDE, Scope.FILE, Scope.OPERATE])
def test_a_form_that_would_be_refused_is_not_shown(served: Served, lacking: Scope) -> None:
    request = served.file(CROW, approval=True)
    forms = {
        Scope.DECIDE: (f"/requests/{request.id}", "Record the decision"),
        Scope.FILE: ("/models/1", "Preview, then file"),
        Scope.OPERATE: ("/models/1/versions/0", "Roll back to this version"),
    }
    posts = {
        Scope.DECIDE: (f"/requests/{request.id}", {"action": "deny", "reason": "no"}),
        Scope.FILE: ("/models/1/preview", {"class": "1"}),
        Scope.OPERATE: ("/models/1/rollback/0", {"confirmation": "x", "reason": "no"}),
    }
    address, words = forms[lacking]
    with _client(served, *ALL_SCOPES) as client:
        assert words in client.get(address).text
    with _client(served, *(ALL_SCOPES - {lacking})) as client:
        assert words not in client.get(address).text
        to, form = posts[lacking]
        assert client.post(to, data=form, headers=OWN).status_code == 403
    assert show_request(served.ledger, request.id)[1].state is RequestState.AWAITING_APPROVAL


def test_a_form_of_another_site_changes_nothing(served: Served) -> None:
    request = served.file(CROW, approval=True)
    form = {"action": "deny", "reason": "no"}
    with _client(served, *ALL_SCOPES) as client:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}, {}):
            assert client.post(f"/requests/{request.id}", data=form, headers=headers).status_code == 403
        assert client.post("/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.get("/inbox").status_code == 200
    assert show_request(served.ledger, request.id)[1].state is RequestState.AWAITING_APPROVAL


def test_who_is_not_signed_in_is_asked_to_and_led_back(served: Served) -> None:
    with httpx.Client(base_url=served.address) as client:
        for address in ("/inbox", "/requests/1", "/models/1/report.html"):
            answer = client.get(address)
            assert answer.status_code == 303
            assert answer.headers["location"] == f"/login?next={address.replace('/', '%2F')}"
        refreshed = client.get("/inbox", headers={"hx-request": "true"})
        assert (refreshed.status_code, refreshed.headers["hx-redirect"]) == (204, "/login?next=%2Finbox")


def test_signing_in_leads_to_no_other_site(served: Served) -> None:
    with httpx.Client(base_url=served.address) as client:
        for wanted in (
            "https://elsewhere.example/",
            "//elsewhere.example",
            "/\\elsewhere.example",
            "javascript:alert(1)",
        ):
            assert 'name="next" value="/"' in client.get("/login", params={"next": wanted}).text


def test_pages_run_and_show_only_what_this_server_sent(served: Served) -> None:
    with _client(served, *ALL_SCOPES) as client:
        for address in ("/", "/inbox", "/requests/1", "/audit", "/tokens"):
            answer = client.get(address)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", answer.text)
        report = client.get("/models/1/report.html").headers["content-security-policy"]
        assert "frame-ancestors 'self'" in report
        assert "script-src" not in report


def test_what_pages_load_may_be_kept_for_ever(served: Served) -> None:
    with _client(served, *ALL_SCOPES) as client:
        page = client.get("/").text
        found = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert len(found) == 4
        for address in found:
            assert "immutable" in client.get(address).headers["cache-control"]
        assert client.get("/static/pages.html").status_code == 404


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("/inbox", {"action": "approve", "reason": "x"}),
        ("/inbox", {"action": "claim", "reason": "x", "request": "1"}),
        ("/inbox", {"action": "approve", "reason": " ", "request": "1"}),
        ("/inbox", {"action": "approve", "reason": "x", "request": "one@two"}),
        ("/requests/1", {"action": "fulfil", "reason": "x"}),
        ("/requests/1", {"action": "extend", "reason": "x", "due": "soon"}),
        ("/requests/1", {"action": "deny"}),
        ("/models/1/preview", {"class": "999"}),
        ("/models/1/preview", {}),
        ("/models/1/rollback/0", {"confirmation": "x"}),
        ("/tokens", {"name": "x", "scope": "everything"}),
        ("/tokens", {"name": "", "scope": "read"}),
        ("/tokens", {"name": "x", "scope": "read", "days": "-1"}),
        ("/webhooks", {"url": "ftp://example.org"}),
        ("/webhooks", {"url": "https://example.org", "kinds": "request.eaten"}),
    ],
)
def test_a_form_that_makes_no_sense_is_answered_with_what_to_do(
    served: Served, address: str, form: dict[str, str]
) -> None:
    with _client(served, *ALL_SCOPES) as client:
        answer = client.post(address, data=form, headers=OWN)
    assert answer.status_code == 422
    assert "html" in answer.headers["content-type"]
    assert 'role="alert"' in answer.text
