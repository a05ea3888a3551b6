"""A withdrawal that a worker carries out: how far it is, and what came of it."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from ledger.web.security.guarded_routes import GuardedRoute

from .rendering import render
from .visitors import Reader

router = APIRouter(route_class=GuardedRoute)
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@router.get("/withdrawals/{job_id}")
def follow(request: Request, job_id: JobId, visit: Reader) -> Response:
    """Show how far it is, or what came of it."""
    with visit.desk() as desk:
        job, now = desk.requests.withdrawal(job_id), desk.ledger.clock()
    return render(
        request,
        "withdrawal.html.j2",
        caller=visit.caller,
        title=f"Withdrawal of request {job['request']}",
        section="/inbox",
        now=now,
        job=job,
    )
