"""Models, and one model: what is live, what was live on a date, its versions and what was measured."""

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ledger.desk.local.desk import LocalDesk
from ledger.documents.document import Document
from ledger.domain.levels import EvidenceLevel
from ledger.errors import NotFoundError
from ledger.web.security.guarded_routes import GuardedRoute

from .dates import chosen_day, end_of_day_in
from .evidence import class_rows, standing_of
from .numbers import Number
from .rendering import render
from .visitors import Reader

router = APIRouter(route_class=GuardedRoute)


@router.get("/models")
def all_models(request: Request, visit: Reader) -> Response:
    """Show every model."""
    with visit.desk() as desk:
        found, now = desk.models.all(), desk.ledger.clock()
    return render(
        request,
        "models.html.j2",
        caller=visit.caller,
        title="Models",
        section="/models",
        now=now,
        models=found["items"],
    )


@router.get("/models/{number}")
def one_model(request: Request, number: Number, visit: Reader, on: str = "") -> Response:
    """Show one."""
    with visit.desk() as desk:
        model = desk.models.show(number)
        versions = desk.versions.all(number)["items"]
        return render(
            request,
            "model.html.j2",
            caller=visit.caller,
            title=f"Model {number}",
            section="/models",
            now=desk.ledger.clock(),
            model=model,
            versions=[{**one, "level_title": EvidenceLevel(one["level"]).title} for one in reversed(versions)],
            standing=standing_of(desk.versions.evidence(number)),
            accuracy_rows=class_rows(model["labels"], model["forgotten"], model["evidence"]),
            gates_level=EvidenceLevel(model["gates"]["level"]).title,
            on=on,
            live_on=_live_on(desk, number, on),
        )


def _live_on(desk: LocalDesk, number: int, on: str) -> Document | None:
    day = chosen_day(on)
    if day is None:
        return None
    try:
        found: Document = desk.versions.live_at(number, end_of_day_in(desk, day) + timedelta(seconds=1))["items"][0]
    except NotFoundError:
        return None
    return found
