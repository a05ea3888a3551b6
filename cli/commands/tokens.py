"""``unledger token``: what lets programs, and people from afar, in; and the sessions of their browsers."""

from datetime import datetime
from typing import Annotated

import typer

from ledger.domain.access import DEFAULT_LIFETIME_DAYS, Scope, read_scopes
from ledger.domain.command_lines import command
from ledger.domain.typed_dates import parse_date
from ledger.errors import UsageError

from ..answers import answer
from ..options import Json
from ..render import advise, emit_table, minute, say
from ..session import session

NEVER = "never"
app = typer.Typer(no_args_is_help=True, help="Tokens: what lets programs, and people from afar, in.")


@app.command("create")
def create_token(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will act with it, as the audit log shall say.")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help=f"What it allows, repeatable: {', '.join(Scope)}.")],
    expires: Annotated[
        str, typer.Option(metavar="DATE", help="When it ends, e.g. 2027-01-31, +30d, or never.")
    ] = f"+{DEFAULT_LIFETIME_DAYS}d",
    json: Json = False,
) -> None:
    """Make a token; its text is shown once."""
    scopes = read_scopes(scope)
    with session(ctx).desk(acts=True) as desk:
        now, zone = session(ctx).now(desk), session(ctx).zone
        ends = None if expires == NEVER else parse_date(expires, now, zone)
        made = desk.access.create(name, scopes, ends)
    if json:
        answer(ctx, made)
        return
    until = "" if made["expires_at"] is None else f" until {minute(made['expires_at'])}"
    say(f"token {made['id']} lets {made['name']} in for {', '.join(made['scopes'])}{until}")
    say(("keep it now:", "yellow"), " it is stored nowhere and cannot be shown again")
    # Alone on standard output, so that a script can keep it.
    print(made["text"])  # noqa: T201 - data goes to stdout
    advise("to end it:", command("token", "revoke", made["id"]))


@app.command("list")
def list_tokens(ctx: typer.Context, json: Json = False) -> None:
    """List tokens, those that let nobody in any more included."""
    with session(ctx).desk() as desk:
        found = desk.access.all()
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["id", "name", "~scopes", "created", "expires", "last used", "state"],
        (
            [
                one["id"],
                one["name"],
                ", ".join(one["scopes"]),
                minute(one["created_at"]),
                _moment(one["expires_at"], NEVER),
                _moment(one["last_used_at"], NEVER),
                "valid" if one["valid"] else "expired" if one["revoked_at"] is None else "revoked",
            ]
            for one in found["items"]
        ),
    )


@app.command("revoke")
def revoke_token(
    ctx: typer.Context,
    token: Annotated[str, typer.Argument(metavar="ID", help="Its id, as token list shows it.")],
    json: Json = False,
) -> None:
    """Let nobody in with a token any more, nor with sessions that were opened with it."""
    with session(ctx).desk(acts=True) as desk:
        revoked = desk.access.revoke(token)
    if json:
        answer(ctx, revoked)
    else:
        say(f"token {revoked['id']} of {revoked['name']} lets nobody in any more")


@app.command("sessions")
def list_sessions(ctx: typer.Context, json: Json = False) -> None:
    """List the browsers that are logged in."""
    with session(ctx).desk() as desk:
        found = desk.access.sessions()
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["id", "name", "~scopes", "via", "opened", "ends"],
        (
            [
                one["id"],
                one["name"],
                ", ".join(one["scopes"]),
                one["via"] if one["token"] is None else f"token {one['token']}",
                minute(one["created_at"]),
                minute(one["expires_at"]),
            ]
            for one in found["items"]
        ),
    )


@app.command("end-sessions")
def end_sessions(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Whose, as the audit log names them.", show_default=False)
    ] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Those of all people.")] = False,
    json: Json = False,
) -> None:
    """Log somebody out of all browsers, and make their login links useless. Tokens go on letting in."""
    if (name is None) != everybody:
        raise UsageError("name a person, or say --everybody", "one of the two")
    with session(ctx).desk(acts=True) as desk:
        done = desk.access.end_sessions(name)
    if json:
        answer(ctx, done)
    of = "everybody" if name is None else name
    say(f"sessions of {of} that were open and are ended: {done['ended']}")


def _moment(value: "datetime | str | None", otherwise: str) -> str:
    return otherwise if value is None else minute(value)
