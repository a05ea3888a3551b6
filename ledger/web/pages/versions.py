"""One version of a model: what was not tested on it, what was, and how it was made."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ledger.documents.document import Document
from ledger.domain.numbers import finite_number
from ledger.report.charts.words import setting
from ledger.web.security.guarded_routes import GuardedRoute

from .evidence import class_rows, headline_figures, standing_of
from .numbers import Number
from .rendering import render
from .visitors import Reader

router = APIRouter(route_class=GuardedRoute)
RECIPE = {"solver": "solver", "depth": "layers edited", "alpha_r": "alpha, retain", "alpha_f": "alpha, forget"}
"""What is told of how a version was made; the rest is in the report."""


@router.get("/models/{number}/versions/{version}")
def one_version(request: Request, number: Number, version: Number, visit: Reader) -> Response:
    """Show it."""
    with visit.desk() as desk:
        found, now = desk.versions.show(number, version), desk.ledger.clock()
        evidence = desk.versions.evidence(number, version)
    shown = found["version"]
    return render(
        request,
        "version.html.j2",
        caller=visit.caller,
        title=f"Version {version}",
        section="/models",
        now=now,
        model=found,
        v=shown,
        standing=standing_of(evidence),
        accuracy_rows=class_rows(found["labels"], shown["forgotten"], evidence["items"]),
        evidence_items=[{**one, "figures": headline_figures(one["metrics"])} for one in evidence["items"]],
        recipe=_recipe(shown),
    )


def _recipe(shown: Document) -> list[tuple[str, str]]:
    told: dict[str, Any] = {name: shown["recipe"].get(name) for name in RECIPE}
    return [
        (RECIPE[name], value if isinstance(value, str) else setting(value))
        for name, value in told.items()
        if isinstance(value, str) or finite_number(value) is not None
    ]
