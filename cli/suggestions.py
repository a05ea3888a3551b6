"""Commands in hints and advice, with the ledger that they are about."""

import re
from contextvars import ContextVar
from pathlib import Path

from ledger.domain.command_lines import quoted

_named: ContextVar[str] = ContextVar("named", default="")
"""The option that named the ledger: without it, another command would look elsewhere."""
COMMAND = re.compile(r"\bunledger (?=[a-z]+\b(?!: ))(?!init\b|demo\b|restore\b)")


def name_ledger(folder: Path | None, server: str | None = None) -> None:
    """Remember what ``--ledger`` or ``--server`` said."""
    option = "" if server is None else f"--server {quoted(server)}"
    _named.set(option if folder is None else f"-L {quoted(str(folder))}")


def suggest(text: str) -> str:
    """Return advice with ``--ledger`` or ``--server`` in its commands, if it was given."""
    option = _named.get()
    if not option:
        return text
    # A function, because a path may hold what a pattern's replacement would interpret.
    return COMMAND.sub(lambda _: f"unledger {option} ", text)
