"""Evaluators that break their contract: nothing of it is recorded, and the others measure the same as without them."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ledger import hookspecs
from ledger.digest import canonical_json
from ledger.errors import PluginError
from ledger.plugin_manager import PluginInfo, Plugins, build_plugins
from ledger.service.evidence import metrics as limits
from ledger.service.evidence.certificates import issue
from ledger.service.evidence.evaluation import evaluate
from ledger.service.evidence.metrics import checked_metrics
from ledger.service.evidence.time_limit import run_within
from ledger.service.progress import Silent
from tests.ledgers.desk import MODEL
from tests.ledgers.reports import write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.hookspecs import EvaluationInput
    from tests.ledgers.desk import Desk


def with_evaluator(desk: Desk, evaluate: Callable[[EvaluationInput], Any], name: str = "aside") -> None:
    """Let the desk's ledger have one more evaluator; it runs before most built-in ones."""
    plugins = build_plugins()
    evaluator = SimpleNamespace(name=name, evaluate=evaluate)
    plugin = SimpleNamespace(unledger_evaluators=hookspecs.hookimpl(lambda: (evaluator,)))
    plugins._manager.register(plugin, name="stranger")
    infos = [*plugins.infos, PluginInfo("stranger", "1.2", builtin=False, hooks=())]
    vars(desk.ledger)["plugins"] = Plugins(plugins._manager, infos)


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


class Lying(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def leave(_data: EvaluationInput) -> Any:
    sys.exit(0)


class OddError(BaseException):
    pass


def odd(_data: EvaluationInput) -> Any:
    raise OddError("odd")


RETURNS = {
    "None": (lambda _: None, "returned None, not a mapping"),
    "list": (lambda _: [1.0], "returned a value of type list, not a mapping"),
    "nan": (lambda _: {"a": {"b": [0.0, float("nan")]}}, r"a\.b\[1\]: nan, not a finite number"),
    "infinity": (lambda _: {"a": np.float64("inf")}, "a: inf, not a finite number"),
    "key": (lambda _: {"a": {1: 2}}, "a: the key 1, which is a value of type int"),
    "array": (lambda _: {"a": np.zeros(2)}, "a: a value of type ndarray, which is not a JSON value"),
    "object": (lambda _: {"a": object()}, "a: a value of type object"),
    "integer": (lambda _: {"a": 10**400}, "a: a whole number beyond"),
    "surrogate": (lambda _: {"a": "\ud800"}, "a: text that is not valid Unicode"),
    "nul": (lambda _: {"a": "x\0"}, "a: text that is not valid Unicode"),
    "endless": (lambda _: endless(), "more than 8 levels"),
    "lying": (lambda _: Lying(a=1), "cannot be read: RuntimeError: no items"),
    "exit": (leave, "failed: SystemExit: 0"),
    "odd": (odd, "failed: OddError: odd"),
}


@pytest.mark.parametrize("seconds", [None, 60.0], ids=["here", "limited"])
@pytest.mark.parametrize("case", RETURNS)
def test_what_cannot_be_recorded_is_refused_and_nothing_is_recorded(
    two_forgotten: Desk, case: str, seconds: float | None
) -> None:
    act, message = RETURNS[case]
    with_evaluator(two_forgotten, act)
    with (
        two_forgotten.unchanged(),
        pytest.raises(PluginError, match=f"evaluator aside of plugin stranger.*{message}"),
    ):
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=1, time_limit=seconds)


def test_metrics_too_large_are_refused_before_they_are_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 10_000)
    for large in ({"a": "x" * 20_000}, {"a": [0] * 6_000}, {f"k{i}": 1 for i in range(3_000)}, {"k" * 300: 1}):
        with pytest.raises(PluginError, match=r"MB of JSON|a key of 300 characters"):
            checked_metrics(large, "e", "p", classes=2)


