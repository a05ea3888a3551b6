"""Webhooks: who is told of events."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from ledger.domain.access import Scope
from ledger.domain.numbers import LARGEST_WHOLE
from ledger.web.answers import answer
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import WebhookBody
from .described import CONFLICT, MISSING, described
from .values import PREFIX

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["access"])
Administrator = Annotated[Visit, requires(Scope.ADMIN)]
WebhookId = Annotated[int, Path(ge=1, le=LARGEST_WHOLE, description="A webhook's number.")]
Newest = Annotated[int, Query(ge=1, le=1000, description="How many of the newest.")]


@router.get("/webhooks", responses=described("webhooks"))
def list_webhooks(visit: Administrator) -> Response:
    """Return every webhook, without the secrets that their messages are signed with."""
    with visit.desk() as desk:
        return answer(desk.webhooks.all())


@router.post("/webhooks", status_code=201, responses=described("webhook", CONFLICT, again=True))
def add_webhook(visit: Administrator, body: WebhookBody) -> Response:
    """Let an address be told of events from now on. The secret is in this answer and nowhere else."""
    with visit.desk() as desk:
        made = desk.webhooks.add(body.url, body.kinds)
    return answer(made, 201, {"Location": f"{PREFIX}/webhooks/{made['id']}"})


@router.delete("/webhooks/{number}", responses=described("webhook", MISSING, CONFLICT))
def remove_webhook(visit: Administrator, number: WebhookId) -> Response:
    """Tell an address nothing any more; what waits for it is dropped."""
    with visit.desk() as desk:
        return answer(desk.webhooks.remove(number))


@router.post("/webhooks/{number}/tests", responses=described("delivery", MISSING, CONFLICT))
def send_test(visit: Administrator, number: WebhookId) -> Response:
    """Send a message that tells of no event, once and now; the answer says what became of it."""
    with visit.desk() as desk:
        return answer(desk.webhooks.test(number))


@router.get("/webhooks/{number}/deliveries", responses=described("deliveries", MISSING))
def list_deliveries(visit: Administrator, number: WebhookId, limit: Newest = 50) -> Response:
    """Return the newest messages to an address, and what became of them."""
    with visit.desk() as desk:
        return answer(desk.webhooks.deliveries(number, limit=limit))
