"""The report on a model, in a frame of a page, alone, or to take along."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ledger.web.security.guarded_routes import GuardedRoute

from .numbers import Number
from .rendering import render
from .visitors import Reader

router = APIRouter(route_class=GuardedRoute)
# The report brings a stricter policy for styles, which names the digest of its style sheet. A browser applies both.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'"
)


@router.get("/models/{number}/report")
def framed(request: Request, number: Number, visit: Reader) -> Response:
    """Show it in a frame."""
    with visit.desk() as desk:
        model = desk.models.show(number)
    return render(request, "report.html.j2", caller=visit.caller, title="Report", section="/models", model=model)


@router.get("/models/{number}/report.html")
def alone(number: Number, visit: Reader, download: str = "") -> Response:
    """Send it as it is."""
    with visit.desk() as desk:
        page = desk.reports.one(number).page
    headers = {"Content-Security-Policy": POLICY}
    if download:
        headers["Content-Disposition"] = f'attachment; filename="report-model-{number}.html"'
    return HTMLResponse(page, headers=headers)
