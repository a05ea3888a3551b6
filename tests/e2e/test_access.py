"""``unledger token`` and ``webhook``: secrets alone on standard output, once, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.errors import AuthenticationError, NotFoundError, RefusedError, UsageError
from ledger.service.access.tokens import authenticate
from ledger.service.ledger import open_ledger

if TYPE_CHECKING:
    from ledger.domain.access import Caller
    from tests.ledgers.command_line import Cli


def caller(cli: Cli, text: str) -> Caller:
    """Show a token to the ledger."""
    ledger = open_ledger(find_config(cli.root), "tester")
    try:
        return authenticate(ledger, text)
    finally:
        ledger.close()


def test_a_token_is_alone_on_standard_output_and_shown_once(cli: Cli) -> None:
    made = cli("token", "create", "nightly job", "--scope", "read", "-s", "file", "--expires", "+30d")
    (text,) = made.out.splitlines()
    assert caller(cli, text).scopes == {Scope.READ, Scope.FILE}
    assert "keep it now" in made.err
    listed = cli("token", "list")
    secret = text.rpartition("_")[2]
    assert secret not in listed.out + made.err
    assert "nightly job" in listed.out
    assert "read, file" in listed.out
    (token,) = cli.json("token", "list")["items"]
    assert (token["valid"], token["last_used_at"] is not None) == (True, True)
    cli("token", "revoke", token["id"])
    assert "revoked" in cli("token", "list").out
    with pytest.raises(AuthenticationError, match="was revoked"):
        caller(cli, text)
    assert [event["kind"] for event in cli.json("audit", "log")["items"]][-2:] == ["token.created", "token.revoked"]


def test_a_token_may_have_no_end(cli: Cli) -> None:
    cli("token", "create", "ci", "--scope", "audit", "--expires", "never")
    (token,) = cli.json("token", "list")["items"]
    assert (token["expires_at"], token["scopes"]) == (None, ["audit"])


def test_what_no_token_can_be_is_refused(cli: Cli) -> None:
    cli.refused(UsageError, 2, "token", "create", "ci", "--scope", "root")
    cli.refused(UsageError, 2, "token", "create", " ", "--scope", "read")
    cli.refused(UsageError, 2, "token", "create", "ci", "--scope", "read", "--expires", "yesterday")
    cli.refused(NotFoundError, 3, "token", "revoke", "nothing")


def test_a_webhook_is_added_tried_and_removed(cli: Cli) -> None:
    added = cli("webhook", "add", "https://receiver.invalid/hook", "-k", "request.*")
    (secret,) = added.out.splitlines()
    assert secret.startswith("whsec_")
    listed = cli("webhook", "list")
    assert "https://receiver.invalid/hook" in listed.out
    assert secret not in listed.out
    tried = cli("webhook", "test", "1", code=1)
    assert "the message did not arrive: not sent: the name receiver.invalid is not known" in tried.err
    (sent,) = cli.json("webhook", "deliveries", "1")["items"]
    assert (sent["kind"], sent["state"], sent["attempts"]) == ("webhook.test", "given_up", 1)
    assert "webhook.test" in cli("webhook", "deliveries", "1").out
    cli("webhook", "remove", "1")
    assert cli.json("webhook", "list")["items"] == []
    cli.refused(NotFoundError, 3, "webhook", "remove", "1")


def test_a_webhook_into_this_machine_is_refused_unless_it_is_allowed(cli: Cli) -> None:
    cli.refused(RefusedError, 7, "webhook", "add", "https://localhost/hook")
    cli.refused(UsageError, 2, "webhook", "add", "localhost/hook")
    settings = cli.root / "unledger.toml"
    settings.write_text(settings.read_text() + '\n[webhooks]\nallowed_networks = ["127.0.0.0/8", "::1/128"]\n')
    cli("webhook", "add", "http://localhost:9/hook")


def test_a_request_gets_more_time(cli: Cli) -> None:
    cli("forget", "digits", "-c", "3", "--due", "2031-03-31")
    said = cli("request", "extend", "1", "--due", "2031-05-31", "--reason", "a complex request").err
    assert "request 1 is due on 2031-05-31, and queued" in said
    events = cli.json("request", "show", "1")["events"]
    assert (events[-1]["kind"], events[-1]["note"]) == ("request.extended", "a complex request")
    cli.refused(UsageError, 2, "request", "extend", "1", "--due", "2031-05-01", "--reason", "less")
    cli.refused(UsageError, 2, "request", "extend", "1", "--due", "2031-07-01", "--reason", " ")
