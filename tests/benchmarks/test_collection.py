"""What is timed as a plain pass and as collecting are those two, over the same images."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from torch import nn

from ledger.domain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE, FEW, MANY = 32, 6, 9


@pytest.fixture
def scripts() -> Iterator[tuple[Any, Any]]:
    """The script and the one whose measurement it takes over."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield import_module("collection"), import_module("engine")
    finally:
        sys.path.remove(folder)


def test_both_ways_pass_every_sampled_image_once(scripts: tuple[Any, Any], tmp_path: Path) -> None:
    script, engine = scripts
    script.random_images(tmp_path / "images.npz", SIZE, few=FEW, many=MANY)
    settings = Settings(retain_samples=3, forget_samples=5, calibration_samples=2, rows_per_class=32, max_rank=8)
    bench = script.bench(tmp_path, "test_resnet", SIZE, settings)
    passed: list[int] = []
    module: nn.Module = bench.network.module
    hook = module.register_forward_hook(lambda _m, inputs, _o: passed.append(len(inputs[0])))
    collected, plain = engine.collection(bench)
    hook.remove()
    bench.ledger.close()
    sampled = (script.CLASSES - 1) * 3 + 5
    assert sum(passed) == 2 * sampled
    assert passed[: len(passed) // 2] == passed[len(passed) // 2 :]
    assert collected > 0 < plain
