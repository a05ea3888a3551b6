"""Tokens, sessions and login links, on both databases: who is let in, until when, and that rows alone let nobody in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ledger.config import create_config
from ledger.domain.access import ALL_SCOPES, VIA_LINK, VIA_TOKEN, Caller, Scope, read_scopes
from ledger.domain.events.access import TokenCreated, TokenRevoked
from ledger.errors import (
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    OlderDatabaseError,
    RowError,
    UsageError,
)
from ledger.service.access.sessions import (
    LINK_LASTS,
    SESSION_LASTS,
    close_session,
    create_login_link,
    end_sessions,
    list_sessions,
    open_session,
    session_of,
    use_login_link,
)
from ledger.service.access.tokens import authenticate, create_token, list_tokens, revoke_token
from ledger.service.audit.replay import differences
from ledger.service.ledger import Ledger, create_ledger, open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
READER = frozenset({Scope.READ})


@pytest.fixture
def ledger(database_url: str, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger without models, whose clock stands still unless a test turns it."""
    opened = create_ledger(create_config(tmp_path / "ledger", database_url, "objects"), "admin", clock=lambda: START)
    yield opened
    opened.close()


def later(ledger: Ledger, by: timedelta) -> None:
    """Let time pass."""
    now = ledger.clock() + by
    ledger.clock = lambda: now


def write(ledger: Ledger, statement: str, **values: Any) -> None:
    """Change the database behind the ledger's back."""
    with ledger.database.engine.begin() as connection:
        connection.execute(text(statement), values)


def column(ledger: Ledger, query: str) -> Any:
    """Return what a query finds."""
    with ledger.database.engine.begin() as connection:
        return connection.execute(text(query)).scalar()


# -- tokens -------------------------------------------------------------------------------------------


def test_a_token_lets_in_and_says_who(ledger: Ledger) -> None:
    token, shown = create_token(ledger, "ci", {Scope.READ, Scope.FILE})
    assert shown.startswith(f"ul_{token.id}_")
    caller = authenticate(ledger, shown)
    assert caller == Caller("ci", frozenset({Scope.READ, Scope.FILE}), VIA_TOKEN, token.id)
    caller.require(Scope.FILE)
    with pytest.raises(ForbiddenError, match="the scope decide, which ci does not have") as refused:
        caller.require(Scope.DECIDE)
    assert refused.value.exit_code == 7


def test_its_secret_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    _, shown = create_token(ledger, "ci", READER)
    secret = shown.rpartition("_")[2]
    with ledger.database.read() as tx:
        leaves = [entry.leaf for entry in tx.audit.entries()]
        found = [str(row) for row in tx.projections.rows("tokens")]
    assert found
    assert not any(secret in one for one in (*leaves, *found))


@pytest.mark.parametrize("change", ["", "x", "id", "no prefix", "much", "\0", "other"])
def test_another_text_lets_nobody_in(ledger: Ledger, change: str) -> None:
    token, shown = create_token(ledger, "ci", READER)
    other, _ = create_token(ledger, "cd", READER)
    texts = {
        "": "",
        "x": shown[:-1] + ("0" if shown[-1] != "0" else "1"),
        "id": shown.rpartition("_")[0] + "_",
        "no prefix": shown.removeprefix("ul_"),
        "much": shown + "0" * 1000,
        "\0": f"ul_{token.id}_\0",
        "other": shown.replace(token.id, other.id),
    }
    with pytest.raises(AuthenticationError, match="no token of this ledger") as refused:
        authenticate(ledger, texts[change])
    assert refused.value.exit_code == 7
    assert authenticate(ledger, shown).name == "ci"


def test_a_revoked_token_lets_nobody_in_any_more(ledger: Ledger) -> None:
    token, shown = create_token(ledger, "ci", READER)
    authenticate(ledger, shown)
    revoked = revoke_token(ledger, token.id)
    assert revoked.revoked_at == START
    with pytest.raises(AuthenticationError, match=f"the token {token.id} was revoked"):
        authenticate(ledger, shown)
    with pytest.raises(ConflictError, match="was revoked before"):
        revoke_token(ledger, token.id)
    with pytest.raises(NotFoundError):
        revoke_token(ledger, "nothing")
    with ledger.database.read() as tx:
        made = [entry.payload for entry in tx.audit.events()][1:]
    assert made == [TokenCreated(token=token.id, scopes=("read",), row=made[0].row), TokenRevoked(token=token.id)]  # type: ignore[union-attr]


