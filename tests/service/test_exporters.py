"""Exporters: what is live is put to a folder or to MLflow, as often as it takes, and purged weights go there too."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ledger.plugins.exporters.folder import FolderExporter
from ledger.plugins.exporters.mlflow_registry import MlflowExporter

from ledger.config import create_config
from ledger.digest import sha256_hex
from ledger.domain.recipe import VersionRecipe
from ledger.domain.versions import Version, VersionKind
from ledger.errors import ConflictError, LedgerError, NotFoundError, RefusedError, UsageError
from ledger.exporter import LiveFacts, LiveVersion
from ledger.plugin_manager import exporting_plugins
from ledger.service.evidence.certificates import issue
from ledger.service.exporters import configured, delivery
from ledger.service.exporters.configured import add_exporter, list_exporters, remove_exporter
from ledger.service.exporters.delivery import behind, export_due, exporting
from ledger.service.ledger import create_ledger
from ledger.service.objects import store_object
from ledger.service.progress import Silent
from ledger.service.upkeep.purge import plan_purge, purge
from ledger.service.versions.commit import append_version
from ledger.service.versions.rollback import plan_rollback, roll_back
from tests.ledgers.stand_in import register_stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ledgers.desk import Desk

MODEL = "digits"
START = datetime(2026, 1, 5, 9, tzinfo=UTC)

NOW = timedelta(0)


@dataclass
class Case:
    """A ledger whose weights are a few bytes: version 1 has forgotten 3, version 2 also 7."""

    root: Path
    now: datetime = START

    def __post_init__(self) -> None:
        config = create_config(self.root, "sqlite:///ledger.db", "objects")
        self.ledger = create_ledger(config, "tester", clock=lambda: self.now)
        register_stand_in(self.ledger, MODEL, tuple("0123456789"), b"weights", at=self.now)
        self.forget({3}, b"without 3")
        self.forget({3, 7}, b"without 3 and 7")

    def forget(self, classes: set[int], weights: bytes) -> None:
        """Make a version live that has forgotten some classes."""
        digest = store_object(self.ledger, weights)
        with self.ledger.database.write() as tx:
            model = tx.models.get(MODEL)
            number = tx.versions.all(model)[-1].number + 1
            made = Version(
                *(model.id, number, number - 1, VersionKind.FORGET, None, None),
                forgotten=frozenset(classes),
                weights=digest,
                recipe=VersionRecipe(),
                created_at=self.now,
            )
            append_version(tx, model, made, size=len(weights), terms=(), actor="tester", at=self.now)

    def roll_back(self, number: int) -> None:
        """Roll back."""
        roll_back(self.ledger, plan_rollback(self.ledger, MODEL, number), "second thoughts")

    def purge(self) -> None:
        """Destroy all weights that are superseded."""
        purge(self.ledger, plan_purge(self.ledger, MODEL, NOW), NOW, Silent(), clock_is_right=True)

    def later(self) -> None:
        """Let a month pass."""
        self.now += timedelta(days=31)

    @property
    def versions(self) -> list[Version]:
        """Every version."""
        with self.ledger.database.read() as tx:
            return tx.versions.all(tx.models.get(MODEL))

    def exported(self) -> list[int]:
        """Return the versions that left the ledger, in order."""
        with self.ledger.database.read() as tx:
            tx.audit.verify()
            return [event.data["version"] for event in tx.audit.events() if event.kind == "version.exported"]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path / "ledger")
    yield made
    made.ledger.close()


@pytest.fixture
def served(tmp_path: Path, case: Case) -> tuple[Case, Path]:
    """A ledger whose live version, 2, is put to a folder."""
    place = tmp_path / "served"
    add_exporter(case.ledger, "prod", f"folder:{place}")
    assert [one.version for one in export_due(case.ledger)] == [2]
    return case, place / MODEL


def held(folder: Path) -> tuple[str, int, str]:
    """Return the colour that is live, its version by what it says, and the digest of its weights."""
    said = json.loads((folder / "live" / "config.json").read_text())["unledger"]
    weights = sha256_hex((folder / "live" / "model.safetensors").read_bytes())
    assert said["weights_sha256"] == weights
    assert json.loads((folder / "live" / "unledger.json").read_text())["version"] == said["version"]
    return str((folder / "live").readlink()), said["version"], weights


def test_a_rollback_switches_to_the_other_colour(served: tuple[Case, Path]) -> None:
    case, folder = served
    assert held(folder) == ("blue", 2, case.versions[-1].weights)
    assert export_due(case.ledger) == []
    case.roll_back(1)
    assert behind(case.ledger, list_exporters(case.ledger.config)[0]) == {MODEL: 3}
    assert [one.ok for one in export_due(case.ledger)] == [True]
    assert held(folder) == ("green", 3, case.versions[-1].weights)
    # The version before is whole, for whoever is reading it.
    assert sha256_hex((folder / "blue" / "model.safetensors").read_bytes()) == case.versions[2].weights
    assert case.exported() == [2, 3]


def test_what_was_done_is_done_again_after_a_crash(served: tuple[Case, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    case, folder = served
    case.roll_back(0)
    with monkeypatch.context() as patched:

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(delivery, "note", crash)
        with pytest.raises(KeyboardInterrupt):
            export_due(case.ledger)
    before = held(folder)
    assert before[1] == 3
    assert [one.ok for one in export_due(case.ledger)] == [True]
    # It was there already, and stays where it is.
    assert held(folder) == before
    assert export_due(case.ledger) == []


@pytest.mark.slow
def test_evidence_and_certificates_are_told_later(tmp_path: Path, two_forgotten: Desk) -> None:
    desk, live = two_forgotten, tmp_path / "served" / MODEL / "live"
    add_exporter(desk.ledger, "prod", f"folder:{tmp_path / 'served'}")
    export_due(desk.ledger)
    tags = json.loads((live / "unledger.json").read_text())["tags"]
    assert (tags["unledger.forgotten"], tags["unledger.level"]) == ('["3", "7"]', "0")
    desk.test_accuracy()
    issue(desk.ledger, 2)
    [step] = export_due(desk.ledger)
    assert "tells what is known" in step.detail
    tags = json.loads((live / "unledger.json").read_text())["tags"]
    assert tags["unledger.certificates"] == "1"
    assert len(tags["unledger.certificate_sha256"]) == 64
    # No weights left the ledger for that.
    assert len(desk.events("version.exported")) == 1


def test_purged_weights_go_there_too(served: tuple[Case, Path]) -> None:
    case, folder = served
    case.roll_back(1)
    export_due(case.ledger)
    case.later()
    case.purge()
    assert case.versions[2].purged_at is not None
    assert case.versions[3].purged_at is None
    idle = folder / "blue"
    assert sha256_hex((idle / "model.safetensors").read_bytes()) == case.versions[2].weights
    [step] = export_due(case.ledger)
    assert "destroyed" in step.detail
    assert not idle.exists()
    assert held(folder) == ("green", 3, case.versions[3].weights)
    assert export_due(case.ledger) == []


def test_failures_are_noted_and_tried_again(served: tuple[Case, Path]) -> None:
    case, folder = served
    case.roll_back(1)
    away = folder.rename(folder.with_name("away"))
    folder.write_text("in the way")
    [step] = export_due(case.ledger)
    assert not step.ok
    [kept] = list_exporters(case.ledger.config)
    assert (kept.attempts, kept.told[MODEL].version) == (1, 2)
    # It waits, unless somebody asks for it now.
    assert export_due(case.ledger) == []
    assert not export_due(case.ledger, now=True)[0].ok
    folder.unlink()
    away.rename(folder)
    case.later()
    assert [one.ok for one in export_due(case.ledger)] == [True]
    [kept] = list_exporters(case.ledger.config)
    assert (kept.attempts, kept.next_at, kept.told[MODEL].version) == (0, None, 3)


def test_names_of_forgotten_classes_can_be_left_out(tmp_path: Path, case: Case) -> None:
    add_exporter(case.ledger, "open", f"folder:{tmp_path / 'place'}", hide_forgotten=True)
    export_due(case.ledger)
    live = tmp_path / "place" / MODEL / "live"
    assert json.loads((live / "config.json").read_text())["label_names"][3] == "forgotten 3"
    tags = json.loads((live / "unledger.json").read_text())["tags"]
    assert "unledger.forgotten" not in tags
    assert tags["unledger.forgotten_classes"] == "2"


def test_what_is_no_exporter(tmp_path: Path, case: Case) -> None:
    for name, spec, kind in (
        ("a b", "folder:/x", UsageError),
        ("", "folder:/x", UsageError),
        ("a", "folder:x", UsageError),
        ("a", "nowhere:x", UsageError),
        ("a", "mlflow:", UsageError),
        ("a", "mlflow:http://user:secret@host", UsageError),
        ("a", f"folder:{case.root}/objects", RefusedError),
    ):
        with pytest.raises(kind):
            add_exporter(case.ledger, name, spec)
    with pytest.raises(NotFoundError):
        add_exporter(case.ledger, "a", f"folder:{tmp_path / 'x'}", ("no such model",))
    add_exporter(case.ledger, "a", f"folder:{tmp_path / 'x'}", (MODEL,))
    with pytest.raises(ConflictError):
        add_exporter(case.ledger, "a", f"folder:{tmp_path / 'y'}")
    assert remove_exporter(case.ledger.config, "a").name == "a"
    with pytest.raises(NotFoundError):
        remove_exporter(case.ledger.config, "a")
    assert list_exporters(case.ledger.config) == []


def test_a_file_that_was_damaged_is_named(case: Case) -> None:
    (case.root / configured.FILE).write_text("{")
    with pytest.raises(UsageError, match=r"exporters\.json"):
        export_due(case.ledger)


def test_a_link_that_is_none_is_left_alone(served: tuple[Case, Path]) -> None:
    case, folder = served
    case.roll_back(1)
    (folder / "live").unlink()
    (folder / "live").mkdir()
    (folder / "live" / "precious").write_text("mine")
    [step] = export_due(case.ledger)
    assert not step.ok
    assert (folder / "live" / "precious").read_text() == "mine"


def test_a_worker_follows(served: tuple[Case, Path]) -> None:
    case, folder = served
    case.roll_back(1)
    with exporting(case.ledger, interval=0.05):
        for _ in range(600):
            if held(folder)[1] == 3:
                break
            threading.Event().wait(0.05)
    assert held(folder)[1] == 3


def test_readers_never_find_half_of_a_version(tmp_path: Path) -> None:
    place, stop, seen = FolderExporter(tmp_path), threading.Event(), set()
    place.publish(live(0))
    odd: list[tuple[bytes, ...]] = []

    def read() -> None:
        while not stop.is_set():
            # As a server loads: the link is followed once.
            folder = os.open(tmp_path / "m" / "live", os.O_RDONLY | os.O_DIRECTORY)
            try:
                found = tuple(_read_at(folder, name) for name in ("model.safetensors", "config.json"))
            except FileNotFoundError:
                continue  # two switches came while it was read
            finally:
                os.close(folder)
            seen.add(found[0])
            if len(set(found)) != 1:
                odd.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        place.publish(live(number))
    stop.set()
    reader.join()
    assert seen
    assert odd == []


def _read_at(folder: int, name: str) -> bytes:
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def live(number: int, weights: bytes | None = None, **tags: str) -> LiveVersion:
    """Return a version whose files all hold its number."""
    data = weights or str(number).encode()
    facts = LiveFacts(
        "m",
        number,
        sha256_hex(data),
        "forget",
        START,
        {"unledger.weights": sha256_hex(data), "unledger.n": "x", **tags},
    )
    return LiveVersion(facts, {"model.safetensors": data, "config.json": data})


# -- MLflow -------------------------------------------------------------------------------------------

needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None and "CI" not in os.environ, reason="the extra mlflow is not installed"
)


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a local MLflow on SQLite; its files lie beside it."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    found = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    if found.get_experiment_by_name("unledger") is None:
        found.create_experiment("unledger", artifact_location=str(Path(mlflow_uri[10:]).parent / "artifacts"))
    return found


def aliased(client: Any, model: str) -> Any:
    return client.get_model_version_by_alias(model, "live")


@needs_mlflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_what_is_live(client: Any, mlflow_uri: str, case: Case) -> None:
    add_exporter(case.ledger, "registry", f"mlflow:{mlflow_uri}")
    assert [one.ok for one in export_due(case.ledger)] == [True]
    first = aliased(client, MODEL)
    assert first.tags["unledger.forgotten"] == '["3", "7"]'
    assert first.tags["unledger.level"] == "0"
    stored = Path(first.source.removeprefix("file://")) / "model.safetensors"
    assert sha256_hex(stored.read_bytes()) == case.versions[-1].weights
    case.roll_back(1)
    export_due(case.ledger)
    second = aliased(client, MODEL)
    assert (second.version, second.tags["unledger.forgotten"]) != (first.version, first.tags["unledger.forgotten"])
    assert second.tags["unledger.kind"] == "rollback"
    # Back again: the weights are there, and only the alias moves.
    case.roll_back(2)
    export_due(case.ledger)
    assert aliased(client, MODEL).version == first.version
    assert aliased(client, MODEL).tags["unledger.version"] == "4"
    case.later()
    case.purge()
    export_due(case.ledger)
    assert [v.version for v in client.search_model_versions(f"name = '{MODEL}'")] == [first.version]
    assert not Path(second.source.removeprefix("file://")).exists()
    assert stored.is_file()
    assert export_due(case.ledger) == []


@needs_mlflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_after_a_crash(client: Any, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = MlflowExporter(mlflow_uri)
    with monkeypatch.context() as patched:

        def crash(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(type(client), "set_terminated", crash)
        with pytest.raises(KeyboardInterrupt):
            place.publish(live(1))
    place.publish(live(1))
    place.publish(live(1))
    [version] = client.search_model_versions("name = 'm'")
    assert aliased(client, "m").version == version.version
    with pytest.raises(LedgerError, match="no version of m"):
        place.describe(replace(live(1).facts, weights="0" * 64))


@needs_mlflow
def test_mlflow_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    place = exporting_plugins().exporter("mlflow:http://127.0.0.1:9")
    with pytest.raises(LedgerError, match="did not answer"):
        place.publish(live(1))
