"""Requests: filed, listed, decided."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from ledger.desk.asked import FiledRequest
from ledger.documents.document import Document
from ledger.documents.jobs import is_withdrawal_job
from ledger.domain.access import Scope
from ledger.domain.states import Action, RequestState
from ledger.service.requests.calls import LONGEST
from ledger.web.answers import DEFAULT_ITEMS, answer, page
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import BulkBody, DecisionBody, ExtensionBody, FilingBody, ForgetBody, ReasonBody
from .described import CONFLICT, MISSING, STALE, accepted, described, either
from .tags import expected_revision, tagged
from .values import PREFIX, After, JobId, Limit, ModelId, OptionalModelId, RequestId

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["requests"])
Reader = Annotated[Visit, requires(Scope.READ)]
Filer = Annotated[Visit, requires(Scope.FILE)]
BulkFiler = Annotated[Visit, requires(Scope.READ, Scope.FILE)]
"""Bad lines are named with what is wrong in them, which names classes."""
Decider = Annotated[Visit, requires(Scope.READ, Scope.DECIDE)]
DECIDED = {
    **described("decision", MISSING, CONFLICT, STALE, etag=True),
    202: accepted("withdrawal_job")[202],
}
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="The ETag of the state that the decision is about."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        # The service refuses others, with an error of its own.
        json_schema_extra={"minLength": 1, "maxLength": LONGEST},
        description="Stands for the whole body: sent again with the same one, it files nothing more, and with another "
        "it is refused. It never expires.",
    ),
]


@router.get("/requests", responses=described("requests", MISSING, lists=True))
def list_requests(
    request: Request,
    visit: Reader,
    model: OptionalModelId = None,
    state: Annotated[list[RequestState], Query(description="Only in these states.")] = [],  # noqa: B006 - FastAPI copies it
    after: After = 0,
    limit: Limit = DEFAULT_ITEMS,
) -> Response:
    """Return requests in the order they were filed."""
    with visit.desk() as desk:
        found = desk.requests.all(model, state, after=after, limit=limit)
    return page(request, found, "id", after, limit)


@router.get("/requests/{number}", responses=described("request", MISSING, etag=True))
def show_request(visit: Reader, number: RequestId) -> Response:
    """Return a request and everything that happened to it."""
    with visit.desk() as desk:
        return tagged(desk.requests.show(number))


@router.post(
    "/models/{model}/requests", status_code=201, responses=described("receipts", MISSING, CONFLICT, filed=True)
)
def file_requests(visit: Filer, model: ModelId, body: FilingBody, key: IdempotencyKey = None) -> Response:
    """File one or many requests, all or none of them.

    Answers 200 where every key was known, so that nothing was added. Who may not read gets the numbers alone.
    """
    several = len(body.requests) > 1
    receipts = visit.file(model, [_filed(one) for one in body.requests], needs_approval=body.needs_approval, key=key)
    repeated = all(item["repeated"] for item in receipts["items"])
    headers = {} if several else {"Location": f"/api/v1/requests/{receipts['items'][0]['id']}"}
    return answer(receipts if visit.reads else _numbers(receipts), 200 if repeated else 201, headers)


@router.post(
    "/models/{model}/requests/bulk",
    responses=either(described("receipts", MISSING, CONFLICT), described("bulk_check")),
)
def file_bulk(visit: BulkFiler, model: ModelId, body: BulkBody) -> Response:
    """File the requests of a whole file, or return its bad lines."""
    said: dict[str, Any] = {"form": body.format, "name": body.name, "needs_approval": body.needs_approval}
    with visit.desk() as desk:
        act = desk.requests.check_bulk if body.dry_run else desk.requests.file_bulk
        return answer(act(model, body.text, **said))


@router.post("/requests/{number}/decisions", responses=DECIDED)
def decide(visit: Decider, number: RequestId, body: DecisionBody, if_match: IfMatch = None) -> Response:
    """Decide about a request that no worker holds.

    Withdrawing may take new weights: then a worker computes them, and what came of it is found under Location.
    """
    action, expected = Action(body.action), expected_revision(if_match)
    said: dict[str, Any] = {"waive_gates": body.waive_gates, "solvers": body.solvers, "expected": expected}
    with visit.desk() as desk:
        if action is Action.WITHDRAW:
            done = desk.requests.withdraw(number, body.reason, **said)
            if is_withdrawal_job(done):
                return answer(done, 202, {"Location": f"{PREFIX}/withdrawals/{done['id']}"})
        else:
            done = desk.requests.decide(number, action, body.reason, **said)
    return tagged(done, done["request"])


@router.get("/withdrawals/{job}", responses=described("withdrawal_job", MISSING))
def show_withdrawal(visit: Reader, job: JobId) -> Response:
    """Return a withdrawal that waits for a worker, with the decision once it is carried out."""
    with visit.desk() as desk:
        return answer(desk.requests.withdrawal(job))


@router.post("/requests/{number}/extensions", responses=described("decision", MISSING, CONFLICT, STALE, etag=True))
def extend(visit: Decider, number: RequestId, body: ExtensionBody, if_match: IfMatch = None) -> Response:
    """Move the due date of an open request to a later moment."""
    with visit.desk() as desk:
        done = desk.requests.extend(number, body.due_at, body.reason, expected=expected_revision(if_match))
    return tagged(done, done["request"])


@router.get("/requests/{number}/lease", responses=described("lease", MISSING, CONFLICT))
def show_lease(visit: Reader, number: RequestId) -> Response:
    """Return which worker holds a request."""
    with visit.desk() as desk:
        return answer(desk.requests.lease(number))


@router.post("/requests/{number}/lease-breaks", responses=described("decision", MISSING, CONFLICT))
def break_lease(visit: Decider, number: RequestId, body: ReasonBody) -> Response:
    """Take a running request from the worker that holds it, and put it back in the queue."""
    with visit.desk() as desk:
        return answer(desk.requests.break_lease(number, body.reason))


def _filed(body: ForgetBody) -> FiledRequest:
    own = body.idempotency_key
    said: dict[str, Any] = {name: getattr(body, name) for name in ("reason", "basis", "external_id", "received_at")}
    classes = [f"index:{one}" if isinstance(one, int) else one for one in body.classes]
    return FiledRequest(classes, due_at=body.due_at, idempotency_key=own, preview=body.preview, **said)


def _numbers(receipts: Document) -> Document:
    told = ("id", "state", "received_at", "due_at", "repeated")
    return {"schema": "unledger.filed/1", "items": [{name: item[name] for name in told} for item in receipts["items"]]}