def test_metrics_that_commands_read_by_name_must_have_their_shape() -> None:
    group = {"per_class": [1.0, None], "retained": 1.0, "forgotten": None}
    good = dict.fromkeys(("train", "test", "base_train", "base_test"), group)
    assert checked_metrics(good, "accuracy", "p", classes=2) == good
    masked = {**good, "mask_train": group, "mask_test": group, "loss_against_mask": 0.0}
    assert checked_metrics(masked, "accuracy", "p", classes=2) == masked
    bounds = {"low": 0.2, "high": 1.0}
    counted = {
        **group,
        "images": [3, 0],
        "correct": [3, 0],
        "intervals": [[0.4, 1.0], None],
        "retained_interval": bounds,
    }
    beside = {**good, "test": counted, "retrained_test": counted, "per_class": {"loss_against_mask": [0.0, None]}}
    assert checked_metrics(beside, "accuracy", "p", classes=2) == beside
    short = {**group, "per_class": [1.0]}
    for bad in (
        {**beside, "test": {**counted, "images": [3]}},
        {**beside, "test": {**counted, "intervals": [[0.4], None]}},
        {**beside, "test": {**counted, "retained_interval": [0.2, 1.0]}},
        {**beside, "retrained_test": short},
        {**beside, "per_class": {"loss_against_mask": [0.0]}},
        {},
        {**masked, "mask_test": short},
        {**masked, "mask_train": 1.0},
        {**good, "test": None},
        {**good, "test": {**group, "per_class": [1.0]}},
    ):
        with pytest.raises(PluginError, match="evaluator accuracy of plugin p returned"):
            checked_metrics(bad, "accuracy", "p", classes=2)
    with pytest.raises(PluginError, match="one value for each of the 2 classes"):
        checked_metrics({"matrix": [[1, 2]], "base_matrix": [[1, 0], [0, 1]]}, "confusion", "p", classes=2)
    matrices = {name: [[1, 0], [0, 1]] for name in ("matrix", "base_matrix", "difference")}
    assert checked_metrics(matrices, "confusion", "p", classes=2) == matrices
    for wrong in ({"difference": [[0, 0]]}, {"went_to": {"1": {"images": 1}}}):
        with pytest.raises(PluginError, match="evaluator confusion of plugin p returned"):
            checked_metrics({**matrices, **wrong}, "confusion", "p", classes=2)


def test_what_is_recorded_is_a_copy_of_plain_values() -> None:
    inner = [np.float64(0.5), (1, 2)]
    copied = checked_metrics({"a": inner}, "e", "p", classes=2)
    inner.clear()
    assert copied == {"a": [0.5, [1, 2]]}
    assert type(copied["a"][0]) is float


def attack(data: EvaluationInput) -> dict[str, Any]:
    """Try in every way that Python offers to change what the next evaluator sees."""
    anchor = (data.anchor_test, data.anchor_train)
    for part in (data.test, data.train, data.base_test, data.base_train, *(one for one in anchor if one is not None)):
        for array in (part.probabilities, part.labels):
            for attempt in (
                lambda array=array: array.__setitem__(0, 0),
                lambda array=array: array.setflags(write=True),
                lambda array=array: array.base.setflags(write=True),
                lambda array=array: np.asarray(array.base).__setitem__(0, 0),
                lambda array=array: array.sort(),
                lambda array=array: np.add(array, 1, out=array),
                lambda array=array: torch.from_numpy(array).zero_() if array.flags.writeable else None,
            ):
                try:
                    attempt()
                except (ValueError, TypeError, AttributeError):
                    continue
            array.shape = (-1,)
        object.__setattr__(part, "labels", np.zeros(3))
    object.__setattr__(data, "forgotten", frozenset({1}))
    return {}


