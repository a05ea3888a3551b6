"""Who acts where nobody is named: it is recorded with every change."""

import getpass
import os

ACTOR = "UNLEDGER_ACTOR"
"""Environment variable with the name of whoever acts."""


def acting_as(named: str | None) -> str:
    """Return who acts: the one named, else the one in ``UNLEDGER_ACTOR``, else the login name."""
    return named or os.environ.get(ACTOR) or _login_name()


def _login_name() -> str:
    """Return the login name, or ``uid-1234`` where the account has none, as in many containers."""
    try:
        return getpass.getuser()
    # Which of them it is depends on the release of Python.
    except (KeyError, OSError, ImportError):
        return f"uid-{os.getuid()}"
