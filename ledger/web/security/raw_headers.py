"""Headers of a request before anything has taken it apart."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str:
    """Return a header of a request, empty if it has none of that name."""
    found: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in found if key == name), "")
