"""``/healthz``, ``/readyz`` and ``/metrics``.

The first two answer anybody, since load balancers have no token; they say which part fails and never why, for a reason
can hold a path. The figures are for those who operate the ledger.
"""

import logging
from typing import Annotated

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ledger.domain.access import Scope
from ledger.errors import LedgerError
from ledger.service.upkeep.operational_metrics import operational_metrics
from ledger.service.upkeep.readiness import Readiness, readiness, unreachable
from ledger.web.ledgers import LedgerPool
from ledger.web.security.scopes import Visit, open_to_all, requires

from .metrics import exposition

RETRY_SECONDS = 5
LOG = logging.getLogger("unledger.readiness")
router = APIRouter(include_in_schema=False)


@router.head("/healthz", dependencies=[open_to_all()])
@router.get("/healthz", dependencies=[open_to_all()])
async def healthz() -> Response:
    """Say that the process answers; nothing else is asked, so that a database that is away ends no server."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", dependencies=[open_to_all()])
@router.get("/readyz", dependencies=[open_to_all()])
def readyz(request: Request) -> Response:
    """Say whether requests can be served: the database, its schema, the object store."""
    found = _readiness(request.app.state.ledgers)
    failed = [one for one in found if one.error is not None]
    for one in failed:
        LOG.warning("not ready: %s: %s", one.name, type(one.error).__name__)
    body = {
        "status": "not ready" if failed else "ready",
        "checks": {one.name: "ok" if one.error is None else "failed" for one in found},
    }
    headers = {"Retry-After": str(RETRY_SECONDS)} if failed else {}
    return JSONResponse(body, 503 if failed else 200, headers)


@router.get("/metrics")
def metrics(visit: Annotated[Visit, requires(Scope.OPERATE)]) -> Response:
    """Return the figures of the ledger for Prometheus."""
    with visit.pool.borrow(visit.caller.name) as ledger:
        found = operational_metrics(ledger)
    return Response(exposition(found), media_type=CONTENT_TYPE_LATEST)


def _readiness(pool: LedgerPool) -> list[Readiness]:
    try:
        with pool.borrow() as ledger:
            return readiness(ledger)
    except LedgerError as error:
        return unreachable(error)