def test_a_token_ends_when_it_was_said_to(ledger: Ledger) -> None:
    end = START + timedelta(days=1)
    _, shown = create_token(ledger, "ci", READER, end)
    later(ledger, timedelta(hours=23, minutes=59))
    authenticate(ledger, shown)
    later(ledger, timedelta(minutes=1))
    with pytest.raises(AuthenticationError, match="expired on 2026-03-03"):
        authenticate(ledger, shown)
    with pytest.raises(UsageError, match="would have expired already"):
        create_token(ledger, "ci", READER, START)


def test_use_is_noted_once_a_minute(ledger: Ledger) -> None:
    _, shown = create_token(ledger, "ci", READER)
    assert list_tokens(ledger)[0].last_used_at is None
    for _ in range(3):
        authenticate(ledger, shown)
        assert list_tokens(ledger)[0].last_used_at == START
        later(ledger, timedelta(seconds=20))
    authenticate(ledger, shown)
    assert list_tokens(ledger)[0].last_used_at == START + timedelta(minutes=1)
    assert differences(ledger) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "two\nlines", "\x1b[31mred"])
def test_a_name_that_would_not_show_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(UsageError):
        create_token(ledger, name, READER)


def test_scopes_are_read_by_name() -> None:
    assert read_scopes(["read", "audit"]) == {Scope.READ, Scope.AUDIT}
    for odd in ([], ["read", "root"]):
        with pytest.raises(UsageError) as refused:
            read_scopes(odd)
        assert "read, file, decide, operate, audit, admin" in refused.value.hint


@pytest.mark.parametrize(
    "change",
    [
        'UPDATE tokens SET scopes = \'["read", "admin"]\'',
        "UPDATE tokens SET name = 'boss'",
        "UPDATE tokens SET expires_at = NULL",
        "UPDATE tokens SET created_at = '2020-01-01 00:00:00'",
    ],
)
def test_a_changed_row_lets_nobody_in(ledger: Ledger, change: str) -> None:
    _, shown = create_token(ledger, "ci", READER, START + timedelta(days=1))
    authenticate(ledger, shown)
    write(ledger, change)
    with pytest.raises(RowError, match="tokens"):
        authenticate(ledger, shown)
    with pytest.raises(RowError, match="tokens"):
        list_tokens(ledger)
    assert differences(ledger)


def test_an_invented_row_lets_nobody_in(ledger: Ledger) -> None:
    _, shown = create_token(ledger, "ci", READER)
    # With a secret that its inventor knows.
    write(ledger, "INSERT INTO tokens SELECT 'f00d', 'boss', digest, scopes, created_at, NULL, NULL, NULL FROM tokens")
    with pytest.raises(RowError, match="the history tells of no such row"):
        authenticate(ledger, f"ul_f00d_{shown.rpartition('_')[2]}")


def test_a_revoked_token_is_not_brought_back_by_a_row(ledger: Ledger) -> None:
    token, shown = create_token(ledger, "ci", READER)
    revoke_token(ledger, token.id)
    write(ledger, "UPDATE tokens SET revoked_at = NULL")
    with pytest.raises(RowError, match="revoked_at"):
        authenticate(ledger, shown)


# -- sessions -----------------------------------------------------------------------------------------


def test_a_session_lasts_eight_hours(ledger: Ledger) -> None:
    someone = Caller("ada", frozenset({Scope.READ, Scope.DECIDE}), "oidc")
    cookie = open_session(ledger, someone)
    later(ledger, SESSION_LASTS - timedelta(seconds=1))
    assert session_of(ledger, cookie) == someone
    later(ledger, timedelta(seconds=1))
    assert session_of(ledger, cookie) is None
    # The next login forgets what has ended.
    open_session(ledger, someone)
    assert column(ledger, "SELECT count(*) FROM web_sessions") == 1


def test_logging_out_ends_it(ledger: Ledger) -> None:
    cookie, other = (open_session(ledger, Caller("ada", READER, "oidc")) for _ in range(2))
    close_session(ledger, cookie)
    assert session_of(ledger, cookie) is None
    assert session_of(ledger, other) is not None
    close_session(ledger, cookie)


@pytest.mark.parametrize("cookie", ["", "x", "y" * 10_000, "\0"])
def test_another_cookie_is_nobodys(ledger: Ledger, cookie: str) -> None:
    open_session(ledger, Caller("ada", READER, "oidc"))
    assert session_of(ledger, cookie) is None


