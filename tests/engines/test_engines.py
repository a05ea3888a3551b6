"""Requests on a Ray and on a Dask cluster of this machine: the same bytes as without, whatever dies.

The full number of runs is that of ``benchmarks/executors.py kills``.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.states import RequestState
from ledger.errors import EngineLostError
from ledger.plugin_manager import build_plugins
from ledger.service.progress import Silent
from ledger.service.requests.worker import work
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fixtures.trained_digits import TrainedDigits

NEEDED = {"ray": "ray", "dask": "distributed"}
LOST = 17
"""Exit status of a worker whose engine was lost."""
missing = [name for name in (*NEEDED.values(), "psutil") if find_spec(name) is None]
pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(
        bool(missing) and os.environ.get("ENGINES") != "required",
        reason=f"{', '.join(missing)} is not installed: make engines",
    ),
    # What libraries of others warn of is not ours to mend.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(autouse=True)
def _variables_of_engines() -> Iterator[None]:
    """Put back the environment: Ray keeps settings of its own there, and the token of a cluster is handed on by it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def clusters() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    import clusters

    yield clusters
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Path:
    """A ledger with the digits network in it."""
    root = tmp_path_factory.mktemp("registered")
    desk = Desk.create(root, trained_digits)
    desk.register(MODEL)
    desk.close()
    return root


def opened(registered: Path, root: Path, digits: TrainedDigits, executor: str) -> Desk:
    """Copy the ledger and open it for an executor."""
    shutil.copytree(registered, root)
    desk = Desk(root, digits)
    desk.ledger.executor = executor
    return desk


def told(desk: Desk) -> tuple[Any, ...]:
    """Return what was computed of the newest version."""
    with desk.ledger.database.read() as tx:
        spaces = {one.class_index: one.object_digest for one in tx.class_spaces.all(desk.model())}
    version = desk.versions()[-1]
    return version.weights, spaces, version.recipe.document["search"]


@pytest.fixture(scope="module")
def expected(registered: Path, tmp_path_factory: pytest.TempPathFactory, trained_digits: TrainedDigits) -> Any:
    """What this process computes by itself."""
    desk = opened(registered, tmp_path_factory.mktemp("local") / "ledger", trained_digits, "local")
    desk.forget(3)
    found = told(desk)
    desk.close()
    return found


@pytest.mark.parametrize("engine", NEEDED)
def test_bytes_are_the_same_while_workers_are_killed(
    engine: str, clusters: Any, registered: Path, tmp_path: Path, trained_digits: TrainedDigits, expected: Any
) -> None:
    with clusters.CLUSTERS[engine]() as cluster:
        desk = opened(registered, tmp_path / "ledger", trained_digits, cluster.spec)
        try:
            with clusters.killing(cluster, Random(1), 1, (2.0, 4.0)):
                desk.forget(3)
            assert told(desk) == expected
            environment = desk.versions()[-1].recipe.environment
            assert environment["executor"] == engine, "no address is recorded"
        finally:
            desk.close()


@pytest.mark.parametrize("engine", NEEDED)
def test_a_request_whose_engine_is_lost_goes_back_and_goes_on_elsewhere(
    engine: str, clusters: Any, registered: Path, tmp_path: Path, trained_digits: TrainedDigits, expected: Any
) -> None:
    desk = opened(registered, tmp_path / "ledger", trained_digits, "local")
    try:
        request = desk.file(3)
        with clusters.CLUSTERS[engine]() as cluster:
            # In a process of its own: Ray's client ends the process that it is in, if its head stays away.
            spawn = multiprocessing.get_context("spawn")
            worker = spawn.Process(target=_work, args=(tmp_path / "ledger", trained_digits, cluster.spec))
            worker.start()
            deadline = time.monotonic() + 120
            while len(_collected(desk)) < 3:
                assert worker.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            for process in cluster.everything:
                process.kill()
            worker.join(120)
        assert worker.exitcode == LOST
        assert desk.request(request.id).state is RequestState.QUEUED
        stored = _collected(desk)
        desk.work()
        assert told(desk) == expected
        # What had been collected there was not collected again.
        assert _collected(desk)[: len(stored)] == stored
        assert len(_collected(desk)) == len(expected[1])
    finally:
        desk.close()


def _collected(desk: Desk) -> list[int | None]:
    """Return the place in the audit log of each class space that was collected."""
    with desk.ledger.database.read() as tx:
        return [event.seq for event in tx.audit.events() if event.kind == "class_space.collected"]


def _work(root: Path, digits: TrainedDigits, spec: str) -> None:
    """Work the queue off with an executor; the exit status tells whether that was lost."""
    desk = Desk(root, digits)
    desk.ledger.executor = spec
    try:
        list(work(desk.ledger, Silent(), open_model=desk.open_model))
    except EngineLostError:
        sys.exit(LOST)


@pytest.mark.parametrize("spec", ["ray:127.0.0.1:9", "dask:tcp://127.0.0.1:9"])
def test_an_engine_that_is_not_there_is_told(spec: str) -> None:
    with pytest.raises(EngineLostError, match="cannot be reached"):
        build_plugins().executor(spec)
