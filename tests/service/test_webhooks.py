"""Webhooks, on both databases, with receivers on this machine: who is told what, how often, and who never."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook as Reference
from standardwebhooks.webhooks import WebhookVerificationError

from ledger.config import create_config
from ledger.domain.access_policy import WebhookPolicy
from ledger.domain.events.access import WebhookAdded, WebhookRemoved
from ledger.domain.requests import NewRequest
from ledger.domain.states import Action
from ledger.domain.webhooks import DeliveryState, Webhook, read_kinds, read_url
from ledger.errors import LedgerError, NotFoundError, RefusedError, RowError, UsageError
from ledger.service.audit.replay import differences
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.requests.decisions import decide
from ledger.service.requests.filing import enqueue
from ledger.service.webhooks import delivery
from ledger.service.webhooks.addresses import Endpoint, endpoint, is_public
from ledger.service.webhooks.attempts import HOLDING, PAUSES
from ledger.service.webhooks.delivery import (
    deliver_due,
    delivering,
    list_deliveries,
    prepare_messages,
    send_test,
)
from ledger.service.webhooks.lanes import Lanes
from ledger.service.webhooks.registration import add_webhook, list_webhooks, remove_webhook
from ledger.service.webhooks.transport import post
from tests.ledgers.receiver import Receiver
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HERE = WebhookPolicy((ip_network("127.0.0.0/8"),))
CANARY = "canary-class"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a model of four classes, which may tell receivers on this machine."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "ada")
    opened.config = replace(opened.config, webhooks=HERE)
    register_stand_in(opened, CANARY, (CANARY, "dog", "owl", "fox"), b"weights", at=opened.clock())
    yield opened
    opened.close()


def file(ledger: Ledger) -> int:
    """File a request and return its number."""
    new = NewRequest(frozenset({0}), CANARY, reason=CANARY, external_id=CANARY, basis=CANARY)
    return enqueue(ledger, CANARY, [new])[0].request.id


def let_time_pass(ledger: Ledger, seconds: float = 1e6) -> None:
    """Make every next attempt due that is due within so long."""
    with ledger.database.engine.begin() as connection:
        connection.execute(text(f"UPDATE webhook_deliveries SET next_at = next_at - {seconds}"))


def write(ledger: Ledger, statement: str) -> None:
    """Change the database behind the ledger's back."""
    with ledger.database.engine.begin() as connection:
        connection.execute(text(statement))


