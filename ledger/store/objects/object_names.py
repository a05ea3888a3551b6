"""Names of stored objects: lower-case SHA-256 digests and nothing else, so that no name can lead anywhere."""

from ledger.errors import ObjectError

HEX = frozenset("0123456789abcdef")


def is_digest(name: str) -> bool:
    """Return whether a name is a SHA-256 digest."""
    return len(name) == 64 and not set(name) - HEX


def require_digest(name: str) -> str:
    """Return a name that is a SHA-256 digest.

    Raises:
        ObjectError: It is not a digest.
    """
    if not is_digest(name):
        raise ObjectError(f"{name!r} is not a SHA-256 digest", fault="no digest")
    return name
