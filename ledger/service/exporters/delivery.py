"""Put what is live to where exporters say: after the transaction, again and again until it is there.

The audit log is the outbox. Which version is live since which entry stands in the ledger; how far an exporter came
stands beside it, and is written once the exporter said that it is done. A crash in between repeats the call, which
exporters allow. Versions that were live between two looks are passed over: what counts is what is live.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from ledger.digest import json_digest, sha256_hex
from ledger.errors import LedgerError
from ledger.exporter import LiveFacts, LiveVersion
from ledger.hookspecs import Exporter
from ledger.plugin_manager import Plugins, exporting_plugins, guarded
from ledger.service.ledger import Ledger, open_ledger
from ledger.service.requests.heartbeat import repeatedly
from ledger.service.versions.export import export_files
from ledger.service.versions.model_history import ModelHistory, read_model_history

from .configured import ConfiguredExporter, DeliveredVersion, list_exporters, locked, note

logger = logging.getLogger("unledger.exporters")
logger.addHandler(logging.NullHandler())

PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds after each failure in a row; the last one again and again. Nothing is ever given up: it is what is live."""
LOOK_SECONDS = 2.0
LOCK = ".exporting.lock"


@dataclass(frozen=True)
class Exported:
    """One step of an exporter, or its failure."""

    exporter: str
    model: str
    version: int | None
    ok: bool
    detail: str


def export_due(
    ledger: Ledger, *, only: str | None = None, now: bool = False, go_on: Callable[[], bool] = lambda: True
) -> list[Exported]:
    """Let every exporter catch up with what is live; return what was done. Failures are noted, and tried again later.

    Args:
        ledger: The ledger.
        only: Only this exporter.
        now: Also those that failed and wait.
        go_on: Asked before each model.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    done: list[Exported] = []
    if not list_exporters(ledger.config):
        return done
    # One process at a time: two would switch the same folder.
    with locked(ledger.config, LOCK, wait=now) as ours:
        if not ours:
            return done
        plugins = exporting_plugins(ledger.config.plugins)
        for exporter in list_exporters(ledger.config):
            wanted = only is None or exporter.name == only
            waits = not now and exporter.next_at is not None and exporter.next_at > ledger.clock()
            if wanted and not waits:
                done += _catch_up(ledger, plugins, exporter, go_on)
    return done


def behind(ledger: Ledger, exporter: ConfiguredExporter) -> dict[str, int]:
    """Return the models of which an exporter has something else than what is live, each with its live version."""
    late = {}
    for name in _models(ledger, exporter):
        known = read_model_history(ledger, name)
        told = exporter.told.get(name)
        if told is None or told.seq != known.moves[-1].audit_seq:
            late[name] = known.live.number
    return late


@contextmanager
def exporting(ledger: Ledger, interval: float = LOOK_SECONDS) -> Iterator[None]:
    """Let exporters catch up from a thread of its own while the block runs."""
    follower = _Follower(ledger)
    with repeatedly(follower.look, interval, name="exporters"):
        try:
            yield
        finally:
            follower.leaving = True
    follower.close()


class _Follower:
    """Looks at the log now and then, through a ledger of its own.

    Args:
        ledger: The same ledger, opened by somebody else.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._opened_by = ledger
        self._own: Ledger | None = None
        self._seen = -1
        self.leaving = False

    def look(self) -> None:
        """Let exporters catch up if anything happened, or if one waits for another try."""
        try:
            configured = list_exporters(self._opened_by.config)
            if not configured:
                return
            ledger = self._ledger()
            with ledger.database.read() as tx:
                size = tx.audit.head().size
            fresh = any(not one.told or one.next_at is not None for one in configured)
            if size == self._seen and not fresh:
                return
            for one in export_due(ledger, go_on=lambda: not self.leaving):
                logger.log(
                    logging.INFO if one.ok else logging.WARNING,
                    "exporter %s: %s",
                    one.exporter,
                    "done" if one.ok else "failed, and will be tried again",
                )
            self._seen = size
        except LedgerError as error:
            logger.debug("exporters wait: %s", error.message)
        except Exception:
            # Whatever it is, it must not end the thread.
            logger.exception("an exporter could not be called")

    def close(self) -> None:
        """Close the ledger."""
        if self._own is not None:
            self._own.close()

    def _ledger(self) -> Ledger:
        if self._own is None:
            self._own = open_ledger(self._opened_by.config, self._opened_by.actor, self._opened_by.clock)
        return self._own


