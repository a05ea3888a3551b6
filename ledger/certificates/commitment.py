"""Commitments to classes: a certificate shows that it is about certain classes, not which.

A commitment is the HMAC-SHA-256 of index and label under a random salt
(:func:`ledger.certificates.verifier.commit`). Without the salt it says nothing about the class; with it, it
opens to one class only. Salts and classes are kept apart from the certificate, which verifies without them for good.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .verifier import OPENINGS_FORMAT, commit


@dataclass(frozen=True)
class Opening:
    """What opens the commitment to one class."""

    index: int
    label: str
    salt: str
    """32 random bytes, in hexadecimal."""

    @property
    def commitment(self) -> str:
        """The commitment, in hexadecimal."""
        return commit(bytes.fromhex(self.salt), self.index, self.label)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def close(classes: Iterable[tuple[int, str]], new_salt: Callable[[], bytes]) -> tuple[Opening, ...]:
    """Draw a salt for each class.

    Args:
        classes: Index and label of each.
        new_salt: Returns 32 random bytes.

    Returns:
        The openings in the order of their commitments, which is random: a list of commitments does not even tell
        which of the classes comes first.
    """
    drawn = [Opening(index, label, new_salt().hex()) for index, label in classes]
    return tuple(sorted(drawn, key=lambda opening: opening.commitment))


def openings_file(openings: Iterable[Opening], envelope_digest: str) -> dict[str, Any]:
    """Return the document that opens a certificate's commitments; classes may be taken out of it one by one."""
    return {
        "format": OPENINGS_FORMAT,
        "envelope": envelope_digest,
        "classes": [opening.to_json() for opening in openings],
    }
