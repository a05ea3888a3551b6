"""The figures of a ledger in the format of Prometheus."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from ledger.service.upkeep.operational_metrics import OperationalMetrics


class LedgerCollector(Collector):
    """Tells what was read from the database as metrics. Labels are states and numbers of models, and nothing else.

    Args:
        found: What was read.
    """

    def __init__(self, found: OperationalMetrics) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        found = self._found
        states = GaugeMetricFamily("unledger_requests", "Requests by state.", labels=("model", "state"))
        for (model, state), count in sorted(found.states.items()):
            states.add_metric((str(model), state.value), count)
        yield states
        yield _by_model(
            "unledger_oldest_open_request_seconds",
            "Seconds since the oldest open request was received.",
            found.oldest_open.items(),
        )
        yield _by_model("unledger_overdue_requests", "Open requests past their due dates.", found.overdue.items())
        phases = SummaryMetricFamily(
            "unledger_request_phase_seconds",
            "Seconds that the requests carried out last spent in each phase.",
            labels=("phase",),
        )
        for phase, seconds in found.phases.items():
            phases.add_metric((phase,), count_value=len(seconds), sum_value=sum(seconds))
        yield phases
        yield GaugeMetricFamily("unledger_audit_entries", "Entries of the audit log.", value=found.audit_entries)
        yield GaugeMetricFamily("unledger_workers", "Workers that are there.", value=found.workers)
        yield GaugeMetricFamily(
            "unledger_webhook_messages_waiting", "Messages to webhooks to be delivered.", value=found.undelivered
        )
        yield GaugeMetricFamily("unledger_leases", "Requests that a worker holds.", value=found.leases)


def exposition(found: OperationalMetrics) -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(found))
    return generate_latest(registry)


def _by_model(name: str, told: str, values: Iterable[tuple[int, float]]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=("model",))
    for model, value in sorted(values):
        family.add_metric((str(model),), value)
    return family
