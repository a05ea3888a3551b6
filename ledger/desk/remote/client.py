"""Questions to a server over HTTP, and their answers: documents, files, or the error that stands for a problem."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from ledger import __version__
from ledger.documents.document import Document
from ledger.errors import AuthenticationError, LedgerError, UnreachableError, UsageError

from .problems import error_of

PREFIX = "/api/v1"
MOST_ITEMS = 1000
"""Items that a server puts on one page."""
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 300.0
"""A report on a large ledger, or the verification of its log, takes a while."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ServerClient:
    """Asks one server.

    Args:
        address: Where it is, e.g. ``https://ledger.example.org``.
        token: What lets us in; None asks without one.
        transport: What carries the questions; None for the network.
    """

    def __init__(self, address: str, token: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.address = checked_address(address)
        headers = {"Accept": "application/json", "User-Agent": f"unledger/{__version__}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {_header(token)}"
        self._client = httpx.Client(
            base_url=self.address,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: Any) -> Document:
        """Return the document under an address below the API's; members of the query that are None are left out."""
        return self._document(self._send("GET", f"{PREFIX}{path}", query=query))

    def post(
        self, path: str, body: Mapping[str, Any], expected: str | None = None, *, key: str | None = None
    ) -> Document:
        """Send a document, and return the one that answers it.

        Args:
            path: An address below the API's.
            body: The document.
            expected: Revision of what it is about; None takes that as it is.
            key: Idempotency key of the call.
        """
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        headers |= {} if key is None else {"Idempotency-Key": key}
        return self._document(self._send("POST", f"{PREFIX}{path}", body=body, headers=headers))

    def delete(self, path: str) -> Document:
        """Have something deleted, and return what the server says of it."""
        return self._document(self._send("DELETE", f"{PREFIX}{path}"))

    def file(self, path: str) -> bytes:
        """Return a file, as it is."""
        return self._send("GET", f"{PREFIX}{path}").content

    def pages(self, path: str, limit: int | None = None, **query: Any) -> Iterator[Document]:
        """Yield the pages of a list, as each links to the next.

        Args:
            path: Where the list begins.
            limit: How many items are wanted; None for all.
            query: What else is asked.
        """
        wanted = limit
        response = self._send("GET", f"{PREFIX}{path}", query={**query, "limit": _page_size(wanted)})
        while True:
            page = self._document(response)
            yield page
            following = response.links.get("next", {}).get("url")
            wanted = None if wanted is None else wanted - len(page["items"])
            if following is None or not page["items"] or (wanted is not None and wanted <= 0):
                return
            # Only how far we are is taken from the link: it may name the server as a proxy before it calls it.
            query["after"] = httpx.URL(following).params.get("after")
            response = self._send("GET", f"{PREFIX}{path}", query={**query, "limit": _page_size(wanted)})

    def listing(self, path: str, limit: int | None = None, **query: Any) -> Document:
        """Return a list that may have several pages as one document."""
        items: list[Document] = []
        page: Document = {}
        for page in self.pages(path, limit, **query):
            items += page["items"]
        return {**page, "items": items}

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        said = {name: _plain(value) for name, value in (query or {}).items() if value is not None}
        content = None if body is None else json.dumps(body, default=_plain).encode()
        sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        try:
            response = self._client.request(method, path, params=said, content=content, headers=sent)
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"the server at {self.address} does not answer in time", "whether it did what was asked is unknown"
            ) from error
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"cannot reach the server at {self.address}: {error}", "check the address, and that the server runs"
            ) from error
        if response.is_redirect:
            raise UsageError(
                f"the server at {self.address} sends us elsewhere: {response.headers.get('location')}",
                "name the address that it points to",
            )
        if not response.is_success:
            refusal = error_of(response.status_code, _json(response))
            if isinstance(refusal, AuthenticationError):
                which = "another token" if "Authorization" in self._client.headers else "a token"
                refusal.hint = f"put {which} into the variable UNLEDGER_TOKEN; whoever administers the ledger makes one"
            raise refusal
        return response

    def _document(self, response: httpx.Response) -> Document:
        found = _json(response)
        if not isinstance(found, dict) or "schema" not in found:
            raise LedgerError(
                f"what answers at {self.address} is no ledger's server", "check the address: it is that of its pages"
            )
        return found


def checked_address(address: str) -> str:
    """Return the address of a server without what it does not need.

    Raises:
        UsageError: It is none.
    """
    hint = "write it as in https://ledger.example.org"
    try:
        parts = urlsplit(address)
        odd = parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment
        # Looked at, because a port that is no number is noticed only then.
        named = (parts.port, parts.username)
    except ValueError as error:
        raise UsageError(f"{address!r} is no address of a server: {error}", hint) from error
    if odd:
        raise UsageError(f"{address!r} is no address of a server", hint)
    if named[1] is not None:
        raise UsageError("the address of a server holds no name or password", "put the token in UNLEDGER_TOKEN")
    return address.rstrip("/")


def is_private(address: str) -> bool:
    """Whether nobody on the way can read what is sent: it is encrypted, or does not leave this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


def _page_size(wanted: int | None) -> int:
    return MOST_ITEMS if wanted is None else max(1, min(wanted, MOST_ITEMS))


def _header(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("what UNLEDGER_TOKEN holds is no token", "a token begins with ul_")
    return token


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, UnicodeError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Return a value as queries and bodies hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
