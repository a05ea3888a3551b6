"""What wants attention now: late, blocked and waiting requests, and the workers."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.domain.access import sorted_scopes
from ledger.service.audit.listing import count_events
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit

from .rendering import render, sections_for
from .visitors import SomebodyKnown
from .wording import SCOPE_WORDS

router = APIRouter(route_class=GuardedRoute)
SOONEST = 10
"""Open requests that the page lists."""
LISTED = 200
"""Open requests of each model that are read, the soonest due first."""
UNDECIDED = ("awaiting_approval", "on_hold", "failed", "blocked", "quarantined", "reopened")
"""States that only a person leads out of."""


@router.get("/")
def status_page(request: Request, visit: SomebodyKnown) -> Response:
    """Show it, or the first page that the caller may see."""
    if not visit.reads:
        first = next((one.address for one in sections_for(visit.caller)), None)
        return _scopes_page(request, visit) if first is None else RedirectResponse(first, 303)
    with visit.desk() as desk:
        # Before the rest: what happens from here on makes the page look again.
        place = count_events(desk.ledger)
        found = desk.upkeep.status(most=LISTED)
    models = found["models"]
    listed = sorted((one for model in models for one in model["open"]), key=lambda one: str(one["due_at"]))
    counts = {name: sum(model["requests"].get(name, 0) for model in models) for name in UNDECIDED}
    return render(
        request,
        "status.html.j2",
        caller=visit.caller,
        title="Status",
        section="/",
        now=found["now"],
        place=place,
        status_document=found,
        soonest=listed[:SOONEST],
        oldest=min(listed, key=lambda one: str(one["received_at"]), default=None),
        unattended=[model["name"] for model in models if model["unattended"]],
        figures={
            "overdue": sum(model["overdue_count"] for model in models),
            "undecided": sum(counts.values()),
            "blocked": counts["blocked"],
            "open": sum(model["open_count"] for model in models),
        },
        workers=_workers(found),
        dead=[lease for lease in found["leases"] if lease["remaining"] <= 0],
    )


def _scopes_page(request: Request, visit: Visit) -> Response:
    """Tell somebody whose scopes lead to no page what they are for."""
    told = [SCOPE_WORDS[scope] for scope in sorted_scopes(visit.caller.scopes)]
    return render(request, "scopes.html.j2", caller=visit.caller, title="What you may do", scopes=told)


def _workers(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the workers that were heard of, and those that hold a request without having been."""
    leases = {lease["owner"]: lease for lease in found["leases"]}
    present = [
        {
            "owner": one["owner"],
            "serves": one["model"] or "all models",
            "idle": one["idle"],
            "lease": leases.pop(one["owner"], None),
        }
        for one in found["workers"]
    ]
    return present + [
        {"owner": owner, "serves": lease["model"], "idle": None, "lease": lease} for owner, lease in leases.items()
    ]
