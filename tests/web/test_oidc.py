"""Accounts of an identity provider, tried against one that runs on this machine: who gets in, and who does not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ledger.config import find_config
from ledger.web.security.cookies import PLAIN_NAME
from ledger.web.security.oidc import CLIENT_SECRET, REFUSED
from tests.web.conftest import HOST, Served, open_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADA = {"sub": "ada", "email": "ada@example.org", "email_verified": True, "groups": ["privacy"]}
BOB = {"sub": "bob", "email": "bob@example.org", "email_verified": True, "groups": ["chess"]}
EVE = {"sub": "eve", "email": "ada@example.org", "email_verified": False, "groups": ["privacy"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """An identity provider that knows three people."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = [word for person in (ADA, BOB, EVE) for word in ("--user-claims", json.dumps(person))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), *known]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        issuer = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{issuer}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, "the provider did not start"
                assert time.monotonic() < end, "the provider does not answer"
                time.sleep(0.2)
        yield issuer
        process.terminate()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider takes any secret, but wants one."""
    monkeypatch.setenv(CLIENT_SECRET, "known to both")


@pytest.fixture
def served(serve: Callable[[], Served], provider: str) -> Served:
    """A server that lets in who comes from there."""
    return with_accounts(serve(), provider)


def with_accounts(plain: Served, issuer: str) -> Served:
    """Serve the same ledger again, for accounts of a provider too."""
    settings = find_config(plain.folder).root / "unledger.toml"
    said = f'\n[access.oidc]\nissuer = "{issuer}"\nclient_id = "unledger"\n[access.oidc.scopes]\nprivacy = ["read"]\n'
    settings.write_text(settings.read_text() + said)
    return open_served(plain.folder)


def leave(served: Served, following: str = "/inbox") -> str:
    """Begin a login, and return the address at the provider."""
    sent = served.client.get("/login/oidc", params={"next": following}, follow_redirects=False)
    assert sent.status_code == 302
    return str(sent.headers["location"])


def come_back(address: str, who: str, action: str = "authorize") -> str:
    """Log in at the provider, and return where it sends the browser."""
    answer = httpx.post(address, data={"sub": who, "action": action})
    assert answer.status_code in (302, 303), answer.text
    return str(answer.headers["location"])


def test_somebody_in_a_group_gets_in(served: Served) -> None:
    address = leave(served)
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert {"nonce", "state", "code_challenge"} <= asked.keys()
    assert asked["redirect_uri"] == [f"{HOST}/login/oidc/callback"]
    back = served.client.get(come_back(address, "ada"), follow_redirects=False)
    assert (back.status_code, back.headers["location"]) == (303, "/inbox")
    caller = served.client.get("/api/v1/caller").json()
    assert (caller["name"], caller["scopes"]) == ("ada@example.org", ["read"])


@pytest.mark.parametrize("who", ["bob", "eve"])
def test_an_account_alone_gets_nobody_in(served: Served, who: str) -> None:
    refused = served.client.get(come_back(leave(served), who), follow_redirects=False)
    assert refused.status_code == 403
    assert "may do nothing here" in refused.text or "not verified by the provider" in refused.text
    assert PLAIN_NAME not in served.client.cookies
    assert served.client.get("/api/v1/caller").status_code == 401


def test_whom_the_provider_refuses_does_not_get_in(served: Served) -> None:
    back = served.client.get(come_back(leave(served), "ada", "deny"), follow_redirects=False)
    assert (back.status_code, back.headers["location"]) == (303, REFUSED)
    said = served.client.get("/login/oidc/callback?error=x&error_description=call+me")
    assert said.status_code == 401
    assert "the identity provider let nobody in" in said.text
    assert "call me" not in said.text
    assert "/login/oidc?next=" in said.text


def test_a_login_belongs_to_the_browser_that_began_it(served: Served) -> None:
    address = come_back(leave(served), "ada")
    served.client.cookies.clear()
    assert served.client.get(address, follow_redirects=False).headers["location"] == REFUSED


def test_a_login_is_good_for_once(served: Served) -> None:
    address = come_back(leave(served), "ada")
    assert served.client.get(address, follow_redirects=False).headers["location"] == "/inbox"
    assert served.client.get(address, follow_redirects=False).headers["location"] == REFUSED


def test_nobody_is_sent_elsewhere_afterwards(served: Served) -> None:
    back = served.client.get(come_back(leave(served, "https://evil.example/"), "ada"), follow_redirects=False)
    assert back.headers["location"] == "/"


def test_a_provider_that_does_not_answer_is_said(serve: Callable[[], Served]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        served = with_accounts(serve(), f"http://127.0.0.1:{free.getsockname()[1]}")
        answer = served.client.get("/login/oidc", follow_redirects=False)
    assert answer.status_code == 503
    assert "the identity provider does not answer" in answer.text
    assert answer.headers["retry-after"]


def test_without_a_provider_there_is_no_such_login(serve: Callable[[], Served]) -> None:
    served = serve()
    assert served.client.get("/login/oidc", follow_redirects=False).status_code == 404
    assert "/login/oidc" not in served.client.get("/login").text
