"""One ledger computes on one number of threads and one kind of device, and says so where the machine would differ."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ledger.config import FILE, find_config
from ledger.domain.recipe import VersionRecipe
from ledger.errors import RetryLaterError, UsageError
from ledger.service.computation import pinning
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import init_ledger
from ledger.service.processor import usable_threads
from tests.ledgers.desk import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ledgers.desk import Desk


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def told(desk: Desk, **config: Any) -> list[str]:
    said: list[str] = []
    desk.ledger.tell = said.append
    desk.ledger.config = dataclasses.replace(desk.ledger.config, **config)
    return said


def environment(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    monkeypatch.setattr(pinning, "_environment", lambda *_: values)


def test_a_new_ledger_pins_the_threads_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    init_ledger(tmp_path, "sqlite:///ledger.db", "objects", "tester")
    assert "threads = 3" in (tmp_path / FILE).read_text()
    assert find_config(tmp_path).threads == 3
    for wrong in ("0", "-1", "1.5", '"2"', "true", "100000"):
        (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("threads = 3", f"threads = {wrong}"))
        with pytest.raises(UsageError, match="threads"):
            find_config(tmp_path)
        (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace(f"threads = {wrong}", "threads = 3"))


def test_the_threads_of_a_machine_are_its_cores(tmp_path: Path) -> None:
    assert usable_threads({"OMP_NUM_THREADS": "5,2"}) == 5
    assert usable_threads({"MKL_NUM_THREADS": "4"}) == 4
    alone = usable_threads({"OMP_NUM_THREADS": "many"}, tmp_path)
    assert alone >= 1
    for processor in range(256):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("0-255\n")
    assert usable_threads({}, tmp_path) == 1


def test_the_ledgers_number_of_threads_counts_and_is_recorded(desk: Desk) -> None:
    said = told(desk, threads=2)
    version = desk.forget(3)
    assert torch.get_num_threads() == 2
    assert version.recipe.environment["threads"] == 2
    assert said == ["computing on 2 threads, as unledger.toml says; this machine would use 1"]


def test_without_it_the_history_of_the_model_counts(desk: Desk) -> None:
    said = told(desk)
    torch.set_num_threads(2)
    assert desk.forget(3).recipe.environment["threads"] == 1
    assert said == [f"computing on 1 threads, as the history of {MODEL} says; this machine would use 2"]


def test_a_computation_tells_more_than_the_registration(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = desk.model(), desk.versions()[0]
    other = VersionRecipe({"solver": "projection", "environment": {"threads": 7, "device": "H100"}})
    later = dataclasses.replace(base, number=1, recipe=other)
    assert pinning._environment(desk.ledger, model) == base.recipe.environment
    with desk.ledger.database.read() as tx:
        monkeypatch.setattr(type(tx.versions), "all", lambda *_: [base, later])
    assert pinning._environment(desk.ledger, model)["device"] == "H100"


def test_another_model_in_between_does_not_change_the_threads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.register("other")
    threads = {MODEL: 1, "other": 2}
    monkeypatch.setattr(pinning, "_environment", lambda _ledger, model: {"threads": threads[model.name]})
    for digit in (3, 7):
        for name in threads:
            desk.file(digit, model=name)
    for outcome in desk.work():
        assert outcome.version is not None
        assert outcome.version.recipe.environment["threads"] == threads[outcome.model.name]


def test_a_model_of_the_processor_stays_there_unless_a_person_names_a_device(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.versions()[0].recipe.environment["device"] == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    said = told(desk)
    assert open_workbench(desk.ledger, MODEL).device.type == "cpu"
    assert len(said) == 1
    assert "as digits was so far; --device cuda computes on the GPU" in said[0]
    desk.ledger.device = "cuda"
    assert open_workbench(desk.ledger, MODEL).device.type == "cuda"
    assert "computing on cuda, as --device says; digits was computed on cpu so far" in said[1]


def test_a_model_of_a_gpu_waits_for_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, device="NVIDIA H100", threads=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    desk.file(3)
    with pytest.raises(RetryLaterError, match="computed on CUDA so far"):
        desk.work()
    assert desk.request(1).state.value == "queued"
    desk.ledger.device = "cpu"
    said = told(desk)
    assert desk.work()[0].version is not None
    assert any("digits was computed on cuda so far" in sentence for sentence in said)


def test_a_ledger_that_recorded_nothing_computes_as_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch)
    said = told(desk)
    assert open_workbench(desk.ledger, MODEL).device.type == "cpu"
    assert said == []