def numbers(receiver: Receiver) -> list[int]:
    """Return which entries a receiver was told of, in the order in which it took them."""
    return [json.loads(body)["data"]["seq"] for _, body in receiver.seen]


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait, for a minute at most."""
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


# -- what is told -------------------------------------------------------------------------------------


def test_events_are_told_from_the_next_one_on(ledger: Ledger, receiver: Receiver) -> None:
    file(ledger)
    webhook, _ = add_webhook(ledger, receiver.url)
    assert deliver_due(ledger) == []
    number = file(ledger)
    [sent] = deliver_due(ledger)
    assert (sent.state, sent.status, sent.attempts, sent.webhook_id) == (DeliveryState.DELIVERED, 204, 1, webhook.id)
    [(_, body)] = receiver.seen
    told = json.loads(body)
    assert told.pop("timestamp")
    seq = told["data"].pop("seq")
    assert told == {
        "type": "request.received",
        "data": {"model": 1, "request": number, "version": None, "state": "queued"},
    }
    with ledger.database.read() as tx:
        assert tx.audit.head().size == seq
    assert deliver_due(ledger) == []
    assert list_deliveries(ledger, webhook.id) == [sent]


def test_nothing_is_told_that_names_classes_or_people(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    decide(ledger, file(ledger), Action.HOLD, CANARY)
    deliver_due(ledger)
    assert receiver.kinds == ["request.received", "request.held"]
    assert CANARY not in str(receiver.seen)
    assert "ada" not in str(receiver.seen)


def test_a_message_is_signed_as_the_standard_says(ledger: Ledger, receiver: Receiver) -> None:
    _, secret = add_webhook(ledger, receiver.url)
    file(ledger)
    deliver_due(ledger)
    [(headers, body)] = receiver.seen
    assert headers["content-type"] == "application/json"
    assert Reference(secret).verify(body, headers) == json.loads(body)
    for altered in (body.replace("1", "2", 1), body + " "):
        with pytest.raises(WebhookVerificationError):
            Reference(secret).verify(altered, headers)
    _, other = add_webhook(ledger, receiver.url)
    assert other != secret
    with pytest.raises(WebhookVerificationError):
        Reference(other).verify(body, headers)


def test_only_what_it_asked_for_is_told(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url, ["request.held", "model.*", "request.held"])
    number = file(ledger)
    decide(ledger, number, Action.HOLD, "")
    decide(ledger, number, Action.RELEASE, "")
    register_stand_in(ledger, "boats", ("a", "b", "c"), b"others", at=ledger.clock())
    deliver_due(ledger)
    assert receiver.kinds == ["request.held", "model.registered"]


def test_an_event_that_was_undone_is_not_told(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)

    def undone() -> None:
        with ledger.database.write() as tx:
            added = WebhookAdded(webhook=7, kinds=(), row="0" * 64)
            tx.audit.append(added, at=ledger.clock(), actor="ada")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    assert deliver_due(ledger) == []


def test_many_events_are_told_each_once_and_in_order(
    ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PART", 4)
    add_webhook(ledger, receiver.url)
    enqueue(ledger, CANARY, [NewRequest(frozenset({0}), "ada") for _ in range(10)])
    while deliver_due(ledger):
        pass
    assert [json.loads(body)["data"]["request"] for _, body in receiver.seen] == list(range(1, 11))
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 10


def test_two_who_prepare_at_once_prepare_once(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    file(ledger)
    with ledger.database.read() as tx:
        [(webhook, told)] = tx.webhooks.behind(tx.audit.head().size)
    assert prepare_messages(ledger) == 1
    message = {"message": "m", "kind": "k", "payload": "{}", "created_at": ledger.clock()}
    with ledger.database.touch() as tx:
        assert not tx.webhooks.prepare(webhook, [message], told=told, upto=told + 1)
    assert len(list_deliveries(ledger, webhook.id)) == 1
    assert prepare_messages(ledger) == 0


# -- attempts -----------------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_tried_again_under_the_same_name(ledger: Ledger, receiver: Receiver) -> None:
    webhook, secret = add_webhook(ledger, receiver.url)
    receiver.answers = [500, 302, 429]
    file(ledger)
    for attempt, status in enumerate((500, 302, 429), start=1):
        [failed] = deliver_due(ledger)
        assert (failed.state, failed.status, failed.attempts) == (DeliveryState.WAITING, status, attempt)
        assert failed.detail == f"answered {status}"
        assert deliver_due(ledger) == []
        let_time_pass(ledger, 0.8 * PAUSES[attempt - 1])
        assert deliver_due(ledger) == []
        let_time_pass(ledger, 0.4 * PAUSES[attempt - 1])
    [done] = deliver_due(ledger)
    assert (done.state, done.attempts, done.ended_at is not None) == (DeliveryState.DELIVERED, 4, True)
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 1
    assert len({body for _, body in receiver.seen}) == 1
    for headers, body in receiver.seen:
        Reference(secret).verify(body, headers)
    assert list_deliveries(ledger, webhook.id) == [done]


def test_a_message_is_given_up_after_the_last_attempt(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    receiver.answers = [500] * (len(PAUSES) + 1)
    file(ledger)
    states = []
    for _ in range(len(PAUSES) + 1):
        [one] = deliver_due(ledger)
        states.append(one.state)
        let_time_pass(ledger)
    assert states == [*[DeliveryState.WAITING] * len(PAUSES), DeliveryState.GIVEN_UP]
    assert deliver_due(ledger) == []
    assert sorted(PAUSES) == list(PAUSES)


def test_a_receiver_that_is_gone_is_believed(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    receiver.answers = [410]
    file(ledger)
    assert [one.state for one in deliver_due(ledger)] == [DeliveryState.GIVEN_UP]


def test_nobody_listens(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url.replace(str(receiver._server.server_port), str(free_port())))
    file(ledger)
    [failed] = deliver_due(ledger)
    assert (failed.state, failed.status) == (DeliveryState.WAITING, None)
    assert failed.detail == "not delivered: Connection refused"


def free_port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_sender_that_died_is_replaced(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    file(ledger)
    prepare_messages(ledger)
    with ledger.database.touch() as tx:
        assert tx.webhooks.claim(1, ttl=60, holding=HOLDING) is not None
    with ledger.database.touch() as tx:
        assert tx.webhooks.claim(1, ttl=60, holding=HOLDING) is None
    assert deliver_due(ledger) == []
    let_time_pass(ledger, 61)
    assert [one.attempts for one in deliver_due(ledger)] == [2]


def test_a_receiver_that_answers_a_letter_at_a_time_keeps_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            one, _ = server.accept()
            with one:
                for letter in b"HTTP/1.1 200 OK\r\n" * 100:
                    try:
                        one.send(bytes([letter]))
                    except OSError:
                        return
                    time.sleep(0.1)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        to = Endpoint("127.0.0.1", server.getsockname()[1], "localhost", "/", encrypted=False)
        before = time.monotonic()
        assert post(to, {}, b"{}", timeout=0.5).status is None
        assert time.monotonic() - before < 5
        thread.join()


def test_a_test_is_sent_once_and_now(ledger: Ledger, receiver: Receiver) -> None:
    webhook, secret = add_webhook(ledger, receiver.url, ["model.*"])
    receiver.answers = [204, 500]
    done = send_test(ledger, webhook.id)
    assert (done.kind, done.state, done.attempts) == ("webhook.test", DeliveryState.DELIVERED, 1)
    failed = send_test(ledger, webhook.id)
    assert (failed.state, failed.status, failed.message != done.message) == (DeliveryState.GIVEN_UP, 500, True)
    let_time_pass(ledger)
    assert deliver_due(ledger) == []
    headers, body = receiver.seen[0]
    assert Reference(secret).verify(body, headers)["data"] == {"webhook": webhook.id}
    assert list_deliveries(ledger, webhook.id) == [failed, done]
    with pytest.raises(NotFoundError):
        send_test(ledger, 9)


def test_messages_are_delivered_while_others_work(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url)
    with delivering(ledger, 0.02):
        file(ledger)
        end = time.monotonic() + 20
        while not receiver.seen and time.monotonic() < end:
            time.sleep(0.02)
    assert receiver.kinds == ["request.received"]


@pytest.mark.postgres
def test_messages_are_delivered_at_once_where_the_database_tells_of_news(
    postgres_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    opened = create_ledger(create_config(tmp_path / "there", postgres_url, "objects"), "ada")
    opened.config = replace(opened.config, webhooks=HERE)
    register_stand_in(opened, CANARY, (CANARY, "dog", "owl", "fox"), b"weights", at=opened.clock())
    add_webhook(opened, receiver.url)
    with delivering(opened, 3600):
        file(opened)
        end = time.monotonic() + 30
        while not receiver.seen and time.monotonic() < end:
            time.sleep(0.02)
    opened.close()
    assert receiver.kinds == ["request.received"]


# -- who is told --------------------------------------------------------------------------------------


def test_a_slow_receiver_holds_up_nobody_else_and_keeps_its_order(ledger: Ledger, receiver: Receiver) -> None:
    slow = Receiver()
    slow.ready.clear()
    add_webhook(ledger, slow.url, ["request.*"])
    add_webhook(ledger, receiver.url, ["request.*"])
    file(ledger)
    try:
        with delivering(ledger, 0.02):
            wait_until(lambda: slow.at_once[-1] == 1 and len(receiver.seen) == 1)
            for _ in range(3):
                file(ledger)
            wait_until(lambda: len(receiver.seen) == 4)
            assert slow.seen == []
            slow.ready.set()
            wait_until(lambda: len(slow.seen) == 4)
    finally:
        slow.ready.set()
        slow.close()
    assert numbers(slow) == sorted(numbers(slow)) == numbers(receiver)
    assert max(slow.at_once) == 1


def test_more_receivers_than_threads_take_turns(
    ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [Receiver() for _ in range(3)]
    for one in (*others, receiver):
        add_webhook(ledger, one.url, ["request.*"])
    for _ in range(3):
        file(ledger)
    prepare_messages(ledger)
    with Lanes(ledger, most_at_once=2) as lanes:
        monkeypatch.setattr("ledger.service.webhooks.lanes.TURN_SECONDS", 0.0)
        for _ in range(3):
            # A lane whose time is up is left after the message that has begun.
            assert [len(lane.result()) for lane in lanes.begin(100, lambda: True)] == [1, 1, 1, 1]
        assert lanes.begin(100, lambda: True) == []
    for one in others:
        one.close()


def test_a_message_that_fails_holds_up_those_behind_it_and_not_for_long(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url, ["request.*"])
    for _ in range(2):
        file(ledger)
    receiver.answers = [500] * (HOLDING - 1)
    for attempts in range(1, HOLDING):
        assert [one.attempts for one in deliver_due(ledger)] == [attempts]
        let_time_pass(ledger)
    first, *_ = numbers(receiver)
    assert numbers(receiver) == [first] * (HOLDING - 1)
    receiver.answers = [500]
    sent = deliver_due(ledger)
    # The last attempt that others wait for; then they go first, and it is tried again when its time comes.
    assert [one.attempts for one in sent] == [HOLDING, 1]
    assert numbers(receiver)[-1] > first
    let_time_pass(ledger)
    assert [one.attempts for one in deliver_due(ledger)] == [HOLDING + 1]
    assert numbers(receiver)[-1] == first


def test_who_is_told_is_part_of_the_history(ledger: Ledger, receiver: Receiver) -> None:
    webhook, _ = add_webhook(ledger, receiver.url, ["request.*"])
    assert list_webhooks(ledger) == [webhook]
    assert differences(ledger) == []
    file(ledger)
    prepare_messages(ledger)
    assert remove_webhook(ledger, webhook.id) == webhook
    assert (list_webhooks(ledger), deliver_due(ledger), receiver.seen) == ([], [], [])
    assert differences(ledger) == []
    with ledger.database.read() as tx:
        events = [e.payload for e in tx.audit.events(kinds=("webhook.added", "webhook.removed"))]
        leaves = "".join(entry.leaf for entry in tx.audit.entries())
    assert isinstance(events[0], WebhookAdded)
    assert (events[0].kinds, events[1]) == (("request.*",), WebhookRemoved(webhook=webhook.id))
    assert "of-the-receiver" not in leaves
    with pytest.raises(NotFoundError):
        remove_webhook(ledger, webhook.id)


@pytest.mark.parametrize(
    "change", ["url = 'http://127.0.0.2/'", 'kinds = \'["model.purged", "request.*"]\'', f"salt = '{'0' * 64}'"]
)
def test_a_changed_webhook_is_told_nothing(ledger: Ledger, receiver: Receiver, change: str) -> None:
    webhook, _ = add_webhook(ledger, receiver.url)
    write(ledger, f"UPDATE webhooks SET {change}")
    file(ledger)
    [refused] = deliver_due(ledger)
    assert refused.detail == "not sent: the webhook is not what the audit log says"
    assert receiver.seen == []
    [found] = differences(ledger)
    assert found.startswith("webhooks 1: ")
    with pytest.raises(RowError):
        list_webhooks(ledger)
    with pytest.raises(RowError):
        remove_webhook(ledger, webhook.id)


def test_an_invented_webhook_is_told_nothing(ledger: Ledger, receiver: Receiver) -> None:
    add_webhook(ledger, receiver.url, ["model.*"])
    write(ledger, "INSERT INTO webhooks SELECT 2, url, '[]', salt, created_at, told FROM webhooks")
    file(ledger)
    [refused] = deliver_due(ledger)
    assert (refused.webhook_id, receiver.seen) == (2, [])


def test_a_number_is_not_given_twice(ledger: Ledger, receiver: Receiver) -> None:
    first, _ = add_webhook(ledger, receiver.url)
    second, _ = add_webhook(ledger, receiver.url)
    remove_webhook(ledger, first.id)
    third, _ = add_webhook(ledger, receiver.url)
    assert (first.id, second.id, third.id) == (1, 2, 3)


# -- where nothing is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
        "::127.0.0.1", "::93.184.215.14", "::ffff:0:127.0.0.1", "::ffff:0:93.184.215.14", "64:ff9b:1::7f00:1",
        "64:ff9b:1::5db8:d70e", "64:ff9b:1:ffff::1", "fec0::1", "feff::1", "192.0.0.1", "192.0.0.9", "192.0.0.170",
        "2002:0a00:1::1", "2002:c0a8:101::", "2002:a9fe:a9fe::1", "203.0.113.9", "198.51.100.1", "240.0.0.1", "100::1",
        "192.88.99.1", "3fff::1", "5f00::1", "2001:2::1", "2001:10::1", "2001:20::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def teredo(server: str, client: str) -> IPv6Address:
    """Return the address of somebody behind a Teredo relay (RFC 4380): the bits of theirs are turned over."""
    turned = int(IPv4Address(client)) ^ 0xFFFFFFFF
    return IPv6Address(0x20010000 << 96 | int(IPv4Address(server)) << 64 | turned)


def test_neither_end_of_a_teredo_tunnel_is_private() -> None:
    public, private = "93.184.215.14", "10.0.0.1"
    assert is_public(teredo(public, public))
    assert not is_public(teredo(public, private))
    assert not is_public(teredo(private, public))


def resolved(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    """Let every name mean some addresses."""
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0"])
def test_no_way_to_write_this_machine_leads_there(host: str) -> None:
    with pytest.raises(RefusedError, match="is not public"):
        endpoint(f"https://{host}/", WebhookPolicy())


def test_one_address_among_many_that_is_not_public_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "93.184.215.14", "10.0.0.5")
    with pytest.raises(RefusedError, match=r"10\.0\.0\.5 is not public") as refused:
        endpoint("https://receiver.example/", WebhookPolicy())
    assert "allowed_networks" in refused.value.hint
    allowed = WebhookPolicy((ip_network("10.0.0.0/24"),))
    assert endpoint("https://receiver.example/", allowed).address == "93.184.215.14"


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "93.184.215.14")
    assert endpoint("https://receiver.example:8443/a?b=c", WebhookPolicy()) == Endpoint(
        "93.184.215.14", 8443, "receiver.example", "/a?b=c", encrypted=True
    )


def test_without_tls_nothing_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "93.184.215.14")
    with pytest.raises(RefusedError, match="needs TLS"):
        endpoint("http://receiver.example/", HERE)


def test_a_private_address_is_refused_when_it_is_added_and_when_it_is_used(
    ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.config = replace(ledger.config, webhooks=WebhookPolicy())
    with pytest.raises(RefusedError, match="is not public"):
        add_webhook(ledger, receiver.url)
    with monkeypatch.context() as before:
        resolved(before, "93.184.215.14")
        add_webhook(ledger, "https://localhost/")
    file(ledger)
    [refused] = deliver_due(ledger)
    assert refused.detail.startswith("not sent: the address ")
    assert (refused.state, receiver.seen) == (DeliveryState.WAITING, [])


def test_a_name_that_is_not_known_yet_may_be_added(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    add_webhook(ledger, "https://later.example/")
    file(ledger)
    [failed] = deliver_due(ledger)
    assert "not known" in failed.detail
    with pytest.raises(LedgerError, match=r"later\.example is not known"):
        endpoint("https://later.example/", WebhookPolicy())


@pytest.mark.parametrize(
    "url",
    ["", "receiver.example", "ftp://a.example/", "https://", "https://u:p@a.example/", "https://a.example/#x",
     "https://a.example/ x", "https://a.example:0x/", "https://[::1/", "https://ä.example/", "https://a.example/\n",
     "https://a.example/" + "x" * 2000],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        read_url(url)


def test_kinds_are_those_of_the_history() -> None:
    assert read_kinds(["request.held", "model.*", "request.held"]) == ("request.held", "model.*")
    for odd in ("request", "request.framed", "*", "re.*"):
        with pytest.raises(UsageError, match="no events of the kind"):
            read_kinds([odd])
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0)
    assert not Webhook(1, "https://a.example/", ("request.*",), started).wants("requests.held")
