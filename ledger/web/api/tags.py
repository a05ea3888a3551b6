"""Entity tags of what can be decided: who decides can say which state of it the decision is about."""

from starlette.responses import Response

from ledger.documents.document import Document
from ledger.web.answers import answer


def tagged(body: Document, request: Document | None = None) -> Response:
    """Return a document with the revision of the request in it as its entity tag."""
    revision = (body if request is None else request)["revision"]
    return answer(body, headers={"ETag": f'"{revision}"'})


def expected_revision(if_match: str | None) -> str | None:
    """Return the revision that a header names; None where any will do. What is no entity tag matches no state."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip()
    return tag[1:-1] if len(tag) > 1 and tag[0] == tag[-1] == '"' else tag
