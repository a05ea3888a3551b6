"""The same bytes whoever runs the units, in whatever order, however often; and what happens when an engine is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ledger.plugins.executors.processes import ProcessesExecutor

from ledger import hookspecs
from ledger.domain.states import RequestState
from ledger.errors import EngineLostError, UsageError
from ledger.plugin_manager import PluginInfo
from ledger.service.computation import class_space_cache
from ledger.service.computation.class_space_collection import collect_class_space
from ledger.service.evidence.evaluation import evaluate
from ledger.service.progress import Silent
from ledger.service.requests.worker import work
from ledger.units.surroundings import Surroundings
from tests.ledgers.desk import MODEL, Desk

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class Shuffling(Executor):
    """Runs every call twice, in an order of its own, in threads; it may deliver rubbish, and it may go away."""

    seed: int = 0
    rubbish: float = 0.0
    """Share of calls that come to nothing."""
    lasts: int | None = None
    """Calls after which it is gone."""
    workers: int = 3
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Start, or start again after it was shut down."""
        self._pool = ThreadPoolExecutor(self.workers)

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.lasts is not None and len(self.ran) >= self.lasts:
            raise ConnectionError("the engine went away")
        with self._lock:
            self.ran.append(args[0].digest)
            pause, bad = self._random.random() / 20, self._random.random() < self.rubbish

        def run() -> Any:
            time.sleep(pause)
            result = call(*args, **kwargs)
            assert call(*args, **kwargs) == result, "a unit is not a pure function"
            if bad:
                return replace(result, data=result.data[:-1] + b"\0")
            return result

        return self._pool.submit(run)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def offer(desk: Desk, executor: Executor, spec: str = "shuffling") -> None:
    """Let a plugin of somebody else offer an executor, and the ledger use it."""
    plugins = desk.ledger.plugins
    plugin = SimpleNamespace(
        unledger_executor=hookspecs.hookimpl(lambda spec: executor if spec == "shuffling" else None)
    )
    plugins._manager.register(plugin, name="shuffler")
    info = PluginInfo("shuffler", "1", builtin=False, hooks=("unledger_executor",))
    plugins.infos, plugins._loaded = (*plugins.infos, info), plugins._loaded | {info.name: info}
    desk.ledger.executor = spec


def told(desk: Desk) -> tuple[Any, ...]:
    """Return everything that was computed of the newest version, but for who computed it."""
    version = desk.versions()[-1]
    with desk.ledger.database.read() as tx:
        spaces = [
            (one.class_index, one.object_digest, one.samples_digest, one.maps)
            for one in sorted(tx.class_spaces.all(desk.model()), key=lambda one: one.class_index)
        ]
    search = version.recipe.document["search"]
    return version.weights, spaces, search


def measured(desk: Desk) -> dict[str, Any]:
    """Return what evaluators say of the newest version, those that read features included."""
    found = evaluate(desk.ledger, MODEL, None, Silent(), only=("accuracy", "confusion", "similarity"))
    return {name: one.metrics for name, one in found.evidence.items()}


@pytest.fixture
def expected(two_forgotten: Desk) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What this process computes by itself."""
    return told(two_forgotten), measured(two_forgotten)


@pytest.fixture
def same_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units in this process have the plugins of the test."""
    monkeypatch.setattr("ledger.units.model_card.in_use", lambda _plugins: ())
    monkeypatch.setattr("ledger.service.computation.model_cards.in_use", lambda _plugins: ())


@pytest.mark.usefixtures("same_plugins")
def test_order_repetition_and_rubbish_change_no_byte(desk: Desk, expected: tuple[Any, ...]) -> None:
    executor = Shuffling(seed=1, rubbish=0.05)
    offer(desk, executor)
    desk.forget(3)
    desk.forget(7)
    assert told(desk) == expected[0]
    assert measured(desk) == expected[1]
    assert desk.ledger.engine.redone >= 1
    assert len(set(executor.ran)) > 40, "collection, candidates and evaluation are units"
    environment = desk.versions()[-1].recipe.environment
    assert environment["executor"] == "shuffling"
    assert str(environment["device_kind"]).startswith("cpu ")


