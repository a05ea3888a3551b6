"""Webhooks: addresses that are told of events. A secret is shown once, when the address is added."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.webhooks import DeliveryState
from ledger.errors import LedgerError
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .fields import Address
from .numbers import Number
from .refusals import Refusal, refusal, status_after, typed_into
from .rendering import render
from .visitors import Administrator

router = APIRouter(route_class=GuardedRoute)


@router.get("/webhooks")
def all_webhooks(request: Request, visit: Administrator) -> Response:
    """Show every address, and what became of the last message to it."""
    with visit.desk() as desk:
        return _page(request, visit, desk)


@router.post("/webhooks")
def add(
    request: Request,
    visit: Administrator,
    url: Address = "",
    kinds: Address = "",
) -> Response:
    """Add one, and show its secret: here, once. If it is refused, say why, and keep what was typed."""
    wanted = [one.strip() for one in kinds.split(",") if one.strip()]
    with visit.desk() as desk:
        try:
            made = desk.webhooks.add(url.strip(), wanted)
        except LedgerError as error:
            return _page(request, visit, desk, refused=refusal(error, url=url, kinds=kinds))
        return _page(request, visit, desk, made)


@router.post("/webhooks/{number}/test")
def test(number: Number, visit: Administrator) -> Response:
    """Send one message that tells of no event, now."""
    with visit.desk() as desk:
        arrived = desk.webhooks.test(number)["state"] == DeliveryState.DELIVERED
    return RedirectResponse(f"/webhooks?told={'test_arrived' if arrived else 'test_failed'}", 303)


@router.post("/webhooks/{number}/remove")
def remove(number: Number, visit: Administrator) -> Response:
    """Tell an address nothing any more."""
    with visit.desk() as desk:
        desk.webhooks.remove(number)
    return RedirectResponse("/webhooks?told=removed", 303)


def _page(
    request: Request, visit: Visit, desk: LocalDesk, made: Document | None = None, refused: Refusal | None = None
) -> Response:
    found = desk.webhooks.all()["items"]
    return render(
        request,
        "webhooks.html.j2",
        caller=visit.caller,
        title="Webhooks",
        section="/webhooks",
        now=desk.ledger.clock(),
        items=[{**one, "last": _last(desk, one["id"])} for one in found],
        made=made,
        refused=refused,
        status=status_after(refused),
        typed=typed_into(refused, url="", kinds=""),
    )


def _last(desk: LocalDesk, webhook: int) -> Document | None:
    sent: list[Document] = desk.webhooks.deliveries(webhook, limit=1)["items"]
    return sent[0] if sent else None
