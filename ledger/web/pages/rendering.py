"""Pages from templates. Everything is escaped, and a caller is shown only what their scopes allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from importlib.metadata import version as installed_version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from ledger.domain.access import Caller, Scope
from ledger.report.charts import words
from ledger.report.charts.svg import named, plain
from ledger.web.security.cookies import session_cookie

from .moments import moment, relative, share_spent
from .static_files import address
from .wording import KIND_WORDS, STATE_KINDS, TOLD, event_words, leaf_text


@dataclass(frozen=True)
class Section:
    """A part of the pages that the navigation leads to."""

    address: str
    name: str
    scopes: frozenset[Scope]
    """One of them is needed."""


SECTIONS = (
    Section("/", "Status", frozenset({Scope.READ})),
    Section("/inbox", "Inbox", frozenset({Scope.READ})),
    Section("/models", "Models", frozenset({Scope.READ})),
    Section("/audit", "Audit", frozenset({Scope.AUDIT})),
    Section("/certificates", "Certificates", frozenset({Scope.READ, Scope.AUDIT})),
    Section("/tokens", "Tokens", frozenset({Scope.ADMIN})),
    Section("/webhooks", "Webhooks", frozenset({Scope.ADMIN})),
)


def sections_for(caller: Caller | None) -> list[Section]:
    """Return the parts of the pages that a caller may see."""
    return [] if caller is None else [one for one in SECTIONS if one.scopes & caller.scopes]


def render(
    request: Request,
    template: str,
    *,
    caller: Caller | None,
    title: str,
    section: str = "",
    now: datetime | None = None,
    status: int = HTTPStatus.OK,
    **values: Any,
) -> HTMLResponse:
    """Return a page.

    Args:
        request: What was asked.
        template: The template's file.
        caller: Who asked; None before that is known.
        title: Of the window. It names no class and no model: titles stay in histories and are seen over shoulders.
        section: Address of the part of the pages that it belongs to.
        now: What relative times are relative to.
        status: Status of the answer.
        values: What the template shows. With ``place``, the number of the newest event that it shows, the page hears of
            what happens after that.
    """
    held = frozenset[Scope]() if caller is None else caller.scopes
    text = (
        _environment()
        .get_template(template)
        .render(
            caller=caller,
            signed_in=session_cookie(request) is not None,
            may=lambda name: Scope(name) in held,
            navigation=sections_for(caller),
            section=section,
            title=title,
            told=TOLD.get(request.query_params.get("told", "")),
            now=now or datetime.now(UTC),
            zone=request.app.state.config.zone,
            **values,
        )
    )
    return HTMLResponse(text, status)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    filters: Mapping[str, Any] = {
        "named": named,
        "moment": moment,
        "iso": lambda value: value.astimezone(UTC).isoformat(timespec="seconds"),
        "absolute": lambda value: f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "day": _day,
        "relative": _relative,
        "share_spent": _share_spent,
        "event_words": event_words,
        "leaf": leaf_text,
    }
    environment.filters.update(filters)
    environment.globals.update(
        static=address,
        words=words,
        release=installed_version("unledger"),
        state_kinds=STATE_KINDS,
        kind_words=KIND_WORDS,
    )
    return environment


@pass_context
def _relative(context: Context, value: datetime) -> str:
    return relative(value, context["now"])


@pass_context
def _day(context: Context, value: datetime) -> str:
    # Days are those of the ledger's time zone, where they are typed and where they fall due.
    return f"{value.astimezone(context['zone']):%Y-%m-%d}"


@pass_context
def _share_spent(context: Context, request: Mapping[str, Any]) -> float:
    return share_spent(moment(request["received_at"]), moment(request["due_at"]), context["now"])


def _source(name: str) -> str:
    return (files("ledger.web") / "templates" / name).read_text(encoding="utf-8")


def _printable(value: object) -> object:
    # Markup is our own; jinja escapes the rest.
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)