def _models(ledger: Ledger, exporter: ConfiguredExporter) -> list[str]:
    with ledger.database.read() as tx:
        return [name for name in tx.models.names().values() if exporter.wants(name)]


def _catch_up(
    ledger: Ledger, plugins: Plugins, exporter: ConfiguredExporter, go_on: Callable[[], bool]
) -> list[Exported]:
    """Let one exporter catch up model by model, and note how far it came after each."""
    done: list[Exported] = []
    at = exporter
    for model in _models(ledger, exporter):
        if not go_on():
            break
        try:
            place = plugins.exporter(exporter.spec)
            for told, step in _steps(ledger, place, at, model):
                at = replace(at, told={**at.told, model: told}, attempts=0, next_at=None, detail=step.detail)
                note(ledger.config, at)
                done.append(step)
        except LedgerError as error:
            pause = PAUSES[min(at.attempts, len(PAUSES) - 1)]
            at = replace(
                at,
                attempts=at.attempts + 1,
                next_at=ledger.clock() + timedelta(seconds=pause),
                detail=f"{model}: {error.message}",
            )
            with suppress(LedgerError):
                note(ledger.config, at)
            done.append(Exported(exporter.name, model, None, ok=False, detail=f"{model}: {error.message}"))
            break
    else:
        if at.attempts:
            at = replace(at, attempts=0, next_at=None)
            note(ledger.config, at)
    return done


def _steps(
    ledger: Ledger, place: Exporter, exporter: ConfiguredExporter, model: str
) -> Iterator[tuple[DeliveredVersion, Exported]]:
    """Do what is missing of one model, a step at a time."""
    if model.strip(".") == "":
        raise LedgerError(f"{model!r} cannot be the name of a folder or of a registered model", "register it anew")
    known = read_model_history(ledger, model)
    facts = _facts(ledger, known, hidden=exporter.hide_forgotten)
    seq, tags = known.moves[-1].audit_seq, json_digest(dict(facts.tags))
    told = exporter.told.get(model)
    culprit = f"exporter {exporter.name} ({exporter.spec.partition(':')[0]})"

    def step(detail: str) -> Exported:
        return Exported(exporter.name, model, facts.version, ok=True, detail=detail)

    if told is None or told.seq != seq:
        version, files = export_files(ledger, model, facts.version, hide_forgotten=exporter.hide_forgotten)
        detail = guarded(lambda: place.publish(LiveVersion(facts, files)), culprit)
        given = tuple(dict.fromkeys((*(told.given if told else ()), version.weights)))
        told = DeliveredVersion(seq, facts.version, version.weights, tags, ledger.clock(), given)
        yield told, step(detail)
    elif told.tags != tags:
        detail = guarded(lambda: place.describe(facts), culprit)
        told = replace(told, tags=tags, at=ledger.clock())
        yield told, step(detail)
    kept = {version.weights for version in known.versions if version.purged_at is None}
    gone = frozenset(told.given) - kept
    if gone:
        detail = guarded(lambda: place.remove(model, gone), culprit)
        yield replace(told, given=tuple(one for one in told.given if one not in gone)), step(detail)


def _facts(ledger: Ledger, known: ModelHistory, *, hidden: bool) -> LiveFacts:
    """Return what is known of the live version."""
    live = known.live
    with ledger.database.read() as tx:
        tx.trusted.certificates()
        certificates = [one for one in tx.certificates.all() if one.version == live.number]
        owners = tx.certificates.models()
    own = [one for one in certificates if owners.get(one.request_id) == known.model.id]
    level = known.measured[live.number].level
    names = list(known.model.labels.names(live.forgotten))
    tags = {
        "unledger.version": str(live.number),
        "unledger.weights": live.weights,
        "unledger.kind": live.kind.value,
        "unledger.level": str(level.value),
        "unledger.level_title": level.title,
        "unledger.forgotten_classes": str(len(names)),
        "unledger.certificates": ",".join(str(one.id) for one in own),
        "unledger.certificate_sha256": sha256_hex(own[-1].envelope.encode()) if own else "",
    }
    if not hidden:
        tags["unledger.forgotten"] = json.dumps(names, ensure_ascii=False)
    return LiveFacts(known.model.name, live.number, live.weights, live.kind.value, known.moves[-1].moved_at, tags)
