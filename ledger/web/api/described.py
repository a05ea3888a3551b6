"""What the API's schema says of answers: the schema of each document, and the problems that a route may meet."""

from typing import Any

from ledger.documents.document import Document
from ledger.web.problems import PROBLEM

Responses = dict[int | str, dict[str, Any]]

EVERYWHERE = {
    "401": "Nobody knows who asks",
    "403": "The caller may not do this",
    "413": "The body is too large",
    "421": "The server does not answer under that name",
    "422": "The request is not understood",
    "500": "What is stored is not what was recorded, or the server failed",
    "503": "Try again after the seconds that Retry-After says",
}
"""Problems that every route may answer with."""
UNREADABLE = {"400": "The body is not JSON"}
"""Further ones of routes that take a body."""
MISSING = {"404": "There is no such thing"}
CONFLICT = {"409": "The state of the ledger does not allow this"}
STALE = {"412": "The state that If-Match names has passed"}
TEXT: Document = {"type": "string"}
FILED: Document = {
    "title": "Numbers of requests that were filed",
    "type": "object",
    "properties": {
        "schema": {"const": "unledger.filed/1"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer", "minimum": 1},
                    "state": {"type": "string"},
                    "received_at": {"type": "string", "format": "date-time"},
                    "due_at": {"type": "string", "format": "date-time"},
                    "repeated": {"type": "boolean"},
                },
                "required": ["id", "state", "received_at", "due_at", "repeated"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["schema", "items"],
    "additionalProperties": False,
}
"""Of a caller who may file and not read."""


def ref(kind: str) -> Document:
    """Return a reference to the schema of a document."""
    return {"$ref": f"#/components/schemas/{kind}"}


def problems(*kinds: dict[str, str]) -> Responses:
    """Return what a schema says of problems."""
    content = {PROBLEM: {"schema": ref("problem")}}
    return {int(status): {"description": told, "content": content} for kind in kinds for status, told in kind.items()}


def described(
    kind: str,
    *kinds: dict[str, str],
    lists: bool = False,
    etag: bool = False,
    filed: bool = False,
    again: bool = False,
) -> Responses:
    """Return what the schema says of a route's answers.

    Args:
        kind: The document.
        kinds: Problems besides those that every route may meet.
        lists: It comes in pages.
        etag: It has an entity tag.
        filed: It makes something, and who may not read gets numbers alone.
        again: It makes something, or finds it made before.
    """
    headers: Document = {}
    if lists:
        headers["Link"] = {"schema": TEXT, "description": 'The next page, rel="next", if there is one.'}
    if etag:
        headers["ETag"] = {"schema": TEXT, "description": "Names this state, for If-Match."}
    if filed or again:
        headers["Location"] = {"schema": TEXT, "description": "Where what was made is found."}
    schema = {"anyOf": [ref(kind), FILED]} if filed else ref(kind)
    done: dict[str, Any] = {"description": "Done", "content": {"application/json": {"schema": schema}}}
    if headers:
        done["headers"] = headers
    made: Responses = {201: {**done, "description": "Made"}} if filed or again else {}
    return {200: done, **made, **problems(*kinds)}


def accepted(kind: str, *kinds: dict[str, str]) -> Responses:
    """Return what the schema says of a route whose answer comes later, under another address."""
    headers = {"Location": {"schema": TEXT, "description": "Where the answer will be found."}}
    content = {"application/json": {"schema": ref(kind)}}
    return {202: {"description": "Asked for", "content": content, "headers": headers}, **problems(*kinds)}


def file(media_type: str, told: str, *kinds: dict[str, str]) -> Responses:
    """Return what the schema says of a route that answers with a file."""
    schema = TEXT if media_type.startswith("text/") else {}
    return {200: {"description": told, "content": {media_type: {"schema": schema}}}, **problems(*kinds)}


def html(told: str, *kinds: dict[str, str]) -> Responses:
    """Return what the schema says of a route that answers with a page."""
    return file("text/html", told, *kinds)


def said(kind: str, told: str, *kinds: dict[str, str], **properties: Any) -> Responses:
    """Return what the schema says of a route whose document the command line does not have."""
    schema: Document = {
        "title": told,
        "type": "object",
        "properties": {"schema": {"const": f"unledger.{kind}/1"}, **properties},
        "required": ["schema", *properties],
        "additionalProperties": False,
    }
    return {200: {"description": told, "content": {"application/json": {"schema": schema}}}, **problems(*kinds)}


def named_files(kind: str, content: str, *kinds: dict[str, str]) -> Responses:
    """Return what the schema says of a route that answers with several files, by their names."""
    item: Document = {
        "type": "object",
        "properties": {"name": TEXT, content: TEXT},
        "required": ["name", content],
        "additionalProperties": False,
    }
    return said(kind, "Files by name", *kinds, items={"type": "array", "items": item})


def either(first: Responses, second: Responses) -> Responses:
    """Return what the schema says of a route that answers with one of two documents."""
    schemas = [one[200]["content"]["application/json"]["schema"] for one in (first, second)]
    done = {**first[200], "content": {"application/json": {"schema": {"anyOf": schemas}}}}
    return {**second, **first, 200: done}
