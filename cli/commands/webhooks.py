"""``unledger webhook``: who is told of events."""

from typing import Annotated

import typer

from ledger.domain.command_lines import command
from ledger.domain.webhooks import DeliveryState
from ledger.errors import LedgerError

from ..answers import answer, answered
from ..options import Json
from ..render import advise, emit_table, minute, say
from ..session import session

Number = Annotated[int, typer.Argument(metavar="ID", help="The webhook's number.")]
app = typer.Typer(no_args_is_help=True, help="Webhooks: addresses that are told of events.")


@app.command("add")
def add_webhook(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="An address that begins with https://.")],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", help="Kind of events, e.g. request.fulfilled or request.*; repeatable. Else all."),
    ] = None,
    json: Json = False,
) -> None:
    """Let an address be told of events from now on; the secret of its messages is shown once."""
    with session(ctx).desk(acts=True) as desk:
        added = desk.webhooks.add(url, kind or ())
    if json:
        answer(ctx, added)
        return
    say(f"webhook {added['id']} is told of {', '.join(added['kinds']) or 'every event'}; what its receiver needs:")
    # Alone on standard output, so that a script can keep it.
    print(added["secret"])  # noqa: T201 - data goes to stdout
    advise("next:", command("webhook", "test", added["id"]))


@app.command("list")
def list_webhooks(ctx: typer.Context, json: Json = False) -> None:
    """List who is told of events."""
    with session(ctx).desk() as desk:
        found = desk.webhooks.all()
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["#id", "~address", "~kinds", "added"],
        (
            [one["id"], one["url"], ", ".join(one["kinds"]) or "all", minute(one["created_at"])]
            for one in found["items"]
        ),
    )


@app.command("remove")
def remove_webhook(ctx: typer.Context, webhook: Number, json: Json = False) -> None:
    """Tell an address nothing any more; what waits for it is dropped."""
    with session(ctx).desk(acts=True) as desk:
        removed = desk.webhooks.remove(webhook)
    if json:
        answer(ctx, removed)
    else:
        say(f"webhook {removed['id']} is told nothing any more")


@app.command("test")
def send_test(ctx: typer.Context, webhook: Number, json: Json = False) -> None:
    """Send a message that tells of no event, once and now; exit with 1 if it does not arrive."""
    with session(ctx).desk(acts=True) as desk:
        sent = desk.webhooks.test(webhook)
    if json:
        answer(ctx, sent)
    if sent["state"] != DeliveryState.DELIVERED:
        answered(ctx)
        raise LedgerError(f"the message did not arrive: {sent['detail']}", "check the receiver, and its address")
    if not json:
        say(f"the message arrived: {sent['detail']}")


@app.command("deliveries")
def list_deliveries(ctx: typer.Context, webhook: Number, json: Json = False) -> None:
    """List the newest messages to an address, and what became of them."""
    with session(ctx).desk() as desk:
        found = desk.webhooks.deliveries(webhook)
    if json:
        answer(ctx, found)
        return
    emit_table(
        ["message", "kind", "created", "state", "#attempts", "~last attempt"],
        (
            [
                one["message"],
                one["kind"],
                minute(one["created_at"]),
                one["state"].replace("_", " "),
                one["attempts"],
                one["detail"],
            ]
            for one in found["items"]
        ),
    )
