"""Commands in hints and advice, with the ledger that they are about."""

import re
from contextvars import ContextVar
from pathlib import Path

from ledger.domain.command_lines import quoted

_named: ContextVar[Path | None] = ContextVar("named", default=None)
"""The folder that ``--ledger`` named: without the option again, another command would look elsewhere."""
COMMAND = re.compile(r"\bunledger (?=[a-z]+\b(?!: ))(?!init\b|demo\b|restore\b)")


def name_ledger(folder: Path | None) -> None:
    """Remember what ``--ledger`` said."""
    _named.set(folder)


def suggest(text: str) -> str:
    """Return advice with ``--ledger`` in its commands, if it was given."""
    folder = _named.get()
    if folder is None:
        return text
    # A function, because a path may hold what a pattern's replacement would interpret.
    return COMMAND.sub(lambda _: f"unledger -L {quoted(str(folder))} ", text)
