"""Commitments to classes, which stand in a certificate in place of the classes' names.

A commitment is the HMAC-SHA-256 of index and label under a random salt (:func:`ledger.certificates.verifier.commit`).
Without the salt it does not reveal the class; with the salt it can be opened to that class only. Salts and names are
stored apart from the certificate, which still verifies after they were erased.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .verifier import OPENINGS_FORMAT, commit


@dataclass(frozen=True)
class Opening:
    """Index, label and salt, which together open the commitment to one class."""

    index: int
    label: str
    salt: str
    """32 random bytes, in hexadecimal."""

    @property
    def commitment(self) -> str:
        """The commitment that this opens, in hexadecimal."""
        return commit(bytes.fromhex(self.salt), self.index, self.label)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def commit_to(classes: Iterable[tuple[int, str]], new_salt: Callable[[], bytes]) -> tuple[Opening, ...]:
    """Commit to classes, with a new salt for each.

    Args:
        classes: Index and label of each.
        new_salt: Returns 32 random bytes.

    Returns:
        The openings, sorted by commitment. This order is random, so a list of commitments does not reveal the order
        of the classes.
    """
    drawn = [Opening(index, label, new_salt().hex()) for index, label in classes]
    return tuple(sorted(drawn, key=lambda opening: opening.commitment))


def openings_file(openings: Iterable[Opening], envelope_digest: str) -> dict[str, Any]:
    """Return the document that opens a certificate's commitments. Entries of single classes may be removed from it."""
    return {
        "format": OPENINGS_FORMAT,
        "envelope": envelope_digest,
        "classes": [opening.to_json() for opening in openings],
    }
