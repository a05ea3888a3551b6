"""The description of the API, OpenAPI 3.1: schemas of documents as they are, problems, and what each route takes."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from ledger import __version__
from ledger.documents.document import Document

from .api.described import EVERYWHERE, UNREADABLE, problems
from .api.values import PREFIX
from .problems import PROBLEM_SCHEMA
from .security.scopes import OpenToAll, ScopeCheck, admission

SCOPES = "x-unledger-scope"
PARTS = "urn:unledger:schema:parts#/$defs/"
DESCRIPTION = """\
What a ledger of forgotten classes holds, and what can be asked of it. Documents are those that the command line prints
with `--json`. Every error is a problem (RFC 9457) with the name, hint and exit code that the command line has for it.

A caller shows a token: `Authorization: Bearer ul_...`. Each operation says in `x-unledger-scope` which scopes it takes.
"""


def describe(app: FastAPI) -> None:
    """Have an application describe its API truly."""
    kept: list[Document] = []

    def openapi() -> Document:
        if not kept:
            kept.append(_described(app))
        return kept[0]

    app.openapi = openapi  # type: ignore[method-assign]


def routes_of(app: FastAPI) -> list[RouteContext]:
    """Return every route that asks who calls: those of the API, and those of pages."""
    return [route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute)]


def _described(app: FastAPI) -> Document:
    routes = [route for route in routes_of(app) if str(route.path).startswith(PREFIX) and route.include_in_schema]
    body = get_openapi(
        title="unledger", version=__version__, description=DESCRIPTION, openapi_version="3.1.0", routes=routes
    )
    schemas = body.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= document_schemas() | {"problem": PROBLEM_SCHEMA}
    body["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for route in routes:
        for method in route.methods or ():
            operation = body["paths"][str(route.path_format)][method.lower()]
            _complete(operation, route)
    return body


def _complete(operation: Document, route: RouteContext) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _never_null(parameter["schema"])
    told = problems(EVERYWHERE, UNREADABLE if "requestBody" in operation else {})
    operation["responses"] |= {str(status): said for status, said in told.items()}
    if route.status_code is not None and "200" in operation["responses"]:
        success = operation["responses"].get(str(route.status_code), {})
        if "application/json" in success.get("content", {}) and not success["content"]["application/json"]["schema"]:
            success["content"].pop("application/json")
    match admission(route):
        case ScopeCheck() as check:
            names = [scope.value for scope in check.scopes]
            operation[SCOPES] = {"all" if check.every else "any": names}
            operation["security"] = [{"token": []}]
        case OpenToAll():
            operation[SCOPES] = {"all": []}
            for status in ("401", "403"):
                operation["responses"].pop(status)
        case None:
            raise AssertionError(f"{route.path} declares no scope")


def _never_null(schema: Document) -> Document:
    """Return the schema of a parameter without null: an address or a header leaves out what it does not say."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


@cache
def document_schemas() -> dict[str, Any]:
    """Return the schemas of documents under the names that a description of an API refers to."""
    found: dict[str, Any] = {}
    for file in files("ledger.documents").joinpath("schemas").iterdir():
        if file.name.endswith(".json"):
            schema = json.loads(file.read_text(encoding="utf-8"))
            schema.pop("$schema", None), schema.pop("$id", None)
            parts = schema.pop("$defs", {})
            name = file.name.removesuffix(".json")
            found |= {f"{name}-{part}": _rooted(said, name) for part, said in parts.items()}
            found[name] = _rooted(schema, name)
    found.pop("parts", None)
    return found


def _rooted(schema: Any, owner: str) -> Any:
    """Return a schema whose references lead to where the schemas lie in a description of an API."""
    if isinstance(schema, list):
        return [_rooted(one, owner) for one in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: _rooted(value, owner) for name, value in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str):
        if target.startswith(PARTS):
            said["$ref"] = "#/components/schemas/parts-" + target.removeprefix(PARTS)
        elif target.startswith("#/$defs/"):
            said["$ref"] = f"#/components/schemas/{owner}-" + target.removeprefix("#/$defs/")
        else:
            said["$ref"] = "#/components/schemas/" + target.removeprefix("urn:unledger:schema:").partition("/")[0]
    return said
