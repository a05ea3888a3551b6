"""Tokens: made, listed, revoked. The text of one is shown once, in the answer that made it."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ledger.documents.document import Document, document, listing
from ledger.domain.access import Scope, Token, read_scopes, sorted_scopes
from ledger.service.access.tokens import create_token, list_tokens, revoke_token
from ledger.web.answers import answer
from ledger.web.security.scopes import Visit, requires

from .bodies import TokenBody
from .described import CONFLICT, MISSING, TEXT, Responses, said
from .values import PREFIX

router = APIRouter(prefix=PREFIX, tags=["access"])
Administrator = Annotated[Visit, requires(Scope.ADMIN)]
TokenId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$", description="A token's identifier.")]
TIME: Document = {"type": ["string", "null"], "format": "date-time"}
TOKEN: Document = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "name": TEXT,
        "scopes": {"type": "array", "items": TEXT},
        "created_at": {"type": "string", "format": "date-time"},
        "expires_at": TIME,
        "last_used_at": TIME,
        "revoked_at": TIME,
    },
    "required": ["id", "name", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"],
    "additionalProperties": False,
}
MADE: Responses = {201: said("token_created", "The token, with its text", token=TOKEN, text=TEXT)[200]}


@router.get("/tokens", responses=said("tokens", "Tokens", items={"type": "array", "items": TOKEN}))
def show_tokens(visit: Administrator) -> Response:
    """Return every token, those that let nobody in any more included."""
    with visit.pool.borrow(visit.caller.name) as ledger:
        return answer(listing("tokens", map(_part, list_tokens(ledger))))


@router.post(
    "/tokens",
    status_code=201,
    responses=MADE,
)
def make_token(visit: Administrator, body: TokenBody) -> Response:
    """Make a token. Its text is in this answer and nowhere else."""
    with visit.pool.borrow(visit.caller.name) as ledger:
        token, text = create_token(ledger, body.name, read_scopes(body.scopes), body.expires_at)
    return answer(document("token_created", {"token": _part(token), "text": text}), 201)


@router.post(
    "/tokens/{number}/revocation",
    responses=said("token_revoked", "The token", MISSING, CONFLICT, token=TOKEN),
)
def end_token(visit: Administrator, number: TokenId) -> Response:
    """Let nobody in with a token any more, nor with sessions that were opened with it."""
    with visit.pool.borrow(visit.caller.name) as ledger:
        return answer(document("token_revoked", {"token": _part(revoke_token(ledger, number))}))


def _part(token: Token) -> Document:
    times = {name: getattr(token, name) for name in ("created_at", "expires_at", "last_used_at", "revoked_at")}
    return {"id": token.id, "name": token.name, "scopes": [one.value for one in sorted_scopes(token.scopes)], **times}
