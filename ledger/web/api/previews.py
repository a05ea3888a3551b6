"""Previews: asked for here, computed by a worker, fetched when they are there."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from ledger.domain.access import Scope
from ledger.web.answers import answer
from ledger.web.security.guarded_routes import GuardedRoute
from ledger.web.security.scopes import Visit, requires

from .bodies import PreviewBody, class_texts
from .described import CONFLICT, MISSING, accepted, described
from .values import PREFIX, JobId, ModelId

router = APIRouter(route_class=GuardedRoute, prefix=PREFIX, tags=["requests"])
Reader = Annotated[Visit, requires(Scope.READ)]


@router.post("/models/{model}/previews", status_code=202, responses=accepted("preview_job", MISSING, CONFLICT))
def ask_for_preview(visit: Reader, model: ModelId, body: PreviewBody) -> Response:
    """Ask what forgetting some classes would cost. The answer is found under Location once a worker has computed it."""
    with visit.desk() as desk:
        job = desk.previews.ask(model, class_texts(body.classes))
    return answer(job, 202, {"Location": f"{PREFIX}/previews/{job['id']}"})


@router.get("/previews/{number}", responses=described("preview_job", MISSING))
def show_preview(visit: Reader, number: JobId) -> Response:
    """Return a preview that was asked for, with its answer once it is there."""
    with visit.desk() as desk:
        return answer(desk.previews.show(number))