def test_processes_give_the_same_bytes_and_are_replaced_when_they_die(desk: Desk, expected: tuple[Any, ...]) -> None:
    desk.ledger.executor = "processes:2"
    stop = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not stop.wait(0.3):
            executor = desk.ledger.engine._executor
            pids = executor.pids if isinstance(executor, ProcessesExecutor) else ()
            if pids and len(killed) < 3:
                killed.append(pids[len(killed) % len(pids)])
                with suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        desk.forget(3)
        desk.forget(7)
    finally:
        stop.set()
        killer.join()
    assert killed
    assert told(desk) == expected[0]
    assert measured(desk) == expected[1]
    assert desk.versions()[-1].recipe.environment["executor"] == "processes:2"
    executor = desk.ledger.engine._executor
    assert isinstance(executor, ProcessesExecutor)
    pids = executor.pids
    desk.ledger.engine.close()
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_lives, pids)), "no worker outlives the ledger"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("same_plugins")
def test_a_lost_engine_puts_the_request_back_and_nothing_finished_is_redone(
    desk: Desk, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Shuffling(lasts=6)
    offer(desk, executor)
    request = desk.file(3)
    with pytest.raises(EngineLostError, match="the engine of executor shuffling was lost"):
        list(work(desk.ledger, Silent(), open_model=desk.open_model))
    assert desk.request(request.id).state is RequestState.QUEUED
    assert desk.request(request.id).attempts == 0
    with desk.ledger.database.read() as tx:
        stored = {one.class_index for one in tx.class_spaces.all(desk.model())}
    assert stored, "what was finished is stored"

    collected: list[int] = []

    def noting(bench: Any, class_index: int, *rest: Any, **options: Any) -> Any:
        collected.append(class_index)
        return collect_class_space(bench, class_index, *rest, **options)

    monkeypatch.setattr(class_space_cache, "collect_class_space", noting)
    again = desk.open_again()
    again.executor = "local"
    [outcome] = work(again, Silent(), open_model=desk.open_model)
    assert outcome.error is None
    assert sorted(collected) == sorted(set(range(10)) - stored)
    executor.lasts = None
    executor.begin()
    desk.forget(7)
    assert told(desk) == expected[0]


@pytest.mark.usefixtures("same_plugins")
def test_an_engine_lost_in_the_search_leaves_its_answers_to_the_next_try(desk: Desk) -> None:
    executor = Shuffling(lasts=40)
    offer(desk, executor)
    desk.file(3)
    with pytest.raises(EngineLostError):
        list(work(desk.ledger, Silent(), open_model=desk.open_model))
    known = set(desk.ledger.engine._remembered)
    assert known
    executor.lasts, before = None, len(executor.ran)
    executor.begin()
    [outcome] = work(desk.ledger, Silent(), open_model=desk.open_model)
    assert outcome.error is None
    assert not known & set(executor.ran[before:])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("proceses:2", "no plugin knows"),
        ("processes:0", "no number"),
        ("processes:x", "no number"),
        ("dask:", "no Dask"),
    ],
)
def test_a_misspelt_executor_claims_no_request(desk: Desk, spec: str, said: str) -> None:
    request = desk.file(3)
    desk.ledger.executor = spec
    with pytest.raises(UsageError, match=said):
        list(work(desk.ledger, Silent(), open_model=desk.open_model))
    assert desk.request(request.id).state is RequestState.QUEUED


@pytest.mark.usefixtures("same_plugins")
def test_a_worker_of_another_kind_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(desk, Shuffling())
    here = Surroundings.here
    monkeypatch.setattr(
        "ledger.service.computation.collection_tasks.surroundings_of",
        lambda bench: replace(here(bench.device), torch_release="1.0"),
    )
    request = desk.file(3)
    with pytest.raises(EngineLostError, match="the last bits would differ"):
        list(work(desk.ledger, Silent(), open_model=desk.open_model))
    assert desk.request(request.id).state is RequestState.QUEUED
