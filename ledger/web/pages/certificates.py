"""Certificates: issued from a request, listed, read and taken along."""

import json
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ledger.errors import UsageError
from ledger.web.security.guarded_routes import GuardedRoute

from .numbers import NumberFromOne
from .rendering import render
from .stated import limits, stated
from .visitors import Operator, Reader, Witness

router = APIRouter(route_class=GuardedRoute)


@router.get("/certificates")
def all_certificates(request: Request, visit: Witness) -> Response:
    """Show every certificate."""
    with visit.desk() as desk:
        found, now = desk.certificates.all(), desk.ledger.clock()
    return render(
        request,
        "certificates.html.j2",
        caller=visit.caller,
        title="Certificates",
        section="/certificates",
        now=now,
        items=found["items"],
    )


@router.get("/certificates/{number}")
def one_certificate(request: Request, number: NumberFromOne, visit: Witness) -> Response:
    """Show what one states."""
    with visit.desk() as desk:
        found, now, zone = desk.certificates.show(number), desk.ledger.clock(), desk.ledger.config.zone
    said = found["statement"]["predicate"]
    return render(
        request,
        "certificate.html.j2",
        caller=visit.caller,
        title=f"Certificate {number}",
        section="/certificates",
        now=now,
        c=found,
        said=stated(said, zone),
        not_tested=said["notTested"]["levels"],
        since=found["since"],
        statement=json.dumps(found["statement"], indent=2, ensure_ascii=False),
    )


@router.get("/requests/{number}/certificate")
def plan(request: Request, number: NumberFromOne, visit: Operator) -> Response:
    """Show what would be certified."""
    with visit.desk() as desk:
        planned, now = desk.certificates.plan(number), desk.ledger.clock()
    return render(
        request,
        "certificate_plan.html.j2",
        caller=visit.caller,
        title="Issue a certificate",
        section="/certificates",
        now=now,
        plan=planned,
        limits=limits(planned["caveats"], planned["not_tested"]),
    )


@router.post("/requests/{number}/certificate")
def issue(number: NumberFromOne, visit: Operator, confirmation: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Certify what the plan said that was shown; refused if the ledger changed since."""
    if not confirmation:
        raise UsageError("what would be certified was not shown yet", "go back, and look at it first")
    with visit.desk() as desk:
        made = desk.certificates.issue(number, confirmation=confirmation)
    return RedirectResponse(f"/certificates/{made['id']}?told={'certified' if made['repeated'] else 'issued'}", 303)


@router.get("/certificates/{number}/certificate.json")
def certificate_file(number: NumberFromOne, visit: Witness) -> Response:
    """Send a certificate, as others verify it."""
    with visit.desk() as desk:
        data = desk.certificates.file(number)
    return _json_file(data, f"certificate-{number}.json")


@router.get("/certificates/{number}/openings.json")
def openings_file(number: NumberFromOne, visit: Reader) -> Response:
    """Send what shows which classes a certificate is about."""
    with visit.desk() as desk:
        data = desk.certificates.openings(number)
    return _json_file(data, f"certificate-{number}-openings.json")


def _json_file(data: bytes, name: str) -> Response:
    return Response(
        data, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
