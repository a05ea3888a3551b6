"""What an exporter is, and what it is given: which version is live, what is known of it, and its files.

Importing it loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class LiveFacts:
    """A version that is live."""

    model: str
    """Name of the model: letters, digits, ``_``, ``.`` and ``-``, and no folder above."""
    version: int
    weights: str
    """SHA-256 of the weights file. Several versions may have the same weights: those that a rollback brought back."""
    kind: str
    """Why it was made: ``base``, ``forget``, ``withdraw`` or ``rollback``."""
    live_since: datetime
    tags: Mapping[str, str]
    """What is known of it, by names that begin with ``unledger.``: what it has forgotten, its level of evidence, its
    certificates."""


@dataclass(frozen=True)
class LiveVersion:
    """A version that is live, with its files."""

    facts: LiveFacts
    files: Mapping[str, bytes]
    """Contents by name: ``model.safetensors``, ``config.json``, ``README.md``."""


class Exporter(Protocol):
    """Puts live versions where they are served from or looked up.

    Every call may come again for the same version: after a crash nobody knows whether the last one arrived. What is
    there already is left as it is.
    """

    def publish(self, live: LiveVersion) -> str:
        """Make a version live there, in one step: nobody who reads meanwhile may find half of it.

        Returns:
            What was done, for people.

        Raises:
            LedgerError: It could not be done; it is tried again later.
        """
        ...

    def describe(self, facts: LiveFacts) -> str:
        """Note what is known of the live version by now: evidence and certificates come after it went live.

        Returns:
            What was done, for people.

        Raises:
            LedgerError: As above.
        """
        ...

    def remove(self, model: str, weights: frozenset[str]) -> str:
        """Destroy every copy of weights that the ledger has purged. The live version is never among them.

        Args:
            model: Name of the model.
            weights: SHA-256 of the weights files.

        Returns:
            What was done, for people.

        Raises:
            LedgerError: As above.
        """
        ...
