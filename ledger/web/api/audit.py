"""The audit log: entries, heads that are signed, proofs, and checking all of it."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ledger.documents.audit import without_free_text
from ledger.domain.access import Scope
from ledger.domain.numbers import LARGEST_WHOLE
from ledger.errors import NotFoundError, SignatureError
from ledger.service.audit.verification import require_readable
from ledger.web.answers import DEFAULT_ITEMS, answer, page
from ledger.web.problems import problem, problem_response
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import VerificationBody
from .described import CONFLICT, MISSING, described, file
from .values import PREFIX, After, Limit, OptionalModelId

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["audit"])
Auditor = Annotated[Visit, requires(Scope.AUDIT)]


@router.get("/audit", responses=described("audit", MISSING, lists=True))
def list_entries(
    request: Request, visit: Auditor, model: OptionalModelId = None, after: After = 0, limit: Limit = DEFAULT_ITEMS
) -> Response:
    """Return entries of the audit log, oldest first.

    Notes and legal bases, which people write freely, are for those who may read. Classes are numbers here.
    """
    with visit.desk() as desk:
        found = desk.audit.log(model, after=after, limit=limit)
    if not visit.reads:
        found = {**found, "items": [without_free_text(item) for item in found["items"]]}
    return page(request, found, "seq", after, limit)


@router.get("/audit/checkpoint", responses=described("checkpoint", MISSING))
def show_checkpoint(visit: Auditor) -> Response:
    """Return what was signed last of how far the log reaches and what it holds; nothing is signed."""
    with visit.desk() as desk:
        newest = desk.audit.newest_checkpoint()
    if newest is None:
        raise NotFoundError("no checkpoint was signed yet", "sign one: POST /api/v1/audit/checkpoints")
    return answer(newest)


@router.post("/audit/checkpoints", responses=described("checkpoint", MISSING, CONFLICT))
def sign_checkpoint(visit: Auditor) -> Response:
    """Sign how far the log reaches and what it holds now."""
    with visit.desk() as desk:
        return answer(desk.audit.checkpoint())


@router.get("/audit/proof", responses=described("proof", MISSING, CONFLICT))
def show_proof(
    visit: Auditor, leaf: Annotated[int, Query(ge=1, le=LARGEST_WHOLE, description="Number of the entry.")]
) -> Response:
    """Return a proof that an entry stands in the signed log."""
    with visit.desk() as desk:
        return answer(desk.audit.proof(leaf))


@router.get("/audit/key", responses=described("key", MISSING))
def show_key(visit: Auditor) -> Response:
    """Return the key that verifies what this ledger signs."""
    with visit.desk() as desk:
        return answer(desk.audit.key())


@router.get("/audit/export", responses=file("text/plain", "Every entry, and the newest checkpoint, a line each"))
def export_log(visit: Auditor) -> Response:
    """Return the log as a file that can be verified elsewhere.

    That takes every entry as it was hashed: legal bases and the numbers of classes stand in it.
    """
    with visit.desk() as desk:
        text = "".join(desk.audit.export())
    return Response(
        text, headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'}, media_type="text/plain"
    )


@router.post("/audit/verifications", responses=described("verification", MISSING, CONFLICT))
def verify_log(visit: Auditor, body: VerificationBody) -> Response:
    """Verify the log and every row that it tells of. An error names the first bad entry."""
    with visit.desk() as desk:
        try:
            require_readable(desk.ledger, body.kept, body.key)
        except SignatureError as error:
            # Here, what was sent is at fault, and nothing that is stored.
            return problem_response({**problem(error, visit.caller), "status": HTTPStatus.UNPROCESSABLE_ENTITY})
        return answer(desk.audit.verify(body.kept, body.key))