@pytest.mark.parametrize("against", ["base", "1"])
def test_each_evaluator_sees_the_same_figures_whatever_another_tried(two_forgotten: Desk, against: str) -> None:
    plain = evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=5, against=against)
    with_evaluator(two_forgotten, attack)
    attacked = evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=5, against=against)
    assert attacked.evidence["aside"].metrics == {}
    for name, evidence in plain.evidence.items():
        assert attacked.evidence[name].metrics == evidence.metrics
    events = [e.data for e in two_forgotten.events("version.evaluated") if e.data["evaluator"] == "aside"]
    assert [event["against"] for event in events] == list(dict.fromkeys(("base", against)))
    assert {(event["plugin"], event["plugin_version"]) for event in events} == {("stranger", "1.2")}


def test_a_version_that_an_earlier_release_recorded_nothing_of_can_still_be_reported(
    two_forgotten: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_evaluator(two_forgotten, lambda _: None)
    with monkeypatch.context() as earlier:
        earlier.setattr("ledger.service.evidence.measuring.checked_metrics", lambda value, *_, **__: value)
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=1)
    write_report(two_forgotten.ledger, MODEL, tmp_path / "report.html")
    issue(two_forgotten.ledger, 2)


# -- with a time limit ------------------------------------------------------------------------------------


def sleep(_data: EvaluationInput) -> Any:
    time.sleep(60)


def hold_the_interpreter(_data: EvaluationInput) -> Any:
    # Called this way, C code keeps the lock of the interpreter: no other thread and no signal handler would run.
    ctypes.PyDLL(None).sleep(60)


def ignore_signals(_data: EvaluationInput) -> Any:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


@pytest.mark.parametrize("act", [sleep, hold_the_interpreter, ignore_signals])
def test_an_evaluator_that_takes_too_long_is_stopped(two_forgotten: Desk, act: Callable[..., Any]) -> None:
    with_evaluator(two_forgotten, act)
    before = time.monotonic()
    with two_forgotten.unchanged(), pytest.raises(PluginError, match=r"aside of plugin stranger took more than 0\.5 s"):
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=1, only=["aside"], time_limit=0.5)
    assert time.monotonic() - before < 20


def test_the_limit_of_the_ledger_counts_where_the_command_names_none(two_forgotten: Desk) -> None:
    with_evaluator(two_forgotten, sleep)
    policy = dataclasses.replace(two_forgotten.ledger.config.plugins, evaluator_seconds=0.5)
    two_forgotten.ledger.config = dataclasses.replace(two_forgotten.ledger.config, plugins=policy)
    with pytest.raises(PluginError, match=r"took more than 0\.5 s"):
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=1, only=["aside"])


def test_an_evaluator_that_ends_its_process_is_noticed(two_forgotten: Desk) -> None:
    with_evaluator(two_forgotten, lambda _: os._exit(0))
    with two_forgotten.unchanged(), pytest.raises(PluginError, match="ended its process without an answer"):
        evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=1, only=["aside"], time_limit=60)


def test_a_time_limit_changes_no_figure(two_forgotten: Desk) -> None:
    plain = evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=20)
    limited = evaluate(two_forgotten.ledger, MODEL, None, Silent(), train_per_class=20, time_limit=300)
    for name, evidence in plain.evidence.items():
        assert canonical_json(limited.evidence[name].metrics) == canonical_json(evidence.metrics)
        assert repr(limited.evidence[name].metrics) == repr(evidence.metrics)


def test_what_a_stopped_evaluator_started_goes_with_it() -> None:
    reading, writing = os.pipe()

    def start() -> bytes:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        time.sleep(60)
        return b""

    with pytest.raises(PluginError, match="took more than"):
        run_within(start, 0.5, "it", most_bytes=10)
    # The pipe ends once nobody holds its writing end.
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_registration_records_the_plugins_that_took_part(desk: Desk) -> None:
    [event] = desk.events("model.registered")
    versions = {info.name: info.version for info in build_plugins().infos}
    assert event.data["plugins"] == [f"{name} {versions[name]}" for name in ("data_digits", "models_import")]