def test_a_session_ends_with_its_token(ledger: Ledger) -> None:
    token, shown = create_token(ledger, "ci", {Scope.READ, Scope.FILE})
    caller = authenticate(ledger, shown)
    cookie = open_session(ledger, caller)
    assert session_of(ledger, cookie) == caller
    revoke_token(ledger, token.id)
    assert session_of(ledger, cookie) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE web_sessions SET scopes = '[\"admin\"]'",
        "UPDATE web_sessions SET name = 'boss'",
        "UPDATE web_sessions SET via = 'shell'",
        "UPDATE web_sessions SET token = NULL",
        "UPDATE web_sessions SET created_at = '2020-01-01 00:00:00'",
        "UPDATE web_sessions SET expires_at = '2040-01-01 00:00:00'",
        f"UPDATE web_sessions SET seal = '{'0' * 64}'",
    ],
)
def test_a_session_that_was_changed_is_nobodys(ledger: Ledger, change: str) -> None:
    cookie = open_session(ledger, authenticate(ledger, create_token(ledger, "ci", READER)[1]))
    assert session_of(ledger, cookie) is not None
    write(ledger, change)
    assert session_of(ledger, cookie) is None


def test_a_login_link_lets_one_browser_in_once(ledger: Ledger) -> None:
    secret = create_login_link(ledger)
    cookie = use_login_link(ledger, secret)
    assert session_of(ledger, cookie) == Caller("admin", ALL_SCOPES, VIA_LINK)
    with pytest.raises(AuthenticationError, match="was used, or waited too long"):
        use_login_link(ledger, secret)


def test_a_login_link_does_not_wait_for_ever(ledger: Ledger) -> None:
    secret = create_login_link(ledger, "ada", READER)
    later(ledger, LINK_LASTS)
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, secret)


@pytest.mark.parametrize(
    "change", ["SET scopes = '[\"admin\"]'", "SET name = 'boss'", "SET expires_at = '2040-01-01 00:00:00'"]
)
def test_a_login_link_that_was_changed_lets_nobody_in(ledger: Ledger, change: str) -> None:
    secret = create_login_link(ledger, "ada", READER)
    write(ledger, f"UPDATE login_links {change}")
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, secret)


def test_a_secret_is_good_for_one_thing_only(ledger: Ledger) -> None:
    secret = create_login_link(ledger)
    assert session_of(ledger, secret) is None
    cookie = open_session(ledger, Caller("ada", READER, "oidc"))
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, cookie)
    # Not even for who copies rows from one table to the other.
    write(
        ledger,
        "INSERT INTO login_links SELECT digest, name, scopes, created_at, expires_at, seal FROM web_sessions",
    )
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, cookie)


def kept_rows(ledger: Ledger) -> list[str]:
    """Return what an intruder would put back: statements that insert the rows of sessions and links as they are now."""
    statements = []
    with ledger.database.engine.connect() as connection:
        for table in ("web_sessions", "login_links"):
            for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                values = ", ".join(
                    "NULL" if one is None else f"'{json.dumps(one) if isinstance(one, list) else one}'"
                    for one in row.values()
                )
                statements.append(f"INSERT INTO {table} ({', '.join(row.keys())}) VALUES ({values})")
    return statements


def disarm(ledger: Ledger) -> None:
    """Take away the triggers that keep who is careless from changing the log."""
    if ledger.database.engine.dialect.name == "postgresql":
        for table in ("audit_events", "checkpoints"):
            write(ledger, f"ALTER TABLE {table} DISABLE TRIGGER USER")
        return
    with ledger.database.engine.connect() as connection:
        triggers = list(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars())
    for name in triggers:
        write(ledger, f"DROP TRIGGER {name}")


def put_back(ledger: Ledger, rows: list[str]) -> None:
    """Put back rows, those that are there still included."""
    write(ledger, "DELETE FROM web_sessions")
    write(ledger, "DELETE FROM login_links")
    for row in rows:
        write(ledger, row)


END = {
    "by who is logged in": close_session,
    "by somebody else": lambda ledger, _: end_sessions(ledger, "ada"),
    "with everybody's": lambda ledger, _: end_sessions(ledger, None),
}


@pytest.mark.parametrize("end", END.values(), ids=END)
def test_a_session_that_was_ended_cannot_be_put_back(ledger: Ledger, end: Callable[[Ledger, str], object]) -> None:
    cookie = open_session(ledger, Caller("ada", READER, "oidc"))
    rows = kept_rows(ledger)
    put_back(ledger, rows)
    assert session_of(ledger, cookie) is not None
    end(ledger, cookie)
    put_back(ledger, rows)
    assert session_of(ledger, cookie) is None
    assert list_sessions(ledger) == []
    # Nor for a process that starts anew.
    again = open_ledger(ledger.config, "ada", ledger.clock)
    assert session_of(again, cookie) is None
    again.close()


