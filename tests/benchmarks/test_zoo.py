"""The walk through the zoo: what it says of networks that do well, that hold odd weights, and that go wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import timm

from ledger.plugin_manager import build_plugins

if TYPE_CHECKING:
    from collections.abc import Callable

FACTORIES = '''\
import torch
from torch import Tensor, nn


class Odd(nn.Module):
    """Multiplies by a weight of its own, as no layer does."""

    def __init__(self, broken: str = "") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.mixing = nn.Parameter(torch.eye(8))
        self.head = nn.Linear(8, 4)
        self.broken = broken
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.broken == "hungry":
            torch.empty(1 << 60)
        if self.broken == "at once" or (self.broken == "later" and self.calls > 20):
            raise RuntimeError("worn out")
        mixed = torch.cos(self.stem(images).mean((2, 3)) @ self.mixing @ self.mixing)
        return self.head(mixed) * (float("nan") if self.broken == "nan" else 1.0)


def plain() -> nn.Module:
    body = nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(8, 4))


def odd(broken: str = "") -> nn.Module:
    return Odd(broken)
'''


@pytest.fixture(scope="module")
def zoo(script: Callable[[str], Any]) -> Any:
    """The script."""
    return script("zoo")


@pytest.fixture(scope="module")
def member(script: Callable[[str], Any]) -> Any:
    """The module that walks one member."""
    return script("zoo_member")


@pytest.fixture
def factories(tmp_path: Path) -> Path:
    """The file of factories above."""
    file = tmp_path / "factories.py"
    file.write_text(FACTORIES)
    return file


@pytest.fixture
def take(member: Any, factories: Path) -> Callable[..., Any]:
    """Take a network of the file above through the ledger."""

    def taken(factory: str, **options: str) -> Any:
        return member.take(member.Family("files", factory), member.Member(f"{factories}:{factory}", options, 100), 32)

    return taken


def test_a_network_of_ordinary_layers_is_supported(take: Callable[..., Any], member: Any) -> None:
    found = take("plain")
    assert (found.verdict, found.reason, found.unhandled) == (member.Verdict.SUPPORTED, "", ())
    weights, biases = 8 * 3 * 16 + 8 * 4, 8 + 4
    assert found.edited == pytest.approx(weights / (weights + biases))


def test_a_weight_that_nobody_handles_is_named(take: Callable[..., Any], member: Any, zoo: Any) -> None:
    found = take("odd")
    assert found.verdict is member.Verdict.PARTLY
    [unhandled] = found.unhandled
    assert unhandled.startswith("mixing [8, 8]: ")
    assert zoo.verdict(found).startswith("partly: mixing [8, 8]: ")


def test_a_refusal_is_told_from_a_crash(take: Callable[..., Any], member: Any) -> None:
    refused, crashed = take("odd", broken="nan"), take("odd", broken="later")
    assert (refused.verdict, refused.reason.partition(":")[0]) == (member.Verdict.NOT, "NonFiniteError")
    assert (crashed.verdict, crashed.reason) == (member.Verdict.CRASHED, "RuntimeError in forward: worn out")


def test_a_family_is_walked_by_its_smallest_member(member: Any) -> None:
    family = member.Family("timm", "vision_transformer_relpos")
    first, second = member.smallest(family, build_plugins())[:2]
    assert first.spec == "timm/test_vit_relpos"
    assert 0 < first.parameters < second.parameters
    found = member.walk(family)
    # Made for 160 pixels; another size must be asked for.
    assert (found.architecture, found.size, found.verdict) == ("test_vit_relpos", 32, member.Verdict.SUPPORTED)


def test_a_member_that_is_too_large_gets_fewer_blocks(member: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = build_plugins()
    tiny = next(m for m in member.smallest(member.Family("timm", "deit"), plugins))
    assert member.affordable(tiny, plugins) == tiny
    monkeypatch.setattr("zoo_choice.MOST_PARAMETERS", 1_000_000)
    fewer = member.affordable(tiny, plugins)
    assert fewer.parameters < tiny.parameters
    assert fewer.shown == f"{tiny.shown} depth=2"


def test_a_process_that_dies_or_hangs_is_a_finding(zoo: Any, member: Any) -> None:
    family = member.Family("timm", "starnet")
    starved = zoo.walk_apart(family, seconds=60, gigabytes=0.001)
    assert starved.verdict is member.Verdict.CRASHED
    assert starved.reason.startswith("its process ended with ")
    slow = zoo.walk_apart(family, seconds=0.01, gigabytes=6)
    assert (slow.verdict, slow.reason) == (member.Verdict.CRASHED, "took more than 0 s")


def test_a_network_is_not_refused_because_memory_ran_out(member: Any, factories: Path) -> None:
    hungry = member.Member(f"{factories}:odd", {"broken": "hungry"})
    plugins = build_plugins()
    with pytest.raises(MemoryError, match="can't allocate memory"):
        member._answers(plugins, hungry, 32)
    assert not member._answers(plugins, member.Member(f"{factories}:odd", {"broken": "at once"}), 32)


def test_the_walk_goes_on_where_it_stopped(zoo: Any, member: Any, tmp_path: Path) -> None:
    kept = tmp_path / "findings.jsonl"
    walked = [member.Family("timm", "test"), member.Family("timm", "none")]
    known = member.Finding("timm", "test", "test_a", 1_500_000, 0.5, 32, 1.25, "partly", "", ("w [2, 2]: odd",) * 4)
    kept.write_text(json.dumps(vars(known)) + "\n")
    first, second = zoo.walk_all(walked, kept, seconds=60, gigabytes=6)
    assert first == known
    assert (second.verdict, second.reason) == (
        member.Verdict.NOT,
        "no member found that answers one logit for each class",
    )
    assert zoo.read(kept) == [first, second]
    assert zoo.totals([first, second]) == "2 families: 1 partly, 1 not"
    assert zoo.table([first]).splitlines()[2] == (
        "| test | test_a | 1.50 M | 50.0 | 32 | 1 | partly: w [2, 2]: odd; w [2, 2]: odd; and 2 more |"
    )


def test_every_family_of_both_libraries_is_walked(zoo: Any) -> None:
    walked = zoo.families()
    assert [f.name for f in walked if f.library == "timm"] == timm.list_modules()
    assert {"resnet", "vgg", "vision_transformer"} <= {f.name for f in walked if f.library == "torchvision"}
    assert all(f.members() for f in walked)
