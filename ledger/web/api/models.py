"""Models and their versions."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ledger.documents.document import listing
from ledger.domain.access import Scope
from ledger.web.answers import DEFAULT_ITEMS, answer, page
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import PurgeBody, PurgePlanBody, RollbackBody, RollbackPlanBody
from .described import CONFLICT, MISSING, described, html, named_files
from .values import MOMENT, PREFIX, After, Limit, ModelId, Moment, VersionNumber

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["models"])
Reader = Annotated[Visit, requires(Scope.READ)]
Operator = Annotated[Visit, requires(Scope.READ, Scope.OPERATE)]
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""A report is one page with its style in it; pages of this server may show it in a frame."""


@router.get("/models", responses=described("models", lists=True))
def list_models(request: Request, visit: Reader, after: After = 0, limit: Limit = DEFAULT_ITEMS) -> Response:
    """Return every model with its live version."""
    with visit.desk() as desk:
        found = desk.models.all()
    return page(request, found, "id", after, limit)


@router.get("/models/{model}", responses=described("model", MISSING))
def show_model(visit: Reader, model: ModelId) -> Response:
    """Return a model, its live version, and the newest evidence on that."""
    with visit.desk() as desk:
        return answer(desk.models.show(model))


@router.get("/models/{model}/spaces", responses=described("class_spaces", MISSING))
def list_class_spaces(visit: Reader, model: ModelId) -> Response:
    """Return the class spaces that are stored of a model."""
    with visit.desk() as desk:
        return answer(desk.models.spaces(model))


@router.get("/models/{model}/versions", responses=described("versions", MISSING, lists=True))
def list_versions(
    request: Request, visit: Reader, model: ModelId, after: After | None = None, limit: Limit = DEFAULT_ITEMS
) -> Response:
    """Return a model's versions, each with its level of evidence."""
    with visit.desk() as desk:
        found = desk.versions.all(model)
    return page(request, found, "version", -1 if after is None else after, limit)


@router.get("/models/{model}/versions/{version}", responses=described("model", MISSING))
def show_version(visit: Reader, model: ModelId, version: VersionNumber) -> Response:
    """Return a model, one version of it, and the newest evidence on that."""
    with visit.desk() as desk:
        return answer(desk.versions.show(model, version))


@router.get("/models/{model}/versions/{version}/evidence", responses=described("evidence", MISSING))
def show_evidence(visit: Reader, model: ModelId, version: VersionNumber) -> Response:
    """Return what was measured on a version's weights, and what was not."""
    with visit.desk() as desk:
        return answer(desk.versions.evidence(model, version))


@router.get("/models/{model}/live", responses=described("versions", MISSING))
def show_live(
    visit: Reader,
    model: ModelId,
    at: Annotated[Moment | None, Query(description="When; now if not said.", json_schema_extra=MOMENT)] = None,
) -> Response:
    """Return the version that was live at a moment, or is now, as a list of one."""
    with visit.desk() as desk:
        return answer(desk.versions.live_at(model, at or datetime.now(UTC)))


@router.get("/models/{model}/report", responses=html("The report on the model, as a page", MISSING))
def show_report(visit: Reader, model: ModelId) -> Response:
    """Return the report on a model."""
    with visit.desk() as desk:
        found = desk.reports.one(model)
    return Response(found.page, headers={"Content-Security-Policy": REPORT_POLICY}, media_type="text/html")


@router.get("/models/{model}/report/tables", responses=named_files("report_tables", "csv", MISSING))
def show_report_tables(visit: Reader, model: ModelId) -> Response:
    """Return the numbers behind the pictures of the report on a model."""
    with visit.desk() as desk:
        tables = desk.reports.one(model, tables=True).tables
    return answer(listing("report_tables", ({"name": name, "csv": text} for name, text in tables.items())))


@router.get("/report-pages", responses=named_files("report_pages", "html"))
def show_report_pages(visit: Reader) -> Response:
    """Return a report on each model, and an index before them."""
    with visit.desk() as desk:
        pages = desk.reports.every()
    return answer(listing("report_pages", ({"name": name, "html": text} for name, text in pages.items())))


@router.post("/models/{model}/rollback-plans", responses=described("rollback", MISSING, CONFLICT))
def plan_rollback(visit: Operator, model: ModelId, body: RollbackPlanBody) -> Response:
    """Return what rolling back to a version would do, and what confirms that; nothing is changed."""
    with visit.desk() as desk:
        return answer(desk.versions.plan_rollback(model, body.to))


@router.post("/models/{model}/rollbacks", responses=described("rollback", MISSING, CONFLICT))
def roll_back(visit: Operator, model: ModelId, body: RollbackBody) -> Response:
    """Roll back as a plan said."""
    with visit.desk() as desk:
        return answer(desk.versions.roll_back(model, body.to, body.confirmation, body.reason))


@router.post("/models/{model}/purge-plans", responses=described("purge", MISSING, CONFLICT))
def plan_purge(visit: Operator, model: ModelId, body: PurgePlanBody) -> Response:
    """Return what a purge would destroy for good, and what confirms that; nothing is changed."""
    with visit.desk() as desk:
        return answer(desk.versions.plan_purge(model, timedelta(days=body.older_than_days)))


@router.post("/models/{model}/purges", responses=described("purge", MISSING, CONFLICT))
def purge(visit: Operator, model: ModelId, body: PurgeBody) -> Response:
    """Destroy for good what a plan said."""
    with visit.desk() as desk:
        older = timedelta(days=body.older_than_days)
        return answer(desk.versions.purge(model, older, body.confirmation, clock_is_right=body.clock_is_right))
