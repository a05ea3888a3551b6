"""Commands in hints and advice, with the ledger that they are about, and where they can be run."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from ledger.domain.command_lines import quoted


@dataclass(frozen=True)
class Named:
    """How the ledger was named."""

    option: str = ""
    """The option that named it: without it, another command would look elsewhere. Empty if none did."""
    afar: bool = False
    """Whether it is behind a server."""


NOT_NAMED = Named()
_named: ContextVar[Named] = ContextVar("named", default=NOT_NAMED)
COMMAND = re.compile(r"\bunledger (?=([a-z]+)\b(?!: )( [a-z-]+)?)(?!init\b|demo\b|restore\b)")
THERE = "on the ledger's machine"
AFAR = {
    "model": {"list", "show", "versions", "spaces"},
    "audit": {"log", "verify", "key", "checkpoint", "proof", "export"},
    **dict.fromkeys(("report", "forget", "request", "status", "rollback", "purge", "preview")),
    **dict.fromkeys(("certificate", "token", "webhook")),
}
"""Commands that a server answers; of some groups these alone."""


def name_ledger(folder: Path | None, server: str | None = None, *, afar: bool = False) -> None:
    """Remember what ``--ledger`` or ``--server`` said.

    Args:
        folder: The folder that was named.
        server: The server that was named.
        afar: Whether the ledger is behind a server, which the environment may have named.
    """
    option = "" if server is None else f"--server {quoted(server)}"
    _named.set(Named(option if folder is None else f"-L {quoted(str(folder))}", afar or server is not None))


def is_afar() -> bool:
    """Whether the ledger is behind a server."""
    return _named.get().afar


def suggest(text: str) -> str:
    """Return advice with ``--ledger`` or ``--server`` in its commands, if it was given.

    From afar, commands that run on the ledger's machine alone stay as they are there, and the advice says so.
    """
    named = _named.get()
    if named.afar and THERE in text:
        return text
    elsewhere = False

    # A function, also because a path may hold what a pattern's replacement would interpret.
    def completed(found: re.Match[str]) -> str:
        nonlocal elsewhere
        if named.afar and not _answered_afar(found[1], (found[2] or "").strip()):
            elsewhere = True
            return found[0]
        return f"unledger {named.option} " if named.option else found[0]

    said = COMMAND.sub(completed, text)
    return f"{said} ({THERE})" if elsewhere else said


def _answered_afar(group: str, name: str) -> bool:
    only = AFAR.get(group)
    return group in AFAR and (only is None or name in only)
