"""Pages from templates: everything is escaped, and the page allows its own style sheet and nothing else."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version as installed_version
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ledger.report.charts import words
from ledger.report.charts.svg import named, plain

STYLES = ("tokens.css", "page.css")
"""Colours by their names, which the pages of the service share, and the rules of the report."""


def render_template(name: str, /, **values: object) -> str:
    """Return a page.

    Args:
        name: The template's file.
        values: What it shows. The style sheet, its digest, the release and the wording come by themselves.
    """
    style = "".join(_resource(name) for name in STYLES)
    return (
        _environment()
        .get_template(name)
        .render(
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            release=installed_version("unledger"),
            words=words,
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["named"] = named
    return environment


def _resource(name: str) -> str:
    return (files("ledger.report") / name).read_text(encoding="utf-8")


def _printable(value: object) -> object:
    # Markup has been cleaned already; jinja escapes the rest.
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)
