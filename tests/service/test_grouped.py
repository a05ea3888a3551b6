"""A network with a depthwise convolution: its groups are recorded as one, and interrupted work goes on where it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ledger.algebra.summed_moments import SummedMoments
from ledger.config import create_config
from ledger.domain.kept_results import ResultKind
from ledger.domain.models import Architecture
from ledger.domain.settings import Settings
from ledger.networks.opening import build_network
from ledger.service.computation import retained_sums
from ledger.service.computation.kept_results import find_kept_result
from ledger.service.computation.retained_sums import BasisGathering
from ledger.service.computation.unlearning import propose
from ledger.service.computation.workbench import open_workbench
from ledger.service.ledger import Ledger, create_ledger
from ledger.service.models.registration import Registration, register
from ledger.service.upkeep.fsck import fsck
from ledger.service.versions.integrity import verify
from ledger.spaces.activations import collect_spaces
from ledger.weights import tensor_files

NETWORK = """
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, groups=8, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, num_classes),
    )
"""
SETTINGS = Settings(
    retain_samples=5,
    forget_samples=8,
    calibration_samples=5,
    solvers=("projection",),
    depths=(4,),
    alpha_r=(100.0,),
    alpha_f=(10.0,),
)


class Noted:
    """Progress that remembers phases, and can stop the work at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.phases: list[tuple[str, int | None]] = []
        self._left = stop_at

    def phase(self, name: str, total: int | None = None) -> None:
        self.phases.append((name, total))

    def step(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    code = tmp_path / "depthwise.py"
    code.write_text(NETWORK)
    opened = create_ledger(create_config(tmp_path / "ledger", "sqlite:///ledger.db", "objects"), "somebody")
    architecture = Architecture(f"{code}:build", {})
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(tensor_files.serialise(build_network(opened.plugins, architecture, 10).state()))
    size = {"channels": 1, "height": 8, "width": 8, "mean": (0.5,), "std": (0.5,)}
    register(opened, Registration("any", architecture, weights, "digits", None, size, SETTINGS, accept_accuracy=True))
    yield opened
    opened.close()


def test_groups_are_recorded_as_one_map(ledger: Ledger) -> None:
    bench = open_workbench(ledger, "any")
    proposal = propose(bench, frozenset({3}), Noted())
    first, grouped, last = (
        next(m for m in proposal.recipe.document["maps"] if m["key"] == key)
        for key in ("0.weight", "2.weight", "7.weight")
    )
    assert len(proposal.recipe.document["maps"]) == 4
    assert (grouped["groups"], grouped["most"] >= grouped["change"] > 0) == (8, True)
    assert not {"groups", "most"} & (first.keys() | last.keys())
    with ledger.database.read() as tx:
        spaces = tx.class_spaces.all(bench.model)
    assert all(
        [(m.key, m.groups) for m in s.maps] == [("0.weight", 1), ("2.weight", 8), ("4.weight", 8), ("7.weight", 1)]
        for s in spaces
    )
    assert {problem for _, problem in verify(ledger, "any")} == {""}
    edited = tensor_files.parse(ledger.objects.get(proposal.weights), "the proposal")
    for key in ("2.weight", "4.weight"):
        assert not torch.equal(edited[key], bench.anchor_state[key])


def test_kept_sums_of_triangles_and_spectra_are_those_of_all_class_spaces(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retained_sums, "LEAST_SAVING", 0)
    first = propose(open_workbench(ledger, "any"), frozenset({3}), Noted())
    bench = open_workbench(ledger, "any")
    assert find_kept_result(bench, ResultKind.RETAINED) is not None
    assert list(fsck(ledger, Noted(), read_data=True).findings) == []
    kept = BasisGathering(bench, frozenset({3, 5}), store=False).gather(Noted()).retain
    anew = BasisGathering(bench, frozenset({3, 5}), store=False).gather(Noted(), use_kept=False).retain
    for key in ("2.weight", "4.weight"):
        one, other = kept.spaces(key), anew.spaces(key)
        assert isinstance(one, SummedMoments)
        assert isinstance(other, SummedMoments)
        assert torch.equal(one.matrix(), other.matrix())
    assert first.weights != propose(bench, frozenset({3, 5}), Noted()).weights


def test_interrupted_work_goes_on_where_it_stopped_and_ends_in_the_same_bytes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        propose(open_workbench(ledger, "any"), frozenset({3}), Noted(stop_at=4))
    calls: list[int] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return collect_spaces(*arguments, **options)

    monkeypatch.setattr("ledger.units.collecting.collect_spaces", counting)
    resumed, again = Noted(), Noted()
    first = propose(open_workbench(ledger, "any"), frozenset({3}), resumed)
    assert len(calls) == 6
    assert resumed.phases[:2] == [("collect", 6), ("class spaces", 10)]
    assert [name for name, _ in resumed.phases[2:]] == ["calibration", "alpha search", "write"]
    second = propose(open_workbench(ledger, "any"), frozenset({3}), again)
    assert (second.weights, len(calls)) == (first.weights, 6)
    assert again.phases[0] == ("class spaces", 10), "nothing was left to collect"
