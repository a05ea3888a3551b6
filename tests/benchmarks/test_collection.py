"""What is timed as a plain pass and as collecting are those two, over the same images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.domain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE, FEW, MANY = 32, 6, 9


def test_both_ways_pass_every_sampled_image_once(script: Callable[[str], Any], tmp_path: Path) -> None:
    collection, engine = script("collection"), script("engine")
    collection.random_images(tmp_path / "images.npz", SIZE, few=FEW, many=MANY)
    settings = Settings(retain_samples=3, forget_samples=5, calibration_samples=2, rows_per_class=32, max_rank=8)
    bench = collection.bench(tmp_path, "test_resnet", SIZE, settings)
    passed: list[int] = []
    hook = bench.network.module.register_forward_hook(lambda _m, inputs, _o: passed.append(len(inputs[0])))
    collected, plain = engine.collection(bench)
    hook.remove()
    bench.ledger.close()
    sampled = (collection.CLASSES - 1) * 3 + 5
    assert sum(passed) == 2 * sampled
    assert passed[: len(passed) // 2] == passed[len(passed) // 2 :]
    assert collected > 0 < plain
