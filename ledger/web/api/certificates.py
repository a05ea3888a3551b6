"""Certificates, and apart from them what opens their commitments to names of classes."""

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from ledger.domain.access import Scope
from ledger.web.answers import DEFAULT_ITEMS, answer, page
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires, requires_one_of

from .bodies import CertificateBody, CertificatePlanBody
from .described import CONFLICT, MISSING, described, file
from .values import PREFIX, After, CertificateId, Limit

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["certificates"])
Reader = Annotated[Visit, requires_one_of(Scope.READ, Scope.AUDIT)]
Opener = Annotated[Visit, requires(Scope.READ)]
Issuer = Annotated[Visit, requires(Scope.READ, Scope.OPERATE)]
FILE = "application/json"


@router.get("/certificates", responses=described("certificates", lists=True))
def list_certificates(request: Request, visit: Reader, after: After = 0, limit: Limit = DEFAULT_ITEMS) -> Response:
    """Return certificates in the order they were issued."""
    with visit.desk() as desk:
        found = desk.certificates.all()
    return page(request, found, "id", after, limit)


@router.post("/certificate-plans", responses=described("certificate_plan", MISSING, CONFLICT))
def plan_certificate(visit: Issuer, body: CertificatePlanBody) -> Response:
    """Return what would be certified, and what confirms that; nothing is signed."""
    with visit.desk() as desk:
        return answer(desk.certificates.plan(body.request, live=body.live))


@router.post("/certificates", status_code=201, responses=described("issued", MISSING, CONFLICT, again=True))
def issue_certificate(visit: Issuer, body: CertificateBody) -> Response:
    """Certify how a fulfilled request was carried out. Answers 200 with the certificate that says the same already."""
    with visit.desk() as desk:
        done = desk.certificates.issue(body.request, live=body.live, renew=body.renew, confirmation=body.confirmation)
    headers = {"Location": f"/api/v1/certificates/{done['id']}"}
    return answer(done, 200 if done["repeated"] else 201, headers)


@router.get("/certificates/{number}", responses=described("certificate_record", MISSING))
def show_certificate(visit: Reader, number: CertificateId) -> Response:
    """Return a certificate's statement, and what happened since."""
    with visit.desk() as desk:
        return answer(desk.certificates.show(number))


@router.get("/certificates/{number}/file", responses=file(FILE, "The certificate as others verify it", MISSING))
def download_certificate(visit: Reader, number: CertificateId) -> Response:
    """Return the file of a certificate."""
    with visit.desk() as desk:
        content = desk.certificates.file(number)
    return _attachment(content, f"certificate-{number}.json")


@router.get("/certificates/{number}/openings", responses=file(FILE, "What opens the commitments", MISSING, CONFLICT))
def download_openings(visit: Opener, number: CertificateId) -> Response:
    """Return the file that opens a certificate's commitments to names of classes."""
    with visit.desk() as desk:
        content = desk.certificates.openings(number)
    return _attachment(content, f"openings-{number}.json")


@router.delete("/certificates/{number}/openings", responses=described("openings_erased", MISSING, CONFLICT))
def erase_openings(visit: Issuer, number: CertificateId) -> Response:
    """Erase for good what opens a certificate's commitments."""
    with visit.desk() as desk:
        return answer(desk.certificates.erase_openings(number))


def _attachment(content: bytes, name: str) -> Response:
    return Response(content, headers={"Content-Disposition": f'attachment; filename="{name}"'}, media_type=FILE)
