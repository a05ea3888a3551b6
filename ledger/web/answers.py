"""Documents as HTTP answers: JSON with RFC 3339 times, and links from page to page."""

from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from fastapi import Request
from starlette.responses import Response

from ledger.documents.document import Document

MOST_ITEMS = 1000
"""Items of a list that one answer holds at most."""
DEFAULT_ITEMS = 100


def encoded(body: Any) -> bytes:
    """Return a document as JSON. Moments are written as RFC 3339 has them, sets as lists in order."""
    return orjson.dumps(body, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a document as an answer."""
    return Response(encoded(body), status, dict(headers or {}), "application/json")


def page(request: Request, body: Document, key: str, after: int, limit: int) -> Response:
    """Return one page of a list, with a link to the next one if there is one.

    Args:
        request: What was asked.
        body: The document with ``items``: one page of them with ``more``, how many follow, or all there are.
        key: What the items are ordered by.
        after: The page begins behind this one.
        limit: How many items fit.
    """
    items, more = body["items"], body.get("more")
    if more is None:
        items = sorted((item for item in items if item[key] > after), key=itemgetter(key))
        items, more = items[:limit], len(items) - limit
    headers = {}
    if more > 0:
        query = [(name, value) for name, value in request.query_params.multi_items() if name not in {"after", "limit"}]
        following = urlencode([*query, ("after", str(items[-1][key])), ("limit", str(limit))])
        headers["Link"] = f'<{quote(request.url.path)}?{following}>; rel="next"'
    return answer({**body, "items": items}, headers=headers)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
