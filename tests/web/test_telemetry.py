"""Traces and figures for OpenTelemetry: routes, times and outcomes, and no name of anything that was asked for."""

from __future__ import annotations

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry import metrics, trace

from ledger import installation
from ledger.config import find_config
from ledger.domain.access import Scope
from ledger.errors import NotInstalledError
from ledger.service.access.tokens import create_token
from ledger.service.ledger import open_ledger
from ledger.web.operation.telemetry import SWITCH, telemetry
from tests.fixtures.canary import NAMED
from tests.fixtures.environment import IN_CI
from tests.web.serving import served_by_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.web.conftest import Served

if not IN_CI:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")
    pytest.importorskip("opentelemetry.exporter.otlp", reason="the extra `telemetry` is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the process's provider is given; the provider is that of this test alone."""
    kept, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return kept


def ask(served: Served) -> None:
    """Send requests that name classes wherever a request can."""
    headers = served.headers(*Scope)
    client = served.client
    client.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["jay"]}]}, headers=headers)
    client.post("/api/v1/models/1/requests", json={"requests": [{"classes": ["jayy"]}]}, headers=headers)
    client.get("/api/v1/requests?state=jay", headers=headers)
    client.get("/jay/jay?class=jay", headers=headers)
    client.get("/models/1?class=jay", headers={**headers, "Accept": "text/html"})
    client.get("/", headers={**headers, "Host": "jay", "User-Agent": "jay", "traceparent": "jay", "baggage": "a=jay"})
    client.request("JAY", "/", headers=headers)


def test_spans_have_routes_and_outcomes_and_name_nothing(
    spans: InMemorySpanExporter, serve: Callable[[], Served]
) -> None:
    ask(serve())
    ended = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
    filed = [span for span in ended if span["name"] == "POST /api/v1/models/{model}/requests"]
    assert [span["attributes"]["http.response.status_code"] for span in filed] == [201, 422]
    assert {"fastapi.endpoint", "GET /api/v1/requests"} <= {span["name"] for span in ended}
    # Names of classes stand in "jay" alone: the name of an endpoint or a scope is none.
    assert [one for one in map(json.dumps, ended) if NAMED.search(one) or "jayy" in one or "jay" in one.lower()] == []


def test_a_span_belongs_to_the_trace_of_who_asked(spans: InMemorySpanExporter, serve: Callable[[], Served]) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    serve().client.get("/healthz", headers={"traceparent": parent})
    [span] = [one for one in spans.get_finished_spans() if one.name == "GET /healthz"]
    told = json.loads(span.to_json())
    assert (told["context"]["trace_id"], told["parent_id"]) == (f"0x{'a' * 32}", f"0x{'b' * 16}")


def test_figures_have_routes_and_name_nothing(serve: Callable[[], Served], monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", provider)
    ask(serve())
    measured = reader.get_metrics_data()
    assert measured is not None
    told = measured.to_json()
    assert "/api/v1/models/{model}/requests" in told
    assert "http.server.request.duration" in told
    assert "jay" not in told.lower()
    provider.shutdown()


def test_nothing_is_traced_unless_somebody_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert telemetry() == {"tracing": False, "logs": False}
    assert not served.app._native_telemetry.enabled()
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setattr(installation, "lacks", lambda extra: extra == "telemetry")
    with pytest.raises(NotInstalledError, match="sending traces") as refused:
        telemetry()
    assert "unledger[telemetry]" in refused.value.hint
    monkeypatch.delenv(SWITCH)


class Collector:
    """Takes what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take nothing more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on this machine."""
    found = Collector()
    yield found
    found.close()


@pytest.mark.slow
def test_a_server_sends_traces_and_figures_to_a_collector(
    past: Path, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(past, tmp_path / "ledger"))
    ledger = open_ledger(find_config(folder), "ada")
    token = create_token(ledger, "tester", frozenset(Scope))[1]
    ledger.close()
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    headers = {"Authorization": f"Bearer {token}"}
    with served_by_process(folder, "--no-worker") as server:
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            body = {"requests": [{"classes": ["jay"]}]}
            assert client.post("/api/v1/models/1/requests", json=body).status_code == 201
            assert client.get("/jay?class=jay").status_code == 404
        # What waits is sent before the end.
        assert server.stop() == 0
    monkeypatch.delenv(SWITCH)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    assert set(collector.bodies) == {"/v1/traces", "/v1/metrics"}
    for bodies in collector.bodies.values():
        sent = b"".join(bodies)
        assert b"/api/v1/models/{model}/requests" in sent
        assert b"jay" not in sent.lower()
