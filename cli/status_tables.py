"""What the document of a ledger's status says, as tables and warnings."""

from ledger.documents.document import Document
from ledger.domain.command_lines import command
from ledger.domain.due import days_left

from .render import advise, day, emit_table, minute, moment, say

MOST_SHOWN = 50
"""Requests of each model that are listed for a person."""


def print_status(found: Document, *, overdue: bool) -> None:
    """Print what is live, open and late, and which workers are there.

    Args:
        found: The status.
        overdue: Whether it lists only what is late.
    """
    models = found["models"]
    emit_table(
        ["model", "#live", "~forgotten", "#open", "#overdue"],
        ((m["name"], m["live"], ", ".join(m["forgotten"]) or "-", m["open_count"], m["overdue_count"]) for m in models),
    )
    now = moment(found["now"])
    rows = [
        (
            r["id"],
            m["name"],
            ", ".join(r["classes"]),
            r["state"],
            day(r["due_at"]),
            days_left(moment(r["due_at"]), now),
        )
        for m in models
        for r in sorted(m["open"], key=_due)
    ]
    if rows:
        emit_table(["#id", "model", "~classes", "state", "due", "#days left"], rows, title="open requests")
    more = sum(m["overdue_count" if overdue else "open_count"] for m in models) - len(rows)
    if more:
        advise(f"{more} more are due later:", command("request", "list"))
    if found["workers"]:
        workers = (
            (w["owner"], w["model"] or "all", minute(w["started_at"]), f"{w['idle']:.0f} s ago")
            for w in found["workers"]
        )
        emit_table(["~worker", "model", "since", "last heard of"], workers, title="workers")
    if found["leases"]:
        held = ((x["request"], x["model"], x["owner"], f"in {x['remaining']:.0f} s") for x in found["leases"])
        emit_table(["#id", "model", "~worker", "runs out"], held, title="leases")


def warn_of_status(found: Document) -> None:
    """Say what needs a person: nobody works, a clock is wrong, something is late."""
    models = found["models"]
    unattended = [m["name"] for m in models if m["unattended"]]
    if unattended:
        advise(
            "warning:",
            f"requests for {', '.join(unattended)} wait and no worker is there: run unledger work, or keep one with "
            "unledger work --forever",
            "yellow",
        )
    for doubt in found["clock"]:
        say(("warning:", "yellow"), f" {doubt}")
    for lease in found["leases"]:
        if lease["from_future"]:
            advise("warning:", f"{lease['told']}; {lease['hint']}", "yellow")
    late = sum(m["overdue_count"] for m in models)
    if late:
        due = {r["id"]: _due(r) for m in models for r in m["open"]}
        listed = [number for m in models for number in sorted(m["overdue"], key=due.__getitem__)][:MOST_SHOWN]
        numbers = ", ".join(map(str, listed))
        more = f" and {late - len(listed)} more" if late > len(listed) else ""
        say(("warning:", "yellow"), f" past their due dates: requests {numbers}{more}")


def _due(request: Document) -> tuple[object, int]:
    """Return what the open requests of a model are sorted by."""
    return moment(request["due_at"]), request["id"]
