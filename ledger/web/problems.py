"""Errors as HTTP answers: RFC 9457 problem details with the ledger's own names, hints and exit codes.

Who may not read the ledger learns what kind of error it was and nothing that may name a class.
"""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ledger import errors
from ledger.documents.document import Document
from ledger.documents.errors import error_part
from ledger.domain.access import Caller, Scope
from ledger.errors import LedgerError

from .answers import encoded

PROBLEM = "application/problem+json"
RETRY_SECONDS = 5
"""What ``Retry-After`` says."""
STATUS: dict[type[LedgerError], int] = {
    errors.LedgerError: 500,
    errors.UsageError: 422,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.PreconditionError: 412,
    errors.IntegrityError: 500,
    errors.GateError: 409,
    errors.RefusedError: 409,
    errors.TooFewRetainedError: 422,
    errors.AuthenticationError: 401,
    errors.ForbiddenError: 403,
    errors.OverdueError: 409,
    errors.RetryLaterError: 503,
}
"""The status of each error; a class that is not listed has that of its base."""
NAMELESS = (
    errors.AuthenticationError,
    errors.ForbiddenError,
    errors.IdempotencyConflictError,
    errors.IdempotencyKeyError,
    errors.NotFoundError,
    errors.PreconditionError,
    errors.RetryLaterError,
)
"""Errors that never name a class: everybody is told in full."""
TITLES = {
    400: "The body cannot be read",
    404: "There is nothing under this address",
    405: "This address does not take that method",
    406: "No such form of the answer",
    413: "The body is too large",
    421: "This server does not answer under that name",
    422: "The request is not understood",
    428: "Say which state of it you saw",
}
LONGEST_NAME = 60
MOST_FAULTS = 20
"""Faults of a request that an answer lists."""
LOG = logging.getLogger("unledger.web")


class WebError(Exception):
    """A request that is refused before the ledger is asked.

    Args:
        status: Status of the answer.
        detail: What is wrong, in one sentence.
        hint: What the caller can do about it.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, detail: str, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.headers = headers or {}


def status_of(error: LedgerError) -> int:
    """Return the status that stands for an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def problem(error: LedgerError, caller: Caller | None) -> Document:
    """Return an error as a problem, for one caller."""
    told = error_part(error)
    known = caller is not None and Scope.READ in caller.scopes
    kind = type(error)
    body: Document = {
        "type": f"urn:unledger:problem:{kind.__name__}",
        "title": _title(kind),
        "status": status_of(error),
        "error": told.pop("error"),
        "exit_code": told.pop("exit_code"),
    }
    message, hint = told.pop("message"), told.pop("hint")
    if not known and not isinstance(error, NAMELESS):
        return {**body, "detail": _title(kind), "hint": "a token with the scope read is told more"}
    return {**body, "detail": message, "hint": hint, **told}


def plain_problem(status: int, detail: str, hint: str = "", kind: type[LedgerError] = errors.UsageError) -> Document:
    """Return a problem that HTTP knows and the ledger does not."""
    return {
        "type": "about:blank",
        "title": TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "error": kind.__name__,
        "exit_code": kind.exit_code,
        "detail": detail,
        "hint": hint,
    }


def problem_response(body: Document, headers: dict[str, str] | None = None) -> Response:
    """Return a problem as an answer."""
    status = int(body["status"])
    further = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        further.setdefault("Retry-After", str(RETRY_SECONDS))
    if status == HTTPStatus.UNAUTHORIZED:
        further.setdefault("WWW-Authenticate", 'Bearer realm="unledger"')
    return Response(encoded(body), status, further, PROBLEM)


