"""What all commands have in common: arguments are looked at before anything is done with them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from ledger.errors import UsageError

MOST_NUMBER = 2**63 - 1
"""Largest number that a database can hold."""


class Command(TyperCommand):
    """A command that takes text and numbers which can be recorded, and refuses others."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            UsageError: An argument is not text, a number is too large, or the current folder was deleted.
        """
        ctx.params = {name: _checked(name, value) for name, value in ctx.params.items()}
        try:
            return super().invoke(ctx)
        except FileNotFoundError as error:
            if _is_somewhere():
                raise
            raise UsageError(
                "the current folder was deleted", "change to another one, or name ledger and files by absolute paths"
            ) from error


def _is_somewhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return checked_text(name, value)
    if isinstance(value, list | tuple):
        return type(value)(_checked(name, one) for one in value)
    if isinstance(value, int) and abs(value) > MOST_NUMBER:
        raise UsageError(f"{name.replace('_', '-')} cannot be {value}: no number here has so many digits")
    return value


def checked_text(name: str, value: str) -> str:
    """Return an argument as text: a locale that knows ASCII only hands over bytes, disguised as halves of characters.

    File names stay as they are: they may be any bytes.

    Args:
        name: What the argument is called.
        value: The argument.

    Raises:
        UsageError: It is not UTF-8.
    """
    if value.isascii() or not any(_disguised(value)):
        return value
    try:
        return os.fsencode(value).decode()
    except UnicodeError:
        shown = value.encode(errors="backslashreplace").decode()
        raise UsageError(
            f"{name.replace('_', '-')} is not text in UTF-8: {shown}", "check the encoding of your terminal"
        ) from None


def _disguised(value: str) -> Iterator[bool]:
    return ("\ud800" <= character <= "\udfff" for character in value)
