"""Commands that are suggested to people: quoted, so that they can be copied into a shell and run."""

import shlex

RETRY_FAILED = "retry what failed: unledger request retry N"
"""Ends the hint of what may have failed a request; where one did, its number takes the place of N."""


def command(*words: object) -> str:
    """Return a command line of this program.

    Args:
        words: Its arguments, as the program gets them.
    """
    return " ".join(["unledger", *(quoted(str(word)) for word in words)])


def quoted(text: str) -> str:
    """Return a word as a shell needs it to get this text; control characters are spelled as bash and zsh read them."""
    if text.isprintable():
        return shlex.quote(text)
    spelled = (_spelled(character) for character in text)
    return f"$'{''.join(spelled)}'"


def _spelled(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if character.isprintable():
        return character
    # Bytes, because not every shell knows characters by their numbers.
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
