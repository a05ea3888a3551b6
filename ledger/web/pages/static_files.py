"""What pages load: the style sheet, htmx, the icon. An address changes with its contents, so browsers may keep it."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from ledger.errors import NotFoundError
from ledger.web.security.scopes import open_to_all

router = APIRouter()

PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    # Colours have one home: the report and the pages look alike.
    "pages.css": (("ledger.report", "tokens.css"), ("ledger.web", "static/pages.css")),
    "htmx.min.js": (("ledger.web", "static/htmx.min.js"),),
    "hx-sse.min.js": (("ledger.web", "static/hx-sse.min.js"),),
    "icon.svg": (("ledger.web", "static/icon.svg"),),
}
"""The files of this release that each address is made of."""
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
KEPT = {"Cache-Control": "public, max-age=31536000, immutable"}


@cache
def content(name: str) -> bytes:
    """Return what an address holds.

    Raises:
        NotFoundError: There is nothing of this name.
    """
    if name not in PARTS:
        raise NotFoundError("there is nothing under this address")
    return b"".join((files(package) / path).read_bytes() for package, path in PARTS[name])


@cache
def address(name: str) -> str:
    """Return where a page finds one of them."""
    return f"/static/{name}?v={hashlib.sha256(content(name)).hexdigest()[:12]}"


@router.get("/static/{name}", dependencies=[open_to_all()])
def static_file(name: str) -> Response:
    """Send one."""
    return Response(content(name), media_type=TYPES[name.rpartition(".")[2]], headers=KEPT)
