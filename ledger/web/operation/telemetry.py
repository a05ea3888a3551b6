"""What is told to OpenTelemetry, through FastAPI's own hook: which route, how long, how it ended, never what was asked.

FastAPI's spans hold the path and the query of a request, which may hold anything, and its log records the messages of
exceptions, which may name classes. So spans are begun by a tracer that keeps the attributes on a list and drops all
others, and nothing is logged there: the server's own log says where something failed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, ProxyTracerProvider, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import Attributes

from ledger import installation

SWITCH = "FASTAPI_OTEL_AUTO_CONFIGURE"
"""Environment variable of FastAPI: ``true`` sends what is measured to where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says."""
TOLD = frozenset(
    {
        "code.function.name",
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.version",
        "url.scheme",
    }
)
"""Attributes that a span may begin with. The route's pattern is there; path, query, host and client are not."""


def telemetry() -> TelemetryConfig:
    """Return what FastAPI is told to trace: nothing, unless the environment or whoever started the process says so.

    Raises:
        NotInstalledError: The environment asks for it, and what sends it is not installed.
    """
    switched_on = os.environ.get(SWITCH, "").lower() == "true"
    if switched_on:
        installation.require("telemetry", f"sending traces ({SWITCH} is set)")
    if not switched_on and isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
        return {"tracing": False, "logs": False}
    return {"tracer_provider": NamelessTracerProvider(), "logs": False}


class NamelessTracerProvider(TracerProvider):
    """Hands spans to the process's own provider, without what names anything."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> Tracer:
        """Return a tracer of the process's own provider."""
        own = trace.get_tracer_provider()
        return _NamelessTracer(
            own.get_tracer(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        )

    def add_span_processor(self, processor: Any) -> None:
        """Have spans sent on: FastAPI calls this with what it made from the environment."""
        if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            # Imported here: it is an extra, and nobody asks for it otherwise.
            from opentelemetry.sdk.trace import TracerProvider as Sender

            trace.set_tracer_provider(Sender(shutdown_on_exit=False))
        sender: Any = trace.get_tracer_provider()
        sender.add_span_processor(processor)


class _NamelessTracer(Tracer):
    def __init__(self, own: Tracer) -> None:
        self._own = own

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001 - the interface is OpenTelemetry's
        set_status_on_exception: bool = True,  # noqa: FBT001 - the same
    ) -> Span:
        return self._own.start_span(
            name, context, kind, _told(attributes), links, start_time, record_exception, set_status_on_exception
        )

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # theirs is also a decorator, which FastAPI does not use
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001 - the interface is OpenTelemetry's
        set_status_on_exception: bool = True,  # noqa: FBT001 - the same
        end_on_exit: bool = True,  # noqa: FBT001 - the same
    ) -> Iterator[Span]:
        with self._own.start_as_current_span(
            name,
            context,
            kind,
            _told(attributes),
            links,
            start_time,
            record_exception,
            set_status_on_exception,
            end_on_exit,
        ) as span:
            yield span


def _told(attributes: Attributes) -> Mapping[str, Any]:
    return {name: value for name, value in (attributes or {}).items() if name in TOLD}