def unexpected_problem(error: Exception) -> Document:
    """Return what is told of an error that nobody foresaw, and log where it arose.

    Neither says what the error said: that may hold anything.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:]))
    LOG.error("unexpected %s at %s", type(error).__name__, where)
    return plain_problem(500, "the server failed; its log says where", kind=LedgerError)


def answer_problems(app: FastAPI) -> None:
    """Have an application answer every error with a problem."""
    app.add_exception_handler(LedgerError, _ledger_problem)
    app.add_exception_handler(WebError, _web_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(OverflowError, _overflow_problem)


def caller_of(request: Request) -> Caller | None:
    """Return who was found to be asking; None before that was found out."""
    found: Caller | None = getattr(request.state, "caller", None)
    return found


OF_PROGRAMS = ("/api/", "/metrics", "/healthz", "/readyz")
"""Where programs ask: one that may not come in is told so, and not sent to a page where people log in."""


def _told(request: Request, body: Document, headers: dict[str, str] | None = None) -> Response:
    """Return a problem to a program, or as a page to a person."""
    page = getattr(request.app.state, "error_page", None)
    if page is None or request.url.path.startswith(OF_PROGRAMS):
        return problem_response(body, headers)
    shown: Response = page(request, body)
    for name, value in (headers or {}).items():
        shown.headers.setdefault(name, value)
    return shown


async def _ledger_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError)
    body = problem(error, caller_of(request))
    if body["status"] == HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("%s while a request was answered", type(error).__name__)
    return _told(request, body)


async def _web_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, WebError)
    return _told(request, plain_problem(error.status, error.detail, error.hint), error.headers)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    if error.status_code == HTTPStatus.NOT_FOUND:
        body = plain_problem(404, "there is nothing under this address", kind=errors.NotFoundError)
    elif error.status_code == HTTPStatus.BAD_REQUEST:
        body = plain_problem(400, "the body of the request cannot be read", "send JSON, encoded as UTF-8")
    else:
        body = plain_problem(error.status_code, HTTPStatus(error.status_code).description or error.detail)
    return _told(request, body, headers)


async def _validation_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _told(request, plain_problem(400, "the body of the request is not JSON", "send JSON, encoded as UTF-8"))
    kind = request.headers.get("content-type", "")
    if any(tuple(one["loc"]) == ("body",) for one in found) and not _is_json(kind):
        body = plain_problem(
            422, "the body of the request is not announced as JSON", "send the header Content-Type: application/json"
        )
        return _told(request, body)
    # What was sent is not repeated: it may name classes.
    faults = [{"at": _place(one, error.body), "problem": _said(one)} for one in found[:MOST_FAULTS]]
    told = "; ".join(f"{one['at']}: {one['problem']}" for one in faults[:3])
    body = plain_problem(422, told, "the description of the API is at /api/v1/openapi.json")
    return _told(request, {**body, "faults": faults})


def _is_json(kind: str) -> bool:
    """Whether a Content-Type is one of JSON."""
    essence = kind.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


async def _overflow_problem(request: Request, _error: Exception) -> Response:
    # SQLite's driver raises this for a number beyond 64 bits; moments beyond the calendar do, too.
    return _told(request, plain_problem(422, "a number or a moment lies outside of what can be stored"))


def _methods(request: Request) -> list[str]:
    """Return the methods that an address takes: those of all of its routes."""
    routes = [route for route in iter_route_contexts(request.app.routes) if hasattr(route, "path_regex")]
    found = [route.methods or () for route in routes if route.path_regex.match(request.url.path)]
    return sorted({method for methods in found for method in methods})


def _place(one: Any, body: Any) -> str:
    """Return where a fault is, in the words of who sent it: a location also names the checks that a value went through.

    Args:
        one: The fault.
        body: What was sent.
    """
    location, lacking = one["loc"], one["type"] == "missing"
    if location[0] != "body":
        return ".".join(str(part) for part in location[:2])
    told, inner = ["body"], body
    for number, part in enumerate(location[1:], start=2):
        if _is_within(part, inner):
            inner = inner[part]
        elif not (lacking and number == len(location)):
            continue
        # A name that is no word is anything at all; that it is there says the place around it.
        told += [str(part)] if len(str(part)) <= LONGEST_NAME and (isinstance(part, int) or part.isidentifier()) else []
    return ".".join(told)


def _is_within(part: str | int, value: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def _said(one: Any) -> str:
    if one["type"] in {"extra_forbidden", "missing"}:
        return str(one["msg"])
    return str(one["msg"]).partition(", input")[0]


def _title(kind: type[LedgerError]) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")


PROBLEM_SCHEMA: Document = {
    "title": "Problem",
    "description": "Why a request was not carried out (RFC 9457). An error of the ledger adds its own data.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "about:blank, or urn:unledger:problem: and the class of the error."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong."},
        "hint": {"type": "string", "description": "What to do about it; may be empty."},
        "error": {"type": "string", "description": "Class of the error."},
        "exit_code": {"type": "integer", "description": "That with which the command line ends on this error."},
        "faults": {
            "type": "array",
            "description": "Of a request that is not understood: each fault and where it is.",
            "items": {
                "type": "object",
                "properties": {"at": {"type": "string"}, "problem": {"type": "string"}},
                "required": ["at", "problem"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "hint", "error", "exit_code"],
}
