"""What all documents have in common: the name of their schema."""

import json
from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]
"""A JSON object; moments and sets are converted when it is printed."""


def document(kind: str, body: Document) -> Document:
    """Return a document that names its schema."""
    return {"schema": f"unledger.{kind}/1", **body}


def listing(kind: str, items: Iterable[Document]) -> Document:
    """Return a document that holds a list."""
    return document(kind, {"items": list(items)})


def text(body: Document) -> str:
    """Return a document as it is written to a file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
