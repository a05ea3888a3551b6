"""Texts of the program as Markdown: what is markup there is none here, and the other way round."""

import re

ROLE = re.compile(r":[a-z:]+:`~?(?:[\w.]+\.)?([\w]+)`")
"""A reference of reStructuredText, of which the last name is kept."""


def escaped(text: str) -> str:
    """Return a text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)


def code(text: str) -> str:
    """Return a text as code, also within a table."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def from_docstring(text: str) -> str:
    """Return a docstring's sentences as Markdown: code and references become code."""
    pieces = re.split(r"``(.+?)``", ROLE.sub(r"``\1``", text), flags=re.DOTALL)
    return "".join(code(piece) if index % 2 else escaped(piece) for index, piece in enumerate(pieces))


def flat(text: str) -> str:
    """Return a text as one line, as a cell of a table has to be."""
    return " ".join(text.split())