def test_a_session_whose_row_was_put_aside_is_ended_with_the_others(ledger: Ledger) -> None:
    cookie, rows = open_session(ledger, Caller("ada", READER, "oidc")), kept_rows(ledger)
    write(ledger, "DELETE FROM web_sessions")
    assert end_sessions(ledger, "ada") == 1
    put_back(ledger, rows)
    assert session_of(ledger, cookie) is None


def test_sessions_of_others_and_later_ones_stay(ledger: Ledger) -> None:
    mine, other = (open_session(ledger, Caller(name, READER, "oidc")) for name in ("ada", "bob"))
    assert end_sessions(ledger, "ada") == 1
    assert session_of(ledger, mine) is None
    assert session_of(ledger, other) is not None
    again = open_session(ledger, Caller("ada", READER, "oidc"))
    assert session_of(ledger, again) is not None
    assert sorted(one.caller.name for one in list_sessions(ledger)) == ["ada", "bob"]
    with pytest.raises(UsageError):
        end_sessions(ledger, " ")


def test_a_login_link_that_was_used_cannot_be_put_back(ledger: Ledger) -> None:
    secret = create_login_link(ledger)
    rows = kept_rows(ledger)
    cookie = use_login_link(ledger, secret)
    close_session(ledger, cookie)
    put_back(ledger, rows)
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, secret)


def test_a_login_link_ends_with_the_sessions_of_who_it_is_for(ledger: Ledger) -> None:
    secret, other = create_login_link(ledger, "ada"), create_login_link(ledger, "bob")
    rows = kept_rows(ledger)
    end_sessions(ledger, "ada")
    put_back(ledger, rows)
    with pytest.raises(AuthenticationError):
        use_login_link(ledger, secret)
    use_login_link(ledger, other)
    with pytest.raises(UsageError):
        create_login_link(ledger, lasts=SESSION_LASTS + timedelta(seconds=1))


@pytest.mark.parametrize("what", ["session", "token"])
def test_where_the_end_is_cut_off_the_log_too_nobody_acts(ledger: Ledger, what: str) -> None:
    """The last entry, which says that it was ended, is removed together with the row of the checkpoint over it."""
    token, shown = create_token(ledger, "ada", READER)
    cookie = open_session(ledger, authenticate(ledger, shown))
    rows = kept_rows(ledger)
    with ledger.database.engine.connect() as connection:
        head = dict(connection.execute(text("SELECT size, digest, root, peaks FROM audit_head")).mappings().one())
    if isinstance(head["peaks"], list):
        head["peaks"] = json.dumps(head["peaks"])
    if what == "session":
        close_session(ledger, cookie)
    else:
        revoke_token(ledger, token.id)
    disarm(ledger)
    write(ledger, "DELETE FROM audit_events WHERE seq > :size", size=head["size"])
    write(ledger, "UPDATE audit_head SET size = :size, digest = :digest, root = :root, peaks = :peaks", **head)
    write(ledger, "DELETE FROM checkpoints")
    write(ledger, "UPDATE tokens SET revoked_at = NULL")
    put_back(ledger, rows)
    again = open_ledger(ledger.config, "ada", ledger.clock)
    try:
        for opened in (ledger, again):
            with pytest.raises(OlderDatabaseError):
                create_token(opened, "intruder", ALL_SCOPES)
            with pytest.raises(OlderDatabaseError):
                open_session(opened, Caller("ada", READER, "oidc"))
    finally:
        again.close()


def test_logging_in_and_out_are_entries_without_a_secret(ledger: Ledger) -> None:
    _, shown = create_token(ledger, "ada", READER)
    with ledger.database.read() as tx:
        before = tx.audit.head().size
    link = create_login_link(ledger, "bob")
    cookies = [open_session(ledger, authenticate(ledger, shown)), use_login_link(ledger, link)]
    close_session(ledger, cookies[0])
    close_session(ledger, cookies[0])
    end_sessions(ledger, None)
    with ledger.database.read() as tx:
        events = list(tx.audit.events(after=before))
    assert [(one.kind, one.actor, one.data.get("via")) for one in events] == [
        ("session.opened", "ada", "token"),
        ("session.opened", "bob", "link"),
        ("session.ended", "ada", None),
        ("sessions.ended", "admin", None),
    ]
    named = [one.data["session"] for one in events[:3]]
    assert named[0] == named[2]
    assert events[3].data == {"of": None, "sessions": [named[1]]}
    leaves = " ".join(one.leaf for one in events)
    assert not [secret for secret in (*cookies, link, shown.rpartition("_")[2]) if secret in leaves]
